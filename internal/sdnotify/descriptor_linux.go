package sdnotify

import (
	"os"

	"golang.org/x/sys/unix"
)

// canBeKept reports whether a descriptor of another process is one that this process may have: a socket, a pipe, or
// what has no file, such as a memfd or an eventfd. For the others a worker has a path. A directory leads out of a
// chroot, a terminal can be typed at, and a file can be in a file system that its sender serves (FUSE): then fstat(2),
// epoll_ctl(2) and each execve(2), which closes it, hang. Nothing here asks the file system.
func canBeKept(fd int) bool {
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_PATH != 0 {
		return false
	}
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
		return true
	}
	var stat unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &stat) != nil {
		return false
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFIFO, 0:
		return true
	case unix.S_IFREG:
		_, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0) // it is in memory
		return err == nil
	}
	return false
}

// discard is Discard for a descriptor of which nothing is known. It becomes no os.File: that would be polled, which a
// file system of the sender's can answer or not.
func discard(fd int) {
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
