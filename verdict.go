package lifecycle

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/sys/bytetext"
)

// Verdict is the result of a reload, or of reopening the log.
type Verdict struct {
	At        time.Time     `json:"at"`                 // when the result was known
	Began     time.Duration `json:"began_monotonic_ns"` // when the operation began, on CLOCK_MONOTONIC
	Took      time.Duration `json:"took_ns"`
	Component string        `json:"component,omitempty"` // failed component
	Hook      string        `json:"hook,omitempty"`      // failed hook
	Error     string        `json:"error,omitempty"`     // "" if nothing failed
	TimedOut  bool          `json:"timed_out,omitempty"` // the hook exceeded its time
	Applied   []string      `json:"applied,omitempty"`   // components with the new configuration
	Ended     bool          `json:"ended,omitempty"`     // the process ended instead of reloading
	Note      string        `json:"note,omitempty"`      // set if the program reports no result
}

// asText returns a copy of v whose strings are UTF-8; see [Status.asText].
func (v *Verdict) asText() *Verdict {
	if v == nil {
		return nil
	}
	text := *v
	text.Component, text.Hook = bytetext.Escape(v.Component), bytetext.Escape(v.Hook)
	text.Error, text.Note = bytetext.Valid(v.Error), bytetext.Valid(v.Note)
	text.Applied = nil
	for _, component := range v.Applied {
		text.Applied = append(text.Applied, bytetext.Escape(component))
	}
	return &text
}

func (v *Verdict) fromText() {
	if v == nil {
		return
	}
	v.Component, v.Hook = bytetext.Unescape(v.Component), bytetext.Unescape(v.Hook)
	for i, component := range v.Applied {
		v.Applied[i] = bytetext.Unescape(component)
	}
}

// newVerdict returns the verdict of an action from its start time, its duration and its error.
func newVerdict(began, took time.Duration, err error) *Verdict {
	v := new(Verdict)
	if err != nil {
		v = &encodeError(err).Verdict
	}
	v.At, v.Began, v.Took = time.Now(), began, took
	return v
}

// Err returns nil if nothing failed. Otherwise it returns an error with the text of the failure: a
// [*HookError] if a hook failed.
func (v *Verdict) Err() error {
	if v.Error == "" {
		return nil
	}
	f := failure{Verdict: *v}
	f.Applied, f.Ended = nil, false
	if v.TimedOut {
		f.Is = []string{ErrReload.Error()}
	}
	return f.err()
}

// reloadErr returns the error of the reload, nil if it succeeded.
func (v *Verdict) reloadErr() error {
	if err := v.Err(); err != nil {
		return &reloadError{cause: err, applied: v.Applied, ended: v.Ended}
	}
	return nil
}

// failure is the JSON form of an error that goes to another process. A daemon sends it to its
// launcher, and a worker sends it to its supervisor. The state file contains only its Verdict.
type failure struct {
	Verdict
	Code     int      `json:"code"`
	Is       []string `json:"is,omitempty"` // texts of the errors in crossing that the error wraps
	Panicked bool     `json:"panicked,omitempty"`
	Stack    string   `json:"stack,omitempty"` // of the panic
	Also     []string `json:"also,omitempty"`  // the other failures of the end of a worker
}

// MarshalJSON returns the failure with its strings as text.
func (f failure) MarshalJSON() ([]byte, error) {
	type plain failure
	f.Verdict, f.Stack = *f.Verdict.asText(), bytetext.Valid(f.Stack)
	f.Also = slices.Clone(f.Also)
	for i := range f.Also {
		f.Also[i] = bytetext.Valid(f.Also[i])
	}
	return json.Marshal(plain(f))
}

func (f *failure) UnmarshalJSON(text []byte) error {
	type plain failure
	err := json.Unmarshal(text, (*plain)(f))
	f.Verdict.fromText()
	return err
}

// crossing lists the errors that errors.Is also finds in the other process. Of other errors, only
// the text and the exit code are sent: there, ErrNotRunning would refer to another daemon.
var crossing = []error{ErrStartTimeout, ErrStopTimeout, ErrReload}

// withoutText replaces an empty text, because a Verdict with an empty text is a success.
const withoutText = "an error without a text"

// maxStack is the greatest number of bytes of a stack that are sent.
const maxStack = 16 << 10

// encodeError returns err as a failure. decodeError turns it into an error with the same text, exit
// code, hook and panic. If a life returned several errors, the failure contains the first one,
// because that one decides the exit code.
func encodeError(err error) *failure {
	f := &failure{Code: max(1, ExitCode(err))}
	err = withoutCode(err)
	if several, ok := err.(*lifeErrors); ok {
		err = withoutCode(several.errs[0])
	}
	for _, is := range crossing {
		if errors.Is(err, is) {
			f.Is = append(f.Is, is.Error())
		}
	}
	f.TimedOut = errors.As(err, new(*timeoutError)) || errors.Is(err, ErrStartTimeout)
	var p *PanicError
	if errors.As(err, &p) {
		f.Panicked, f.Stack = true, string(p.Stack[:min(len(p.Stack), maxStack)])
	}
	if failed, ok := err.(*reloadError); ok {
		err, f.Applied, f.Ended = withoutCode(failed.cause), failed.applied, failed.ended
	}
	if h, ok := err.(*HookError); ok {
		f.Component, f.Hook, err = h.Component, h.Hook, h.Err
	}
	f.Error = cmp.Or(trimPrefix(err), withoutText)
	return f
}

