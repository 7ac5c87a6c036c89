package lifecycle

import (
	"errors"
	"io/fs"
	"os"

	"example.com/lifecycle/internal/safefile"
)

// ownFile is a file that a life has made at a path for as long as it lasts: the PID file, and the state file.
type ownFile struct {
	path  string // "" if it is out of sight
	file  *os.File
	was   fs.FileInfo // of the file when it became ours
	stays bool        // it was said that it will not be removed
}

func newOwnFile(path string, f *os.File) ownFile {
	was, _ := f.Stat() // it was looked at before, so this does not fail
	return ownFile{path: path, file: f, was: was}
}

// still returns an error if the program has closed the descriptor.
func (o *ownFile) still() error { return safefile.Still(o.file, o.was) }

// willStay says why the file cannot be removed at the end, nil if it can.
func (o *ownFile) willStay() error {
	why := errOutOfSight
	if o.path != "" {
		why = safefile.Removable(o.path)
	}
	o.stays = why != nil
	return why
}

var errOutOfSight = errors.New("it is outside of the root directory")

// letGo removes the file, unless the path names another by now, and closes it. It says why the file stays where it is, and why what is in it
// does: it is emptied even when it is unlinked, for who has opened it before would take what is in it for the word of a daemon.
func (o *ownFile) letGo() (stays, full error) {
	if err := o.still(); err != nil {
		return err, err
	}
	defer o.file.Close()
	if o.path == "" {
		return errOutOfSight, o.file.Truncate(0)
	}
	stays = safefile.Remove(o.file, o.path)
	return stays, o.file.Truncate(0)
}
