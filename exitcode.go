package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/stacktrace"
)

// ErrNotRunning reports that no process holds the PID file. The error that wraps it is a
// [*NotRunningError].
var ErrNotRunning = errors.New("lifecycle: not running")

// ExitCode returns the exit code for a program that ends because of err, an error of [Run] or of
// another function of this package. The first rule that applies decides:
//
//   - A nil err is 0.
//   - An error with a method ExitCode() int, such as the result of [WithExitCode], has the code
//     that the method returns. A code outside 0 to 255 counts as 1. An exec.ExitError of a killed
//     program has such a code, -1.
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

// logFailure logs one failure of the life, in one record of level ERROR. A [*HookError] names its
// component and its hook. For any other err, the arguments name them. It does not log a failure
// that the worker has already logged.
func (l *life) logFailure(component, hook string, err error) {
	if reported := l.reported.Load(); reported != nil && errors.Is(err, *reported) {
		return
	}
	if l.mode.kind == modeSupervisor {
		hook = "" // the hook of the supervisor did not fail, but its worker
	}
	if h, ok := err.(*HookError); ok {
		component, hook, err = h.Component, h.Hook, h.Err
	}
	label := hook + " of " + component
	attrs := []any{"err", trimPrefix(err)}
	if hook != "" {
		attrs = append(attrs, "component", component, "hook", hook)
	}
	var p *PanicError
	var late *timeoutError
	switch {
	case errors.As(err, &p):
		l.log.Error("panic in "+label, append(attrs, "stack", stacktrace.Line(p.Stack))...)
	case errors.As(err, &late) && late.stack != nil:
		l.log.Error(label+" was abandoned: it did not return in time", append(attrs, "stack", stacktrace.Line(late.stack))...)
	case hook != "":
		l.log.Error(label+" failed", attrs...)
	case l.wasReady():
		l.log.Error("failed", attrs...)
	default:
		l.log.Error("start failed", attrs...)
	}
}

// recordFailure writes the failure of the life to the state file. The file then remains when the
// life ends.
func (l *life) recordFailure(result error) {
	if early := l.returnedTooEarly(); result == nil && early != nil {
		result = early
		l.logFailure("", "", result)
	}
	if result != nil {
		failed := newFailure(result)
		l.update(func(s *Status) { s.Failed = failed })
	}
}

// returnedTooEarly returns an error if a body ended the life before it was ready. For the launcher
// or supervisor that waits, the start has then failed, even if Run returns nil.
func (l *life) returnedTooEarly() error {
	waits := l.launcher != nil || l.mode.kind == modeWorker && l.mode.first
	if waits && !isClosed(l.readyCh) && errors.Is(context.Cause(l.stopCtx), ErrBodyReturned) {
		return l.whyNotReady(nil)
	}
	return nil
}

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

// Failure describes how a life failed: why it did not start, or what failed when it ended.
type Failure struct {
	At        time.Time `json:"at"`
	Code      int       `json:"code,omitempty"`      // exit code of the daemon; 0: unknown
	Component string    `json:"component,omitempty"` // failed component
	Hook      string    `json:"hook,omitempty"`      // failed hook
	Error     string    `json:"error"`
	TimedOut  bool      `json:"timed_out,omitempty"` // the hook exceeded its time
	Panicked  bool      `json:"panicked,omitempty"`  // the log contains the stack
	Also      []string  `json:"also,omitempty"`      // the other failures of the same end
}

// newFailure returns the description of err, the error of a life that has ended.
func newFailure(err error) *Failure {
	f := encodeError(err)
	d := &Failure{
		At: time.Now(), Code: f.Code, Component: f.Component, Hook: f.Hook, Error: f.Error,
		TimedOut: f.TimedOut || slices.Contains(f.Is, ErrStopTimeout.Error()), Panicked: f.Panicked,
	}
	if several, ok := withoutCode(err).(*lifeErrors); ok {
		for _, err := range several.errs[1:] {
			d.Also = append(d.Also, failedText(err))
		}
	}
	return d
}

// Err returns an error with the text of the failure: a [*HookError] if a hook failed. It wraps a
// [*PanicError] after a panic, and [ErrStartTimeout] or [ErrStopTimeout] after a hook that exceeded
// its time.
func (d *Failure) Err() error {
	f := failure{Verdict: Verdict{Component: d.Component, Hook: d.Hook, Error: d.Error, TimedOut: d.TimedOut}, Code: d.Code, Panicked: d.Panicked}
	if d.TimedOut {
		is := ErrStopTimeout
		if d.Hook == "OnStart" || d.Hook == "ReadyWhen" {
			is = ErrStartTimeout
		}
		f.Is = []string{is.Error()}
	}
	return f.err()
}

// failedText returns a failure as a clause, such as: OnStop of cache failed: cannot flush.
func failedText(err error) string {
	var h *HookError
	var late *timeoutError
	var said clauseError
	switch {
	case errors.As(err, &said):
		return string(said)
	case errors.As(err, &late) && errors.As(err, &h):
		return fmt.Sprintf("%s of %s %v", h.Hook, h.Component, h.Err)
	case errors.As(err, &h):
		return fmt.Sprintf("%s of %s failed: %v", h.Hook, h.Component, h.Err)
	}
	return "it failed: " + trimPrefix(err)
}

// clauseError is the text with which failedText described a failure in the worker.
type clauseError string

func (e clauseError) Error() string { return string(e) }

// launchError is the error of a failed start of a daemon that has a log.
type launchError struct {
	error
	log string
}

func (e *launchError) Error() string {
	text, between := e.error.Error(), " "
	if strings.Contains(text, "\n") {
		between = "\n"
	}
	return text + between + "(log " + e.log + ")"
}

func (e *launchError) Unwrap() error { return e.error }

// endFailedStart records the failure of a start in the state file, unless the start was
// interrupted. It removes a state file that records nothing.
func (p *plan) endFailedStart(began time.Time, err error, interrupted bool) {
	if err != nil && !interrupted {
		p.recordFailedStart(began, err)
	}
	p.removeStaleState()
}

// recordFailedStart writes a state file with the reason why the start failed, unless the daemon has
// written one. The caller holds the lock, and no process of the daemon runs.
func (p *plan) recordFailedStart(began time.Time, err error) {
	if s, readErr := lastState(p.pidFile); readErr == nil && s.Failed != nil && s.Failed.At.After(began) {
		return
	}
	var launched *launchError
	log := ""
	if errors.As(err, &launched) {
		err, log = launched.error, launched.log
	}
	f := newFailure(err)
	f.Code = 0 // the exit code of the daemon is unknown
	f.Error = handshake.Summary(f.Error)
	p.leaveRecord(Status{Name: p.name, Version: p.version, Started: began, LogFile: log, Failed: f})
}

// warnLeftover logs that a file of the daemon could not be removed.
func warnLeftover(log *slog.Logger, what string, removeErr, emptyErr error) {
	switch {
	case removeErr != nil && removeErr == emptyErr:
		log.Warn("cannot remove or empty the "+what, "err", removeErr)
	case removeErr != nil && emptyErr != nil:
		log.Warn("cannot remove or empty the "+what, "err", errors.Join(removeErr, emptyErr))
	case removeErr != nil:
		log.Warn("cannot remove the "+what+", so it was emptied", "err", removeErr)
	}
}
