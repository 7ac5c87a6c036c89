//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func tryLock(f *os.File) error {
	err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrHeld
	}
	return err
}

// probe takes the lock shared for an instant, to see whether it is held. It calls ifFree if it is
// not.
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
	return control(f, func(fd int) error { return unix.Flock(fd, how) })
}

// control calls do with f's descriptor, again for as long as a signal interrupts it.
func control(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var done error
	err = conn.Control(func(fd uintptr) {
		for done = do(int(fd)); done == unix.EINTR; {
			done = do(int(fd))
		}
	})
	if err != nil {
		return err
	}
	return done
}
