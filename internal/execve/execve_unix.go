//go:build unix && !aix

package execve

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeListedOnExec is closeOnExec by a list of the open descriptors. It is tempting to count up to the limit instead, but that can be a thousand million.
func closeListedOnExec(dir string, from int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd >= from {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// ignorable are the signals that Go leaves ignored where it was started so; it catches the others.
var ignorable = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT}

func thisProgram() string {
	path, err := os.Executable()
	running, runningErr := os.Stat(ProcessExecutable)
	if runningErr != nil {
		return path
	}
	if named, nameErr := os.Stat(path); err == nil && nameErr == nil && os.SameFile(named, running) {
		return path
	}
	return ProcessExecutable
}
