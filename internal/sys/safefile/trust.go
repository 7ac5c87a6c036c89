package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// A user who can write or replace a PID file decides which process root signals. CVE-2017-16933,
// CVE-2018-6954 and CVE-2018-16888 were privilege escalations of this kind. Therefore root uses no
// path that another user can change. No process uses a file that every user can write.

// GuardWrite returns an error if this process runs as root and another user can change what the
// path names.
func GuardWrite(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return Guarded(path)
}

// GuardEntry does the same as [GuardWrite], for a process that only adds or removes the last
// element of the path, with bind(2) or unlink(2). Neither call follows a link there. The directory
// may belong to another user if no third user can write it. That other user cannot make the process
// use another directory.
func GuardEntry(path string) error {
	err := GuardWrite(path)
	if !errors.Is(err, ErrUnsafe) {
		return err
	}
	dir := filepath.Dir(path)
	info, statErr := os.Lstat(dir)
	if Guarded(dir) == nil && statErr == nil && info.IsDir() && info.Mode()&0o022 == 0 {
		return nil
	}
	return err
}

// GuardRead is [GuardWrite] for a process that only reads the file. It also accepts a path that the
// owner of the file can change. It returns the user ID of that owner. The caller must check that
// the same user owns the file that it then opens. It returns -1 if any owner is acceptable.
func GuardRead(path string) (owner int, err error) {
	if os.Geteuid() != 0 {
		return -1, nil
	}
	info, err := os.Lstat(path)
	switch {
	case err == nil:
	case OutcomeOf(err) == Absent:
		return -1, nil // a missing file has no owner
	default:
		return -1, Guarded(path) // the error of GuardWrite; nil: the open returns the error
	}
	owner = Owner(info)
	return owner, Guarded(path, owner)
}

// CheckOwner returns an error if every user can write the open file f, or if f belongs neither to
// root nor to the user of this process.
func CheckOwner(f *os.File) error {
	info, err := f.Stat()
	if err == nil {
		err = CheckMode(info)
	}
	if err != nil {
		return err
	}
	if uid, owner := os.Geteuid(), Owner(info); owner != uid && owner != 0 {
		return Unsafe("it belongs to user %d, not to user %d", owner, uid)
	}
	return nil
}

// CheckMode returns an error if every user can write the file.
func CheckMode(info fs.FileInfo) error {
	if info.Mode()&0o002 != 0 {
		return Unsafe("all users can write it (mode %04o)", info.Mode().Perm())
	}
	return nil
}
