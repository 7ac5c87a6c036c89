package safefile

import (
	"errors"
	"io/fs"
	"os"
)

// Owned is a file that a process keeps open and removes when it ends. It is not safe for concurrent
// use.
type Owned struct {
	Path string // "" if the path is outside of the root directory
	File *os.File

	opened fs.FileInfo // of File when it was opened
	stays  bool        // CheckRemovable has reported that the file stays
}

// NewOwned returns an Owned for the open file at path.
func NewOwned(path string, f *os.File) Owned {
	opened, _ := f.Stat() // cannot fail: the caller has called Stat before
	return Owned{Path: path, File: f, opened: opened}
}

// CheckOpen returns an error if the program has closed the descriptor.
func (o *Owned) CheckOpen() error { return Still(o.File, o.opened) }

// CheckRemovable returns nil if Remove will be able to remove the file, or else the reason.
func (o *Owned) CheckRemovable() error {
	why := errors.New(outsideRoot)
	if o.Path != "" {
		why = Removable(o.Path)
	}
	o.stays = why != nil
	return why
}

// outsideRoot is the text of the error if the file has no path in the new root directory.
const outsideRoot = "it is outside the root directory"

// Remove removes the path, unless it now names another file, and closes the open file. It always
// empties the open file, because a process that opened it earlier must not read outdated content.
//
// If CheckRemovable has already reported that the file stays, and Remove has emptied it, removeErr
// is nil.
func (o *Owned) Remove() (removeErr, emptyErr error) {
	if err := o.CheckOpen(); err != nil {
		return err, err
	}
	defer o.File.Close()
	removeErr = errors.New(outsideRoot)
	if o.Path != "" {
		removeErr = Remove(o.File, o.Path)
	}
	emptyErr = o.File.Truncate(0)
	if o.stays && emptyErr == nil {
		removeErr = nil
	}
	return removeErr, emptyErr
}

// Cause returns err without its path, for a message that already contains the path.
func Cause(path string, err error) error {
	at, ok := err.(*fs.PathError)
	switch {
	case ok && at.Path == path && errors.Is(at.Err, ErrUnsafe): // clear without the operation
		return at.Err
	case ok && at.Path == path:
		return &opError{at.Op, at.Err}
	}
	return err
}

// opError is an fs.PathError without a path.
type opError struct {
	op    string
	cause error
}

func (e *opError) Error() string { return e.op + ": " + e.cause.Error() }
func (e *opError) Unwrap() error { return e.cause }
