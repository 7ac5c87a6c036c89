//go:build unix && !aix

package sdnotify

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

func dial(address string) (*Socket, error) {
	if !strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "@") {
		return nil, fmt.Errorf("NOTIFY_SOCKET is %q: %w", address, errors.ErrUnsupported)
	}
	fd, err := socket()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: address}); err != nil { // translates the @
		unix.Close(fd)
		return nil, &os.PathError{Op: "connect", Path: address, Err: err}
	}
	return &Socket{os.NewFile(uintptr(fd), address)}, nil
}

func (s *Socket) sendFiles(files []*os.File, text string) error {
	var fds []int
	for _, f := range files {
		fd, err := descriptor(f)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	defer runtime.KeepAlive(files)
	return os.NewSyscallError("sendmsg", rawconn.Write(s.file, func(fd int) error {
		return unix.Sendmsg(fd, []byte(text), unix.UnixRights(fds...), nil, 0)
	}))
}

// descriptor returns the descriptor of a file. The caller keeps the file open.
func descriptor(f *os.File) (fd int, err error) {
	err = rawconn.Control(f, func(open int) error {
		fd = open
		return nil
	})
	return fd, err
}

// socket returns a socket. It is nonblocking, because deadlines need that.
func socket() (fd int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0); err == nil {
		unix.CloseOnExec(fd)
		err = unix.SetNonblock(fd, true)
	}
	return fd, err
}
