package lifecycle

import (
	"cmp"
	"errors"
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
	v.Error = cmp.Or(trimPrefix(err), "an error without a text")
	return v
}

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
