//go:build unix

package readyfd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func take(fd int) (*Descriptor, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	mode, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	kind := uint32(stat.Mode) & unix.S_IFMT
	switch {
	case err != nil:
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	case flags&unix.FD_CLOEXEC != 0:
		return nil, fmt.Errorf("descriptor %d was not inherited", fd)
	case kind != unix.S_IFIFO && kind != unix.S_IFSOCK:
		return nil, fmt.Errorf("descriptor %d is not a pipe", fd)
	case mode&unix.O_ACCMODE == unix.O_RDONLY:
		return nil, fmt.Errorf("descriptor %d is not open for writing", fd)
	}
	unix.CloseOnExec(fd)
	return &Descriptor{fd}, nil
}

// tell checks whether the pipe has room. It does not make the pipe nonblocking, because other
// processes may share its mode.
func (d *Descriptor) tell() error {
	for {
		poll := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(poll, 0)
		if err == nil && n == 0 {
			return errors.New("the pipe is full")
		}
		if err == nil {
			_, err = unix.Write(d.fd, []byte("\n"))
		}
		if err != unix.EINTR {
			return os.NewSyscallError("write", err)
		}
	}
}

func (d *Descriptor) close() { _ = unix.Close(d.fd) }
