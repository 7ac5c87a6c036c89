//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

func tryLock(f *os.File) error {
	err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrHeld
	}
	return err
}

// probe reports whether the lock is held. It takes a shared lock for a moment, and calls ifFree if
// it gets the lock.
func probe(f *os.File, ifFree func()) (held bool, err error) {
	err = flock(f, unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	ifFree()
	return false, flock(f, unix.LOCK_UN)
}

func flock(f *os.File, how int) error {
	return rawconn.Control(f, func(fd int) error { return unix.Flock(fd, how) })
}
