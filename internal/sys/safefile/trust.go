package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// A user who can write or replace a PID file decides which process root signals. CVE-2017-16933,
// CVE-2018-6954 and CVE-2018-16888 were privilege escalations of this kind. So root uses no path
// that another user can change, and no process uses a file that everybody can write.

// GuardWrite returns an error if this process runs as root and another user decides what the path
// names.
func GuardWrite(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return Guarded(path)
}

// GuardEntry is [GuardWrite] for a process that only adds or removes the name at the end of the
// path. bind(2) and unlink(2) do that: neither follows a link there. The directory of that name may
// belong to another user, if no third user can write it. That user can lead the process to no other
// directory.
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
// owner of the file can change. It returns that owner, who must also own the file that is opened
// next. It returns -1 if the owner does not matter.
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
		return -1, Guarded(path) // the reason, as GuardWrite gives it; or else opening reports it
	}
	owner = Owner(info)
	return owner, Guarded(path, owner)
}

// CheckOwner returns an error if everybody can write the open file f, or if it belongs to another
// user than root and the user of this process.
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

// CheckMode returns an error if everybody can write the file.
func CheckMode(info fs.FileInfo) error {
	if info.Mode()&0o002 != 0 {
		return Unsafe("all users can write it (mode %04o)", info.Mode().Perm())
	}
	return nil
}
