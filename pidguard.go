package lifecycle

import (
	"io/fs"
	"os"

	"example.com/lifecycle/internal/safefile"
)

// Whoever can write the PID file, or replace it, decides which process root signals: the privilege escalations of 2016 to
// 2020 (CVE-2017-16933, CVE-2018-6954, CVE-2018-16888) were of this kind. So root takes no path that somebody else can bend, and
// nobody takes a file that everybody can write.

// guardPath keeps root from starting with a PID file whose path somebody else can bend.
func guardPath(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return safefile.Guarded(path)
}

// guardLook keeps root from being led by whoever can bend the path. A file that is not root's may lie where its owner can write,
// for it names only processes of that owner; see (*Process).verify. So what is opened then must be that owner's: -1 if that
// does not matter.
func guardLook(path string) (owner int, err error) {
	if os.Geteuid() != 0 {
		return -1, nil
	}
	info, err := os.Lstat(path)
	if err != nil {
		return -1, nil // what is not there is nobody's; other errors come back from opening it
	}
	owner = safefile.Owner(info)
	return owner, safefile.Guarded(path, owner)
}

// guardFile keeps a start from taking a file that somebody else can write.
func guardFile(f *os.File) error {
	info, err := f.Stat()
	if err == nil {
		err = guardMode(info)
	}
	if err != nil {
		return err
	}
	if uid, owner := os.Geteuid(), safefile.Owner(info); owner != uid && owner != 0 {
		return safefile.Unsafe("it belongs to user %d, not to user %d", owner, uid)
	}
	return nil
}

func guardMode(info fs.FileInfo) error {
	if info.Mode()&0o002 != 0 {
		return safefile.Unsafe("everybody can write it (mode %04o)", info.Mode().Perm())
	}
	return nil
}
