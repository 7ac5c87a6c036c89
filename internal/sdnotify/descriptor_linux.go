package sdnotify

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// canBeKept reports whether a descriptor of another process is one that this process may have: a socket, a pipe, or
// a memfd or eventfd. For the others a worker has a path. A directory leads out of a chroot, a terminal can be typed
// at, a pidfd is a claim to a child (see package reaper), and a file or FIFO can be in a file system that its sender
// serves (FUSE): then fstat(2), epoll_ctl(2) and each execve(2), which closes it, hang. Nothing here asks that file
// system.
func canBeKept(fd int) bool {
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_PATH != 0 {
		return false
	}
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
		return true
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err == nil { // it is in memory
		return true
	}
	kind, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)) // a path, unless it has none
	return err == nil && (strings.HasPrefix(kind, "pipe:[") || kind == "anon_inode:[eventfd]")
}

// isPidfd reports whether it is a pidfd. That of a process which is gone is one, too.
func isPidfd(fd int) bool {
	err := unix.PidfdSendSignal(fd, 0, nil, 0)
	return err == nil || err == unix.ESRCH || err == unix.EPERM
}

// discard is Discard for a descriptor of which nothing is known. It becomes no os.File: that would be polled, which a
// file system of the sender's can answer or not. A pidfd never waits, and no orphan is ended for as long as it is open.
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

// noLinger has close(2) not wait for a socket. It leaves those alone that reset their connections: they do not wait.
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

// room leaves three quarters of the descriptors to everything else.
func room() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return maxRoom
	}
	return int(min(maxRoom, limit.Cur/4))
}
