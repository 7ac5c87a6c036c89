package safefile

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// place describes how to open a file.
type place struct {
	path  string
	open  func(flag int, mode fs.FileMode) (*os.File, error)
	lstat func() (fs.FileInfo, error)
}

func placeAt(path string) place {
	return place{
		path:  path,
		open:  func(flag int, mode fs.FileMode) (*os.File, error) { return open(path, flag, mode) },
		lstat: func() (fs.FileInfo, error) { return os.Lstat(path) },
	}
}

const (
	attempts = 100

	// leasePatience is how long another process may keep its lease on the file
	// (F_SETLEASE(2const)). Without O_NONBLOCK, the open would wait for
	// /proc/sys/fs/lease-break-time, 45 s.
	leasePatience = time.Second
)

// errExchanged reports that the path named different files before, during or after the open.
var errExchanged = Unsafe("another process keeps replacing it")

func (p place) create(flag int, mode fs.FileMode) (f *os.File, created bool, err error) {
	// Repeat both attempts to open the file, because the file can appear or vanish between them.
	for range attempts {
		f, err = p.open(flag|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, fs.ErrExist) {
			return f, err == nil, err
		}
		f, err = p.openOnce(flag)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errExchanged) {
			return f, false, err
		}
	}
	return nil, false, err
}

func (p place) openRegular(flag int) (f *os.File, err error) {
	for range attempts {
		if f, err = p.openOnce(flag); !errors.Is(err, errExchanged) {
			return f, err
		}
	}
	return nil, err
}

// openOnce inspects the path before and after the open. It inspects the path before, because
// opening a device can have effects. Both inspections and the open file must show the same file,
// with one name. The link count of the open file alone proves nothing. A user who has linked
// another user's file can remove the link between the open and the check.
func (p place) openOnce(flag int) (*os.File, error) {
	before, err := p.look()
	if err != nil {
		return nil, err
	}
	f, err := p.openUnleased(flag)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil {
		err = check(p.path, opened)
	}
	var after fs.FileInfo
	if err == nil {
		after, err = p.look()
	}
	if err == nil && !(same(before, opened) && same(opened, after)) {
		err = &fs.PathError{Op: "open", Path: p.path, Err: errExchanged}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (p place) look() (fs.FileInfo, error) {
	info, err := p.lstat()
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = &fs.PathError{Op: "open", Path: at.Path, Err: at.Err} // part of the open
		}
		return nil, err
	}
	return info, check(p.path, info)
}

func same(a, b fs.FileInfo) bool { return os.SameFile(a, b) && Owner(a) == Owner(b) }

// openUnleased opens the file as soon as no process has a lease on it.
func (p place) openUnleased(flag int) (*os.File, error) {
	for deadline := time.Now().Add(leasePatience); ; time.Sleep(time.Millisecond) {
		f, err := p.open(flag, 0)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return f, err
		}
		if time.Now().After(deadline) {
			return nil, refuse(p.path, "another process has a lease on it (F_SETLEASE) and keeps it")
		}
	}
}
