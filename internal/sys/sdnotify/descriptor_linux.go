package sdnotify

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// canBeKept reports whether this process may keep a descriptor of another process. It accepts a
// socket, a pipe, a memfd or an eventfd. The other kinds are harmful: a directory leads out of a
// chroot, a terminal takes input, and a pidfd is a claim to a child (see package reaper). A file or
// FIFO can be in a file system that its sender serves (FUSE). Then fstat(2), epoll_ctl(2) and each
// execve(2), which closes the descriptor, can hang. canBeKept itself makes no request to that file
// system.
func canBeKept(fd int) bool {
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_PATH != 0 {
		return false
	}
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
		return true
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err == nil { // a memfd
		return true
	}
	kind, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)) // kind, or path
	return err == nil && (strings.HasPrefix(kind, "pipe:[") || kind == "anon_inode:[eventfd]")
}

// isPidfd reports whether the descriptor is a pidfd. The process may have ended.
func isPidfd(fd int) bool {
	err := unix.PidfdSendSignal(fd, 0, nil, 0)
	return err == nil || err == unix.ESRCH || err == unix.EPERM
}

// discard closes a descriptor of an unknown kind, as Discard does. It makes no os.File of it,
// because package os would poll the descriptor, and the file system of the sender may not answer.
// It closes a pidfd at once: that close never blocks, and package reaper ends no orphan for which a
// pidfd is open.
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

// noLinger makes close(2) of a socket return at once. It does not change a socket that resets its
// connection on close, because that close never blocks.
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
