//go:build unix

package safefile

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

func open(path string, flag int, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, mode)
	if err != nil {
		return nil, err
	}
	return aboveStderr(f)
}

// aboveStderr moves a file away from descriptors 0 to 2. If the program has closed one of these,
// the next open returns it. The file would then become stdin, stdout or stderr.
func aboveStderr(f *os.File) (*os.File, error) {
	other := -1
	err := rawconn.Control(f, func(fd int) (err error) {
		if fd <= 2 {
			other, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		}
		return err
	})
	if other < 0 && err == nil {
		return f, nil
	}
	f.Close()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: f.Name(), Err: err}
	}
	return os.NewFile(uintptr(other), f.Name()), nil
}

func writeOnce(f *os.File, b []byte) (n int, err error) {
	err = rawconn.Control(f, func(fd int) (err error) {
		n, err = syscall.Pwrite(fd, b, 0)
		return err
	})
	return n, err
}

// writable returns nil if this process may make and remove files in that directory, or else the
// reason.
func writable(dir string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return &fs.PathError{Op: "write", Path: dir, Err: err}
	}
	return nil
}

func removable(path string) error {
	dir := filepath.Dir(path)
	if err := writable(dir); err != nil {
		return err
	}
	in, err := os.Stat(dir)
	if err != nil || in.Mode()&fs.ModeSticky == 0 {
		return err
	}
	file, err := os.Lstat(path)
	if uid := os.Geteuid(); err == nil && uid != 0 && uid != Owner(in) && uid != Owner(file) {
		err = &fs.PathError{Op: "write", Path: dir, Err: unix.EPERM}
	}
	return err
}

func links(info fs.FileInfo) uint64 {
	return uint64(info.Sys().(*syscall.Stat_t).Nlink)
}

// Owner returns the user ID of the file's owner, -1 if there is none.
func Owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// Group returns the group ID of the file, -1 if there is none.
func Group(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Gid) }
