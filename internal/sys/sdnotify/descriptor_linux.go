package sdnotify

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// canBeKept reports whether this process may keep a descriptor of another process: a socket, a
// pipe, a memfd or an eventfd. A worker has a path for the other kinds. A directory leads out of a
// chroot. A terminal takes input. A pidfd is a claim to a child (see package reaper). A file or
// FIFO can be in a file system that its sender serves (FUSE): then fstat(2), epoll_ctl(2) and each
// execve(2), which closes it, hang. canBeKept makes no request to that file system.
func canBeKept(fd int) bool {
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_PATH != 0 {
		return false
	}
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
		return true
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err == nil { // it is a memfd
		return true
	}
	kind, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)) // its kind, or its path if any
	return err == nil && (strings.HasPrefix(kind, "pipe:[") || kind == "anon_inode:[eventfd]")
}

// isPidfd reports whether the descriptor is a pidfd, even of a process that is gone.
func isPidfd(fd int) bool {
	err := unix.PidfdSendSignal(fd, 0, nil, 0)
	return err == nil || err == unix.ESRCH || err == unix.EPERM
}

// discard is Discard for a descriptor of an unknown kind. The descriptor does not become an
// os.File: package os would poll it, and the file system of the sender may not answer. A pidfd is
// closed at once: that never waits, and package reaper ends no orphan while it is open.
func discard(fd int) {
	if isPidfd(fd) {
		unix.Close(fd)
		return
	}
	discards.add(func() {
		noLinger(fd)
		unix.Close(fd)
	})
}

// noLinger makes close(2) not wait for a socket. It leaves a socket alone that resets its
// connection on close, because that does not wait.
func noLinger(fd int) {
	linger, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
	if err == nil && linger.Onoff != 0 && linger.Linger != 0 {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{})
	}
}

func calm(f *os.File) {
	if fd, err := descriptor(f); err == nil {
		noLinger(fd)
	}
}

// room returns a quarter of the descriptor limit, at most maxRoom. The rest is for other uses.
func room() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return maxRoom
	}
	return int(min(maxRoom, limit.Cur/4))
}
