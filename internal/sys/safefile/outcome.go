package safefile

import (
	"errors"
	"io/fs"
	"syscall"
)

// Outcome is what the error of a look at a file means for the question that the file answers.
type Outcome int

const (
	Unknown Outcome = iota // no answer; a later look may have one
	Absent                 // there is no file
	Denied                 // no answer: this user may not look
	Wrong                  // no answer: the path or the file must be corrected
)

// outcomes decides for all that look at the files of a daemon. Only ENOENT means that there is no
// file. Any other error leaves the question open.
var outcomes = map[syscall.Errno]Outcome{
	syscall.ENOENT:       Absent,
	syscall.EACCES:       Denied,
	syscall.EPERM:        Denied,
	syscall.EISDIR:       Wrong,
	syscall.ELOOP:        Wrong,
	syscall.ENAMETOOLONG: Wrong,
	syscall.ENOTDIR:      Wrong,
	syscall.EAGAIN:       Unknown, // a lease or a lock that another process has
	syscall.EINTR:        Unknown,
	syscall.EIO:          Unknown,
	syscall.EMFILE:       Unknown,
	syscall.ENFILE:       Unknown,
	syscall.ENOLCK:       Unknown, // too many locks, or a server without locks
	syscall.ENOMEM:       Unknown,
	syscall.ESTALE:       Unknown, // the server has replaced the file
}

// OutcomeOf returns the outcome of a look that failed with err. It is Unknown for an error that it
// does not know.
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

// IsFinal reports whether a later look fails too, until the path or the rights change.
func (o Outcome) IsFinal() bool { return o == Denied || o == Wrong }
