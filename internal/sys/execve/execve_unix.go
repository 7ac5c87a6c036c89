//go:build unix && !aix

package execve

import (
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// closeListedOnExec does the same as closeOnExec, for the descriptors that dir lists. A loop up to
// the limit is no alternative, because the limit can be a billion.
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

// ignorable are the signals that Go leaves ignored if they were ignored at the start. Go catches
// all others.
var ignorable = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT}

func replace(args []string) error {
	args, err := selfArgs(args)
	if err != nil {
		return err
	}
	path := thisProgram()
	// syscall.Exec restores the limit of descriptors that the Go runtime has raised.
	err = syscall.Exec(path, args, os.Environ()) // #nosec G204 -- itself
	return &os.PathError{Op: "execve", Path: path, Err: err}
}

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
