// Package logfile opens the log files of a daemon: for appending, and only where no other user
// decides which file that is.
package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"example.com/lifecycle/internal/privilege"
	"example.com/lifecycle/internal/safefile"
)

// Mode is the mode of a log that [Open] creates, whatever the umask.
const Mode = 0o640

// Open opens the log at path for appending. It creates the file where it is missing, and gives it
// to owner if that is not nil and this process is root. created reports whether this call made the
// file.
func Open(path string, owner *privilege.Identity) (f *os.File, created bool, err error) {
	if err := CheckPath(path, owner); err != nil {
		return nil, false, err
	}
	as := ownerOfDirectory(path, owner)
	f, created, err = safefile.AppendAs(path, Mode, as)
	if as != nil && errors.Is(err, fs.ErrPermission) {
		err = notOfOwner(path, as.UID)
	}
	if err != nil {
		return nil, false, err
	}
	if created {
		err = prepare(f, owner)
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
		return nil, false, err
	}
	return f, created, nil
}

// prepare sets the mode and the owner of a new log.
func prepare(f *os.File, owner *privilege.Identity) error {
	if err := f.Chmod(Mode); err != nil {
		return err
	}
	if owner == nil || os.Geteuid() != 0 {
		return nil
	}
	if err := f.Chown(owner.UID, owner.GID); err != nil {
		return fmt.Errorf("cannot give it to user %d: %w", owner.UID, safefile.Cause(f.Name(), err))
	}
	return nil
}
