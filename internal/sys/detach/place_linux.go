package detach

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	cloexecRights = unix.MSG_CMSG_CLOEXEC
	noSignal      = unix.MSG_NOSIGNAL
)

func dup2(from, to int) error {
	if from == to {
		return nil
	}
	for {
		switch err := unix.Dup3(from, to, 0); err {
		case unix.EINTR, unix.EBUSY: // dup2(2): EBUSY is a race with open(2)
		default:
			return os.NewSyscallError("dup3", err)
		}
	}
}
