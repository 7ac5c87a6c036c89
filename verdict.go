package lifecycle

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Verdict is what became of a reload, or of reopening the log.
type Verdict struct {
	At        time.Time     `json:"at"`                 // when it was known
	Began     time.Duration `json:"began_monotonic_ns"` // when it began, CLOCK_MONOTONIC
	Took      time.Duration `json:"took_ns"`
	Component string        `json:"component,omitempty"` // which failed
	Hook      string        `json:"hook,omitempty"`      // of it
	Error     string        `json:"error,omitempty"`     // "" if nothing failed
	TimedOut  bool          `json:"timed_out,omitempty"` // the hook overran its time
	Applied   []string      `json:"applied,omitempty"`   // the components that had taken over the new configuration before it failed
}

// newVerdict is the verdict of what began then, has taken so long and ended with err.
func newVerdict(began, took time.Duration, err error) *Verdict {
	v := &Verdict{At: time.Now(), Began: began, Took: took}
	if err == nil {
		return v
	}
	var late *timeoutError
	v.TimedOut = errors.As(err, &late)
	if failed, ok := err.(*reloadError); ok {
		err, v.Applied = failed.cause, failed.applied
	}
	if coded, ok := err.(*codedError); ok { // the code is told beside it
		err = coded.error
	}
	if h, ok := err.(*HookError); ok {
		v.Component, v.Hook, err = h.Component, h.Hook, h.Err
	}
	v.Error = cmp.Or(trimPrefix(err), withoutText)
	return v
}

const withoutText = "an error without a text"

// Err is nil if nothing failed, else a [*HookError] where a hook failed, with the text of its error.
func (v *Verdict) Err() error {
	if v.Error == "" {
		return nil
	}
	return v.inHook(v.cause(ErrReload))
}

// cause is what failed, as far as it was told; tooLong says for what its time was over, if it was.
func (v *Verdict) cause(tooLong error) error {
	if v.TimedOut {
		return &timeoutError{is: tooLong, text: v.Error}
	}
	return remoteError(v.Error)
}

// inHook says in which hook err happened, if it did in one.
func (v *Verdict) inHook(err error) error {
	if v.Hook == "" {
		return err
	}
	return &HookError{v.Component, v.Hook, err}
}

// remoteError is an error of another process, of which we know the text.
type remoteError string

func (e remoteError) Error() string { return string(e) }

// failure is why a start failed, as it crosses from one process to another.
type failure struct {
	Verdict
	Code         int    `json:"code"`
	StopTimedOut bool   `json:"stop_timed_out,omitempty"` // the time of the stop was over, not that of the start
	Panicked     bool   `json:"panicked,omitempty"`       // Error is the text of the value
	Stack        string `json:"stack,omitempty"`
}

// maxStack is how much of a stack goes over the socket.
const maxStack = 16 << 10

// newFailure makes a failure of what Run returns or, where that is nil, of why the life was stopped.
func newFailure(err, reason error) *failure {
	switch {
	case err != nil:
	case reason == nil || errors.Is(reason, ErrBodyReturned):
		err = errors.New("ended before it was ready")
	default:
		err = fmt.Errorf("stopped before it was ready: %s", trimPrefix(reason))
	}
	f := &failure{Code: max(1, ExitCode(err))}
	var several *lifeErrors
	if errors.As(err, &several) {
		err = several.errs[0]
	}
	f.Verdict = *newVerdict(0, 0, err)
	var late *timeoutError
	f.StopTimedOut = errors.As(err, &late) && late.is == ErrStopTimeout
	f.TimedOut = f.TimedOut || errors.As(err, new(*notReady))
	var p *PanicError
	if errors.As(err, &p) {
		f.Panicked, f.Error = true, fmt.Sprint(p.Value)
		f.Stack = string(p.Stack[:min(len(p.Stack), maxStack)])
	}
	return f
}

// decodeFailure returns the error that a failure in JSON stands for.
func decodeFailure(text json.RawMessage) error {
	f := new(failure)
	_ = json.Unmarshal(text, f) // a worker may say anything
	f.Error = cmp.Or(f.Error, withoutText)
	return f.Err()
}

// Err returns the failure as an error: component, hook, text and exit code are those of the other process.
func (f *failure) Err() error {
	tooLong := ErrStartTimeout
	if f.StopTimedOut {
		tooLong = ErrStopTimeout
	}
	err := f.cause(tooLong)
	if f.Panicked {
		err = &PanicError{Value: f.Error, Stack: []byte(f.Stack)}
	}
	err = f.inHook(err)
	if f.Hook == "" && !f.Panicked {
		err = fmt.Errorf("lifecycle: %w", err)
	}
	if code := max(1, f.Code); code != ExitCode(err) { // whatever it says, it is no success
		err = WithExitCode(err, code)
	}
	return err
}
