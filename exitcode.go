package lifecycle

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// ErrNotRunning says that nobody holds the PID file. The error that wraps it is a [*NotRunningError].
var ErrNotRunning = errors.New("lifecycle: not running")

// ExitCode is the code with which a program ends whose life returned err: 0 for nil; else what the error carries, by WithExitCode or a
// method ExitCode() int of its own; else 7 for [ErrNotRunning], 4 for a missing permission (EPERM, EACCES), as the LSB has it, 70
// for a [*PanicError], as sysexits(3) has it; else 1. Of the errors of Run the first decides, which is that of a body if one failed. A
// code that is none, such as -1 of an exec.ExitError of a killed program, counts as 1.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if joined, ok := e.(*lifeErrors); ok {
			return ExitCode(joined.errs[0])
		}
		if c, ok := e.(interface{ ExitCode() int }); ok {
			return validCode(c.ExitCode())
		}
	}
	var coded interface{ ExitCode() int }
	var panicked *PanicError
	switch {
	case errors.As(err, &coded):
		return validCode(coded.ExitCode())
	case errors.Is(err, ErrNotRunning):
		return 7
	case errors.Is(err, fs.ErrPermission):
		return 4
	case errors.As(err, &panicked):
		return 70
	}
	return 1
}

func validCode(code int) int {
	if code < 0 || code > 255 {
		return 1
	}
	return code
}

// WithExitCode returns err so that ExitCode of it, and of what wraps it, is code. It returns nil where err is nil.
func WithExitCode(err error, code int) error {
	if err == nil {
		return nil
	}
	return &codedError{err, code}
}

type codedError struct {
	error
	code int
}

func (e *codedError) ExitCode() int { return e.code }

func (e *codedError) Unwrap() error { return e.error }

// lifeErrors is what Run returns where more than one thing went wrong: the errors of the bodies first.
type lifeErrors struct{ errs []error }

func (e *lifeErrors) Error() string {
	texts := make([]string, len(e.errs))
	for i, err := range e.errs {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "\n")
}

func (e *lifeErrors) Unwrap() []error { return e.errs }

// joinErrors is errors.Join, but a single error comes back as it is.
func joinErrors(errs ...error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return &lifeErrors{errs}
}
