package pin

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

func hold(pid int) (process, error) {
	// Android 11 and older kill a program that calls pidfd_open, with SIGSYS (go.dev/issue/69065).
	if runtime.GOOS == "android" {
		return holdByProc(pid)
	}
	fd, err := pidfdOpen(pid)
	if err == nil && !usable(fd, pid) {
		_ = unix.Close(fd)
		err = unix.ENOSYS
	}
	switch err {
	case nil:
		return newPidfd(fd), nil
	case unix.ESRCH, unix.ENOENT: // ENOENT: the number is the ID of a thread
		return nil, os.ErrProcessDone
	case unix.ENOSYS, unix.EPERM, unix.EINVAL: // Linux before 5.3, seccomp, or a thread
		return holdByProc(pid)
	}
	return nil, os.NewSyscallError("pidfd_open", err)
}

func pidfdOpen(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != unix.EINVAL {
		return fd, err
	}
	// pidfd_open(2): "PIDFD_NONBLOCK (since Linux 5.10)"
	if fd, err = unix.PidfdOpen(pid, 0); err == nil {
		_ = unix.SetNonblock(fd, true) // await works without nonblocking mode
	}
	return fd, err
}

// usable reports whether signals can be sent through a pidfd. A seccomp filter may forbid that
// although it permits pidfd_open(2). EPERM comes from such a filter, or from the kernel if this
// process may not signal the other one. In the second case, kill(2) fails too.
func usable(fd, pid int) bool {
	switch unix.PidfdSendSignal(fd, 0, nil, 0) {
	case unix.ENOSYS:
		return false
	case unix.EPERM:
		return unix.Kill(pid, 0) != nil
	}
	return true
}

// pidfd pins a process by a descriptor of pidfd_open(2). The descriptor refers only to that
// process.
type pidfd struct {
	file *os.File
}

func newPidfd(fd int) pidfd {
	return pidfd{os.NewFile(uintptr(fd), "pidfd")}
}

func (p pidfd) signal(sig os.Signal) error {
	s, err := signalNumber(sig)
	if err != nil {
		return err
	}
	return orDone(rawconn.Control(p.file, func(fd int) error {
		return unix.PidfdSendSignal(fd, s, nil, 0)
	}))
}

func (p pidfd) ended() (done bool, err error) {
	err = rawconn.Control(p.file, func(fd int) error {
		done, err = readable(fd)
		return err
	})
	return done, err
}

// await waits in Go's poller and therefore holds no thread. os.NewFile gives the descriptor to the
// poller only if the descriptor is nonblocking.
func (p pidfd) await() error {
	return rawconn.Read(p.file, func(fd int) error {
		if ended, err := readable(fd); ended || err != nil {
			return err
		}
		return unix.EAGAIN
	})
}

func (p pidfd) close() error { return p.file.Close() }

// readable reports whether the process has ended. pidfd_open(2): "When the process that it refers
// to terminates, these interfaces indicate the file descriptor as readable."
func readable(fd int) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	var n int
	err := ignoringEINTR(func() (err error) {
		n, err = unix.Poll(fds, 0)
		return err
	})
	return n > 0, os.NewSyscallError("poll", err)
}
