package sdnotify

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

// canBeKept reports whether this process may keep a descriptor of another process. It accepts a
// socket, a pipe, a memfd, an eventfd, or a regular file of a local file system. The other kinds
// are harmful. A directory leads out of a chroot, a terminal takes input, and a pidfd is a claim to
// a child (see package reaper). The sender may serve a file system itself (FUSE). Then fstat(2),
// epoll_ctl(2) and each execve(2), which closes the descriptor, can hang. canBeKept makes no
// request to such a file system.
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
	switch {
	case err != nil:
		return false
	case strings.HasPrefix(kind, "pipe:["), kind == "anon_inode:[eventfd]":
		return true
	}
	return strings.HasPrefix(kind, "/") && isLocal(fd) && isRegular(fd)
}

func isRegular(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// localTypes are the types of file systems whose files are on a disk or in the memory of this
// machine. An operation on them waits for no other process.
var localTypes = []string{"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "tmpfs", "overlay"}

// isLocal reports whether an open file is in a local file system. It finds the mount of the file in
// proc_pid_fdinfo(5) and proc_pid_mountinfo(5), and makes no request to the file system. A mount of
// another mount namespace is not found.
func isLocal(fd int) bool {
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return false
	}
	_, id, _ := strings.Cut(string(info), "mnt_id:\t")
	id, _, _ = strings.Cut(id, "\n")
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(mounts)) {
		if _, options, found := strings.Cut(line, " - "); found && strings.HasPrefix(line, id+" ") {
			kind, _, _ := strings.Cut(options, " ")
			return slices.Contains(localTypes, kind)
		}
	}
	return false
}

func canKeep(f *os.File) error {
	return rawconn.Control(f, func(fd int) error {
		if !canBeKept(fd) {
			return errNotKept
		}
		return nil
	})
}

// isPidfd reports whether the descriptor is a pidfd. The process may have ended.
func isPidfd(fd int) bool {
	err := unix.PidfdSendSignal(fd, 0, nil, 0)
	return err == nil || err == unix.ESRCH || err == unix.EPERM
}

// discard closes a descriptor of an unknown kind, as Discard does. It makes no os.File of the
// descriptor. Package os would poll it, and the file system of the sender might not answer. discard
// closes a pidfd at once, because that close never blocks. Package reaper ends no orphan for which
// a pidfd is open.
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
