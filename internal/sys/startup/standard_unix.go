//go:build unix

package startup

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func fillStandard() error {
	for fd := range 3 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
			continue
		}
		// open(2) returns the lowest free descriptor, which is fd unless another goroutine opens a
		// file at the same time.
		got, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: os.DevNull, Err: err}
		}
		if got == fd {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
		} else {
			unix.Close(got)
		}
		if err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	return nil
}
