package lifecycle

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// ErrNotRunning reports that no process holds the PID file. The error that wraps it is a
// [*NotRunningError].
var ErrNotRunning = errors.New("lifecycle: not running")

// ExitCode returns the exit code for a program that ends because of err, an error of [Run] or of
// another function of this package. The first rule that applies decides:
//
//   - A nil err is 0.
//   - An error that carries a code has that code: from [WithExitCode], or from its own method
//     ExitCode() int. A code outside 0 to 255, such as the -1 of an exec.ExitError of a killed
//     program, counts as 1.
//   - [ErrNotRunning] is 7 (LSB).
//   - A missing permission (EPERM, EACCES) is 4 (LSB).
//   - A [*PanicError] is 70 (sysexits(3)).
//   - Any other error is 1.
//
// If Run returned several errors, the first one decides. It is the error of a body if a body
// failed.
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

// WithExitCode returns an error that wraps err and carries the code for [ExitCode]. It returns nil
// if err is nil.
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

// lifeErrors is the result of Run after several failures. The errors of the bodies come first.
type lifeErrors struct{ errs []error }

func (e *lifeErrors) Error() string {
	texts := make([]string, len(e.errs))
	for i, err := range e.errs {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "\n")
}

func (e *lifeErrors) Unwrap() []error { return e.errs }

// joinErrors is errors.Join, except that it returns a single error unchanged.
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
