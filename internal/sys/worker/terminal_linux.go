package worker

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/startup"
	"example.com/lifecycle/internal/sys/terminal"
)

// mayHaveTerminal reports whether the session of this process may have a controlling terminal.
// Without one, sharing the session is safer than a new session. The leader of a new session would
// get the next terminal that it opens as its controlling terminal.
func mayHaveTerminal() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err != unix.ENXIO
}

// standardFiles returns the first three descriptors of a worker. If stdin is a terminal, the worker
// gets /dev/null instead. The worker is in a background process group of the terminal, and reading
// from the terminal would suspend it (SIGTTIN, setpgid(2)).
func standardFiles() ([]*os.File, error) {
	files := slices.Clone(startup.Descriptors())
	if files[0] == nil || !terminal.Is(files[0]) {
		return files, nil
	}
	null, err := devNull()
	files[0] = null
	return files, err
}

// devNull returns /dev/null. The file stays open, because each worker needs it.
var devNull = sync.OnceValues(func() (*os.File, error) { return os.OpenFile(os.DevNull, os.O_RDWR, 0) })

// leaveTerminals takes all terminals from this process. Its new session has no terminal. Therefore
// the process cannot type into a terminal (TIOCSTI, ioctl_tty(2)). With a readable descriptor, it
// could still read input for another program. Therefore leaveTerminals opens the terminal of stdout
// and stderr again for writing only. It replaces every other descriptor of a terminal with
// /dev/null.
func leaveTerminals() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for _, fd := range descriptors() {
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil {
			err = replaceTerminal(fd, int(null.Fd()), flags&unix.FD_CLOEXEC)
		}
		if err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return nil
}

func replaceTerminal(fd, null, closeOnExec int) error {
	by := null
	if fd == unix.Stdout || fd == unix.Stderr {
		// Without O_NOCTTY, the terminal would become the controlling terminal of the new session.
		// Without O_NONBLOCK, opening a serial line might wait for its carrier.
		flags := unix.O_WRONLY | unix.O_NOCTTY | unix.O_NONBLOCK | unix.O_CLOEXEC
		if terminal, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), flags, 0); err == nil {
			defer unix.Close(terminal)
			_ = unix.SetNonblock(terminal, false)
			by = terminal
		}
	}
	flags := 0
	if closeOnExec != 0 {
		flags = unix.O_CLOEXEC
	}
	return unix.Dup3(by, fd, flags)
}

// descriptors returns the open descriptors, or none if the system does not list them.
func descriptors() (fds []int) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return []int{unix.Stdin, unix.Stdout, unix.Stderr}
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds
}
