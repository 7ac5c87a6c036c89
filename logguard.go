package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"example.com/lifecycle/internal/privilege"
	"example.com/lifecycle/internal/safefile"
)

// Whoever can replace a directory on the way to the log decides which file root makes or appends to: so became the user of a web server root
// (CVE-2016-1247). So the way to it is root's. The last directory may be that of the user whom the daemon becomes: what he can do there, between
// one open and the next, is to put another file of his own in its place, for no link is followed and no file with two names is taken.

// guardLogPath keeps root from logging where somebody else can lead it. It is not asked of others, who can reach no more than they may.
func guardLogPath(path string, owner *role) error {
	if os.Geteuid() != 0 {
		return nil
	}
	trusted := safefile.Trusted{Groups: logGroup()}
	err := trusted.Guard(path)
	if dir := filepath.Dir(path); owner != nil && errors.Is(err, safefile.ErrUnsafe) && trusted.Guard(dir) == nil && belongsTo(dir, owner) {
		return nil
	}
	var at *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &fs.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	case errors.Is(err, safefile.ErrUnsafe) && errors.As(err, &at):
		at.Err = fmt.Errorf("%w: as root, log where only root can write the directories, into a file of the user's if need be, or start as the user", at.Err)
	}
	return err
}

// belongsTo says whether only that user can write the directory.
func belongsTo(dir string, owner *role) bool {
	info, err := os.Lstat(dir)
	return err == nil && info.IsDir() && safefile.Owner(info) == owner.UID && info.Mode()&0o022 == 0
}

// ownerOfDirectory is the user with whose rights root opens a log: the owner of the directory, who
// decides what lies there. It is nil where root uses its own. The user could put a link to
// somebody else's file there for an instant.
func ownerOfDirectory(path string, owner *role) *privilege.Identity {
	if os.Geteuid() != 0 || owner == nil || owner.UID == 0 || !belongsTo(filepath.Dir(path), owner) {
		return nil
	}
	return &owner.Identity
}

// notOfOwner is why the owner of the directory may not open a log.
func notOfOwner(path string, user int) error {
	info, err := os.Lstat(path)
	if err != nil {
		return safefile.Unsafe("user %d, who owns the directory, may not write it", user)
	}
	return safefile.Unsafe("it belongs to user %d, and user %d, who owns the directory, may not write it", safefile.Owner(info), user)
}

// logGroup is the group that root lets write /var/log: syslog on Ubuntu. It is trusted with logs, or the default place would be of no use there.
func logGroup() []int {
	info, err := os.Stat("/var/log")
	if err != nil || safefile.Owner(info) != 0 || info.Mode()&0o020 == 0 {
		return nil
	}
	return []int{safefile.Group(info)}
}

// guardLog keeps the log out of a file that somebody else has put into a directory like /tmp, and could read. It is what the kernel does where
// fs.protected_regular is 2 (proc_sys_fs(5)), which it not everywhere is. Nor does root take one that is neither root's nor that of the owner of the directory.
func guardLog(f *os.File) error {
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

// guardPaths says what of the paths would make a start refuse, before anything is stopped for it.
func (c *config) guardPaths() error {
	c.needLog()
	if err := safefile.GuardWrite(c.pidFile); err != nil {
		return pidFileError(c.pidFile, err)
	}
	for _, path := range []string{c.logFile, c.errorLogFile} {
		if path == "" {
			continue
		}
		if err := guardLogPath(path, c.role); err != nil {
			return logFileError(path, err)
		}
	}
	return nil
}
