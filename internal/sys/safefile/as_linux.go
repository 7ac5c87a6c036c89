package safefile

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/privilege"
)

// within opens the directory of path, and then calls do with the rights of that user.
func within(path string, user *privilege.Identity, do func(place) error) error {
	dir, err := openAt(unix.AT_FDCWD, filepath.Dir(path), path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	at, name := int(dir.Fd()), filepath.Base(path)
	p := place{
		path: path,
		open: func(flag int, mode fs.FileMode) (*os.File, error) {
			f, err := openAt(at, name, path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
			if err != nil {
				return nil, err
			}
			return aboveStderr(f)
		},
		lstat: func() (fs.FileInfo, error) {
			f, err := openAt(at, name, path, unix.O_PATH|unix.O_NOFOLLOW, 0)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			return f.Stat()
		},
	}
	return privilege.As(*user, func() error { return do(p) })
}

func openAt(dir int, name, path string, flag int, mode fs.FileMode) (*os.File, error) {
	for {
		fd, err := unix.Openat(dir, name, flag|unix.O_CLOEXEC|unix.O_LARGEFILE, uint32(mode.Perm()))
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), path), nil
		case syscall.EINTR:
		default:
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}
