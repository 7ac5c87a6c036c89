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
)

func dial(address string) (*Socket, error) {
	if !strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "@") {
		return nil, fmt.Errorf("NOTIFY_SOCKET is %q: %w", address, errors.ErrUnsupported)
	}
	fd, err := socket()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: address}); err != nil { // which knows the @
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
	raw, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	writeErr := raw.Write(func(fd uintptr) (done bool) {
		err = unix.Sendmsg(int(fd), []byte(text), unix.UnixRights(fds...), nil, 0)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if writeErr != nil {
		return writeErr
	}
	return os.NewSyscallError("sendmsg", err)
}

// descriptor is that of a file. It is tempting to call f.Fd: but for the File of a net.Listener that makes the socket block, in the listener too, and then Accept cannot be
// ended any more.
func descriptor(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(open uintptr) { fd = int(open) })
	}
	return fd, err
}

// socket makes one that does not block, for the deadline.
func socket() (fd int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0); err == nil {
		unix.CloseOnExec(fd)
		err = unix.SetNonblock(fd, true)
	}
	return fd, err
}
