package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
)

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
	_ = json.Unmarshal(text, f) // the same program has written it
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
