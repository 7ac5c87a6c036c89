//go:build unix

package terminal

import (
	"os"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

func isTerminal(f *os.File) bool {
	return rawconn.Control(f, getattr) == nil
}

func columns(f *os.File) (n int) {
	_ = rawconn.Control(f, func(fd int) error {
		size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil {
			n = int(size.Col)
		}
		return err
	})
	return n
}

// inBackground returns false if the terminal is not the controlling terminal (ENOTTY in
// tcgetpgrp(3)). Such a terminal has no jobs of this session.
func inBackground(f *os.File) bool {
	var foreground int
	err := rawconn.Control(f, func(fd int) (err error) {
		foreground, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	return err == nil && foreground != unix.Getpgrp()
}

func controlling() *Terminal {
	var foreground int
	err := onTTY(func(fd int) (err error) {
		foreground, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	return &Terminal{foreground: err == nil && foreground == unix.Getpgrp()}
}

// hungUp opens /dev/tty. The kernel first takes the terminal from the processes of the session, and
// then sends SIGHUP to them (Linux: tty_signal_session_leader). Therefore the open fails after a
// hang-up, even if the process has no descriptor of the terminal open.
func (t *Terminal) hungUp() bool {
	if !t.foreground {
		return false
	}
	err := onTTY(func(int) error { return nil })
	return err == unix.EIO || err == unix.ENXIO
}

// onTTY calls do with the controlling terminal open. It uses O_NONBLOCK, because opening a serial
// line may wait for its carrier.
func onTTY(do func(fd int) error) error {
	var fd int
	err := ignoringEINTR(func() (err error) {
		fd, err = unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd)
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
