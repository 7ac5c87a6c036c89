// Package logfile opens the log files of a daemon for appending. It refuses a file that another
// user decides on.
package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"example.com/lifecycle/internal/sys/privilege"
	"example.com/lifecycle/internal/sys/safefile"
)

// Mode is the mode of a log that [Open] creates, independent of the umask.
const Mode = 0o640

// Open opens the log at path for appending. It creates a missing file, and gives it to owner if
// owner is not nil and this process runs as root. created reports whether this call created the
// file.
func Open(path string, owner *privilege.Identity) (f *os.File, created bool, err error) {
	as, err := trust(path, owner)
	if err != nil {
		return nil, false, err
	}
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
		return fmt.Errorf("cannot change its owner to user %d: %w", owner.UID, safefile.Cause(f.Name(), err))
	}
	return nil
}
