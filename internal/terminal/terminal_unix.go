//go:build unix

package terminal

import (
	"os"

	"golang.org/x/sys/unix"
)

func isTerminal(f *os.File) bool {
	// It is tempting to use f.Fd, but up to Go 1.25 that makes a nonblocking file block.
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	is := false
	err = conn.Control(func(fd uintptr) { is = getattr(int(fd)) == nil })
	return err == nil && is
}

func controlling() *Terminal {
	t := &Terminal{tty: openTTY() == nil}
	for fd := range 3 {
		if getattr(fd) == nil {
			t.std = append(t.std, fd)
		}
	}
	return t
}

func (t *Terminal) hungUp() bool {
	// The kernel takes the terminal from the processes of the session before it sends them SIGHUP (Linux:
	// tty_signal_session_leader), so /dev/tty is the sure sign even if no descriptor is open on the terminal.
	if t.tty && gone(openTTY()) {
		return true
	}
	for _, fd := range t.std {
		if gone(getattr(fd)) {
			return true
		}
	}
	return false
}

// gone tells the two answers of a terminal that has hung up from, say, ENOTTY: descriptor 0 is /dev/null now.
func gone(err error) bool {
	return err == unix.EIO || err == unix.ENXIO
}

// openTTY opens the controlling terminal and closes it again. O_NONBLOCK: a serial line may wait for its carrier.
func openTTY() error {
	var fd int
	err := ignoringEINTR(func() (err error) {
		fd, err = unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		return err
	})
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func getattr(fd int) error {
	return ignoringEINTR(func() error {
		_, err := unix.IoctlGetTermios(fd, tcgetattr)
		return err
	})
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
