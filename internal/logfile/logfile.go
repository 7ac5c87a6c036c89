// Package logfile opens the log files of a daemon for appending. It refuses a path that another
// user can redirect.
package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"example.com/lifecycle/internal/sys/privilege"
	"example.com/lifecycle/internal/sys/safefile"
)

// Log is an open log.
type Log struct {
	*os.File
	Created bool  // Open has created the file
	ModeErr error // why a created file has another mode; nil: it has its mode
}

// Open opens the log at path for appending. It creates a missing file with that mode, independent
// of the umask, and gives it to owner if owner is not nil and this process runs as root. If the
// file system does not let Open set the mode, Open sets ModeErr and still returns the log.
func Open(path string, mode fs.FileMode, owner *privilege.Identity) (*Log, error) {
	as, err := trust(path, owner)
	if err != nil {
		return nil, err
	}
	f, created, err := safefile.AppendAs(path, mode, as)
	if as != nil && errors.Is(err, fs.ErrPermission) {
		err = notOfOwner(path, as.UID)
	}
	if err != nil {
		return nil, err
	}
	log := &Log{File: f, Created: created}
	if created {
		log.ModeErr = safefile.SetMode(f, mode)
		err = giveTo(owner, f)
	} else {
		err = checkOpened(f)
	}
	if err != nil {
		if created {
			if removeErr := safefile.Remove(f, path); removeErr != nil {
				err = errors.Join(err, removeErr)
			}
		}
		f.Close()
		return nil, err
	}
	return log, nil
}

// giveTo makes owner the owner of a new log, if this process runs as root.
func giveTo(owner *privilege.Identity, f *os.File) error {
	if owner == nil || os.Geteuid() != 0 {
		return nil
	}
	info, err := f.Stat()
	if err == nil && (safefile.Owner(info) != owner.UID || safefile.Group(info) != owner.GID) {
		err = f.Chown(owner.UID, owner.GID)
	}
	if err != nil {
		return fmt.Errorf("cannot change its owner to user %d: %w", owner.UID, safefile.Cause(f.Name(), err))
	}
	return nil
}
