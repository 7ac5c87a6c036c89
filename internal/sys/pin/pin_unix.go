//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package pin

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// bare is an unpinned PID, for systems that cannot pin a process.
type bare int

func (b bare) signal(sig os.Signal) error {
	s, err := signalNumber(sig)
	if err != nil {
		return err
	}
	return orDone(unix.Kill(int(b), s))
}

func (b bare) ended() (bool, error) {
	// kill(2): "If sig is 0, then no signal is sent, but existence and permission checks are still
	// performed"
	return unix.Kill(int(b), 0) == unix.ESRCH, nil
}

func (b bare) await() error { return errors.ErrUnsupported }

func (b bare) close() error { return nil }

func signalNumber(sig os.Signal) (syscall.Signal, error) {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return 0, fmt.Errorf("signal %v of type %T: %w", sig, sig, errors.ErrUnsupported)
	}
	return s, nil
}

func orDone(err error) error {
	if err == unix.ESRCH {
		return os.ErrProcessDone
	}
	return err
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
