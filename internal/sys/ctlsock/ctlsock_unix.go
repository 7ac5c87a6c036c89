//go:build unix && !aix

package ctlsock

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

func pair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return conn(fds[0]), os.NewFile(uintptr(fds[1]), "socket"), nil
}

func conn(fd int) *os.File {
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "socket")
}

func markOf(f *os.File) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", os.NewSyscallError("fstat", err)
	}
	return deviceAndInode(&st), nil
}

func deviceAndInode(st *unix.Stat_t) string { return fmt.Sprintf("%d:%d", st.Dev, st.Ino) }

func isMarked(fd int, mark string) bool {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK && deviceAndInode(&st) == mark
}

func isGone(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0 && poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

func setNonblock(f *os.File) error {
	return rawconn.Control(f, func(fd int) error { return unix.SetNonblock(fd, true) })
}

func closeRead(f *os.File) error {
	return rawconn.Control(f, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RD) })
}

func closeWrite(f *os.File) error {
	return rawconn.Control(f, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
}
