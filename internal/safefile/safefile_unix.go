//go:build unix

package safefile

import (
	"io/fs"
	"os"
	"syscall"
)

func open(path string, flag int, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(path, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, mode)
}

func writeOnce(f *os.File, b []byte) (n int, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := conn.Control(func(fd uintptr) {
		for n, err = syscall.Pwrite(int(fd), b, 0); err == syscall.EINTR; {
			n, err = syscall.Pwrite(int(fd), b, 0)
		}
	})
	if controlErr != nil {
		return 0, controlErr
	}
	return n, err
}

func links(info fs.FileInfo) uint64 {
	return uint64(info.Sys().(*syscall.Stat_t).Nlink)
}

// Owner is the user ID of the file's owner, -1 where there is none.
func Owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

func group(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Gid) }