// withoutCode removes what WithExitCode has added to err.
func withoutCode(err error) error {
	for {
		coded, ok := err.(*codedError)
		if !ok {
			return err
		}
		err = coded.error
	}
}

// decodeError returns the error of a failure in JSON. Even if the JSON is wrong, the exit code of
// the error is not 0.
func decodeError(text json.RawMessage) error {
	f := new(failure)
	if err := json.Unmarshal(text, f); err != nil && f.Error == "" {
		f.Error = "it failed with an error that cannot be read: " + err.Error()
	}
	f.Error = cmp.Or(strings.TrimPrefix(f.Error, "lifecycle: "), withoutText)
	return f.err()
}

// err returns the error that was encoded.
func (f *failure) err() error {
	err := f.cause()
	if f.Hook != "" {
		err = &HookError{f.Component, f.Hook, err}
	} else if _, panicked := err.(*PanicError); !panicked {
		err = fmt.Errorf("lifecycle: %w", err)
	}
	lacksReload := slices.Contains(f.Is, ErrReload.Error()) && !errors.Is(err, ErrReload)
	if lacksReload || len(f.Applied) > 0 {
		err = &reloadError{cause: err, applied: f.Applied, ended: f.Ended}
	}
	if code := max(1, f.Code); code != ExitCode(err) {
		err = WithExitCode(err, code)
	}
	errs := []error{err}
	for _, text := range f.Also {
		errs = append(errs, clauseError(text))
	}
	return joinErrors(errs...)
}

// cause returns the error without its hook.
func (f *failure) cause() error {
	value, direct := strings.CutPrefix(f.Error, "panic: ")
	if f.Panicked && direct {
		return &PanicError{Value: value, Stack: []byte(f.Stack)}
	}
	var wraps []error
	for _, is := range crossing {
		if slices.Contains(f.Is, is.Error()) {
			wraps = append(wraps, is)
		}
	}
	if f.TimedOut {
		is := append(wraps, ErrStartTimeout)[0]
		wraps = append(wraps, &timeoutError{is: is})
	}
	if f.Panicked {
		wraps = append(wraps, &PanicError{Value: f.Error, Stack: []byte(f.Stack)})
	}
	return &textError{f.Error, wraps}
}

// errorText returns err for people: without the name of this package, and with the name of the
// component if that is not the name of the program.
func errorText(name string, err error) string {
	var h *HookError
	var late *timeoutError
	switch {
	case errors.As(err, &late) && errors.As(err, &h):
		return fmt.Sprintf("%s of %s %v", h.Hook, h.Component, h.Err)
	case errors.As(err, &h) && h.Component != name:
		return fmt.Sprintf("%s: %v", h.Component, h.Err)
	case errors.As(err, &h):
		err = h.Err
	}
	return trimPrefix(err)
}

// fromWorker converts an error of package supervise to an error of this package.
func fromWorker(err error) error {
	var late *supervise.NotReadyError
	var killed *supervise.KilledError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &late):
		return notReady(late.Timeout, late.Last)
	case errors.As(err, &killed):
		return fmt.Errorf("%w: %w", ErrStopTimeout, err)
	}
	return addPrefix(err)
}

// reloadOfWorker is fromWorker for a reload. The supervisor adopts the verdict of its worker.
func reloadOfWorker(err error) error {
	var refused *supervise.ReloadError
	var silent *supervise.SilentError
	switch {
	case errors.As(err, &refused):
		return ofWorker(verdictOf(&refused.Reload).reloadErr())
	case errors.As(err, &silent):
		return ofWorker(unknownResult(silent.Error()))
	case errors.Is(err, supervise.ErrEnded):
		return ofWorker(&reloadError{cause: err, ended: true})
	case errors.Is(err, supervise.ErrStopping):
		return ofWorker(stopsInstead())
	}
	return err
}

// verdictOf returns the verdict of a worker. A verdict that cannot be read counts as a failure.
func verdictOf(r *supervise.Reload) *Verdict {
	v := &Verdict{At: time.Now(), Error: r.Error}
	if r.Verdict == nil {
		return v
	}
	given := new(Verdict)
	if err := json.Unmarshal(r.Verdict, given); err != nil {
		v.Error = cmp.Or(v.Error, "the verdict of the worker cannot be read: "+err.Error())
		return v
	}
	given.fromText()
	return given
}
