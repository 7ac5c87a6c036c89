package safefile

import (
	"errors"
	"io/fs"
	"syscall"
)

// Outcome is what an attempt to read a file of a daemon has shown: the file is absent, or it is
// unknown whether there is a file.
type Outcome int

const (
	Unknown Outcome = iota // unknown; a later attempt may succeed
	Absent                 // there is no file
	Denied                 // unknown: this user may not read the file
	Wrong                  // unknown: the path or the file must be corrected
)

// outcomes is used by all code that reads the files of a daemon. Only ENOENT means that there is no
// file. Any other error leaves the question open.
var outcomes = map[syscall.Errno]Outcome{
	syscall.ENOENT:       Absent,
	syscall.EACCES:       Denied,
	syscall.EPERM:        Denied,
	syscall.EISDIR:       Wrong,
	syscall.ELOOP:        Wrong,
	syscall.ENAMETOOLONG: Wrong,
	syscall.ENOTDIR:      Wrong,
	syscall.EAGAIN:       Unknown, // another process has a lease or a lock
	syscall.EINTR:        Unknown,
	syscall.EIO:          Unknown,
	syscall.EMFILE:       Unknown,
	syscall.ENFILE:       Unknown,
	syscall.ENOLCK:       Unknown, // too many locks, or a server without locks
	syscall.ENOMEM:       Unknown,
	syscall.ESTALE:       Unknown, // the server has replaced the file
}

// OutcomeOf returns the outcome for an attempt that failed with err. It returns Unknown for an
// errno that is not in the table.
func OutcomeOf(err error) Outcome {
	var errno syscall.Errno
	switch {
	case errors.Is(err, ErrUnsafe):
		return Wrong
	case errors.As(err, &errno):
		return outcomes[errno]
	case errors.Is(err, fs.ErrNotExist):
		return Absent
	case errors.Is(err, fs.ErrPermission):
		return Denied
	}
	return Unknown
}

// IsFinal reports whether later attempts fail too, until the path or the rights change.
func (o Outcome) IsFinal() bool { return o == Denied || o == Wrong }
