package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/stacktrace"
	"example.com/lifecycle/internal/supervise"
)

// PanicError is the error of a hook or body that panicked or called runtime.Goexit. It never wraps
// Value, even if Value is an error: a panic with context.Canceled must count as a failure.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked: function, file and line, one frame a line
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// timeoutError is the error of a hook or body that exceeded its time.
type timeoutError struct {
	limit  time.Duration
	is     error  // ErrStartTimeout, ErrStopTimeout or ErrReload
	result error  // its result after the limit; nil if it did not return
	stack  []byte // of an abandoned hook, when it was abandoned
}

func (e *timeoutError) Error() string {
	text := "did not return in " + console.FormatLimit(e.limit)
	if e.result != nil {
		text += ", then returned: " + e.result.Error()
	}
	return text
}

func (e *timeoutError) Unwrap() []error { return []error{e.is, e.result} }

// textError has its own text. It wraps errors that the text does not show.
type textError struct {
	text  string
	wraps []error
}

func (e *textError) Error() string { return e.text }

func (e *textError) Unwrap() []error { return e.wraps }

// abandoned reports whether the goroutine of the hook may still run.
func abandoned(err error) bool {
	var o *timeoutError
	return errors.As(err, &o) && o.stack != nil
}

// call is one call of one hook.
type call struct {
	component, hook string
	f               func(context.Context) error

	ctx      context.Context      // ends when the hook must return
	patience func() time.Duration // returns how long the hook may run after ctx has ended
	tooLong  *timeoutError        // the cause of ctx if the hook exceeded its time
}

// do calls the hook in its own goroutine and waits until the hook has returned. If the patience
// ends first, do abandons the hook. The caller logs the error. A nil hook does nothing.
func (l *life) do(c call) error {
	if c.f == nil {
		return nil
	}
	label := c.hook + " of " + c.component
	defer l.trackHook(label)()
	running := &runningHook{life: l, label: label}
	done := spawn(context.WithValue(c.ctx, hookKey{}, running), label, func(ctx context.Context) error {
		defer running.over.Store(true)
		return c.f(ctx)
	})
	var err error
	select {
	case err = <-done:
	case <-c.ctx.Done():
		late := *c.tooLong
		patience := c.patience()
		if context.Cause(c.ctx) != error(c.tooLong) {
			late.limit, late.is = patience, ErrStopTimeout
		}
		var returned bool
		if late.result, returned = l.lastChance(done, c, patience); !returned {
			return abandonHook(c.component, c.hook, late)
		}
		if err = late.result; err != nil && late.is == c.tooLong.is {
			err = &late
		}
	}
	if err == nil {
		return nil
	}
	if told, ok := err.(workerError); ok {
		return told.error
	}
	return &HookError{c.component, c.hook, err}
}

// lastChance waits for a hook whose context has ended. It returns the result of the hook, and
// whether the hook has returned. A stop request can only shorten the wait.
func (l *life) lastChance(done <-chan error, c call, patience time.Duration) (result error, returned bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	asked := l.stopCtx.Done()
	if l.stopCtx.Err() != nil {
		l.logStopping()
		asked = nil
	}
	over := time.Now().Add(patience)
	for {
		select {
		case result := <-done:
			return result, true
		case <-timer.C:
			return nil, false
		case <-asked:
			asked = nil
			l.logStopping()
			timer.Reset(min(time.Until(over), c.patience()))
		}
	}
}

// abandonHook returns the error of a hook or body that does not return, with its stack.
func abandonHook(component, hook string, late timeoutError) error {
	late.stack = stackOf(hook + " of " + component)
	return &HookError{component, hook, &late}
}

// labelKey is the profiler label of the goroutine of every hook and body. Goroutines that the hook
// starts inherit it, so CPU and goroutine profiles show the component.
const labelKey = "lifecycle"

// bottomFrame is the end of the name of the function hookGoroutine.
const bottomFrame = ".hookGoroutine"

// spawn calls f in its own goroutine. The channel receives the error of f, or a *PanicError.
func spawn(ctx context.Context, label string, f func(context.Context) error) <-chan error {
	done := make(chan error, 1)
	ctx = pprof.WithLabels(ctx, pprof.Labels(labelKey, label))
	go func() {
		pprof.SetGoroutineLabels(ctx)
		done <- hookGoroutine(ctx, f, done)
	}()
	return done
}

// hookGoroutine is the frame at which the stack of a hook or body ends. Goroutines that the hook
// started do not have this frame.
func hookGoroutine(ctx context.Context, f func(context.Context) error, done chan<- error) (err error) {
	returned := false
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: stacktrace.OfPanic(bottomFrame)}
		} else if !returned { // runtime.Goexit runs the deferred calls, but nothing after them
			done <- &PanicError{Value: "runtime.Goexit was called", Stack: stacktrace.OfPanic(bottomFrame)}
		}
	}()
	err = f(ctx)
	returned = true
	return err
}

// stackOf returns the stack of the hook goroutine with that label.
func stackOf(label string) []byte {
	if stack := stacktrace.OfLabel(labelKey, label, bottomFrame); len(stack) > 0 {
		return stack
	}
	return []byte("(no stack: the hook has not begun, has just returned, or changed its profiler labels)")
}

// A hook of a supervisor returns a workerError for a failure in the worker. do then returns the
// wrapped error, without a HookError of the supervisor.
type workerError struct{ error }

func ofWorker(err error) error {
	if err == nil {
		return nil
	}
	return workerError{err}
}

// loggedError is the error with which a worker of this binary ended. The worker has logged it.
type loggedError struct{ error }

func (e *loggedError) Unwrap() error { return e.error }

// result converts an error of package supervise to an error of this package. If the worker or
// package supervise has logged it, result remembers it as reported.
func (s *supervisorLife) result(err error) error {
	var logged *loggedError
	var gaveUp *supervise.GaveUpError
	switch {
	case errors.As(err, &logged):
		err = logged.error
	case errors.As(err, &gaveUp): // package supervise has logged it
		err = fromWorker(err)
	default:
		return fromWorker(err)
	}
	s.life.reported.Store(&err)
	return err
}

// verdict converts err like reloadOfWorker. It remembers a verdict of the worker as reported,
// because the worker has logged it.
func (s *supervisorLife) verdict(err error) error {
	refused := errors.As(err, new(*supervise.ReloadError))
	err = reloadOfWorker(err)
	if verdict, ok := err.(workerError); ok && refused {
		s.life.reported.Store(&verdict.error)
	}
	return err
}
