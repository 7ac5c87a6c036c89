package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"example.com/lifecycle/internal/sys/privilege"
	"example.com/lifecycle/internal/sys/safefile"
)

// A user who can replace a directory of the path chooses the file that root creates or appends to.
// In CVE-2016-1247, the user of a web server became root in this way. So only root may be able to
// change the path. There is one exception: the last directory may belong to the user of the daemon.
// That user can replace the log only with a file of the same user: Open follows no link, refuses a
// file with two names, and opens the file with the rights of that user.

const logAsRoot = "as root, put the log into a directory that only root can write " +
	"(the file may belong to the user), or start as the user"

// CheckPath returns an error if this process is root and a user other than owner can change which
// file the path names. In a process of another user it returns nil, because such a process can only
// open files of its own user.
func CheckPath(path string, owner *privilege.Identity) error {
	_, err := trust(path, owner)
	return err
}

// trust makes the checks of [CheckPath]. It returns the user with whose rights root opens the log.
// If the directory belongs to owner, that user is owner, because owner could put a link to another
// user's file there. If no other user can write a directory of the path, trust returns nil: root
// opens the log with its own rights. One function checks the path and selects the user, because the
// owner of a directory could change the directory between two checks.
func trust(path string, owner *privilege.Identity) (as *privilege.Identity, err error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	trusted := safefile.Trusted{Groups: logGroup()}
	err = trusted.Guard(path)
	if errors.Is(err, safefile.ErrUnsafe) && owner != nil {
		if dir := filepath.Dir(path); trusted.Guard(dir) == nil && belongsTo(dir, owner) {
			return owner, nil
		}
	}
	var at *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	case errors.Is(err, safefile.ErrUnsafe) && errors.As(err, &at):
		at.Err = fmt.Errorf("%w: %s", at.Err, logAsRoot)
	}
	return nil, err
}

// belongsTo reports whether the directory belongs to owner and no other user can write it.
func belongsTo(dir string, owner *privilege.Identity) bool {
	info, err := os.Lstat(dir)
	return err == nil && info.IsDir() && safefile.Owner(info) == owner.UID && info.Mode()&0o022 == 0
}

// notOfOwner returns why user, the owner of the directory, cannot open the log at path.
func notOfOwner(path string, user int) error {
	info, err := os.Lstat(path)
	if err != nil {
		return safefile.Unsafe("user %d owns the directory but cannot write the file", user)
	}
	return safefile.Unsafe(
		"it belongs to user %d, and user %d, the owner of the directory, cannot write it",
		safefile.Owner(info), user)
}

// logGroup returns the group that can write /var/log on this system, such as syslog on Ubuntu. Root
// trusts that group, because otherwise it could not use the default directory of logs.
func logGroup() []int {
	info, err := os.Stat("/var/log")
	if err != nil || safefile.Owner(info) != 0 || info.Mode()&0o020 == 0 {
		return nil
	}
	return []int{safefile.Group(info)}
}

// checkOpened returns an error for a file that another user has put into a directory like /tmp,
// because that user could read the log. The kernel refuses such a file only if fs.protected_regular
// is 2 (proc_sys_fs(5)). As root, checkOpened also returns an error in a directory of another user,
// if the file belongs neither to root nor to that user.
func checkOpened(f *os.File) error {
	dir, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	owner := safefile.Owner(info)
	shared := dir.Mode()&fs.ModeSticky != 0 && dir.Mode()&0o022 != 0
	ofUser := os.Geteuid() == 0 && safefile.Owner(dir) != 0
	if (shared || ofUser) && owner != os.Geteuid() && owner != 0 && owner != safefile.Owner(dir) {
		return safefile.Unsafe("it belongs to user %d, in a directory that others can write", owner)
	}
	return nil
}
