package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"example.com/lifecycle/internal/console"
)

// PanicError is the error of a hook or body that panicked or called runtime.Goexit. It does not wrap a value that is an
// error, for a panic with context.Canceled is no clean end.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked, as debug.Stack gives it
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// timeoutError is the error of a hook or body that was given up because its time was over.
type timeoutError struct {
	limit  time.Duration
	is     error  // ErrStartTimeout, ErrStopTimeout or ErrReload
	result error  // what it returned at last; nil if it did not return at all
	stack  []byte // where it was when it was abandoned
}

func (e *timeoutError) Error() string {
	text := "did not return in " + console.FormatLimit(e.limit)
	if e.result != nil {
		text += ", then returned: " + e.result.Error()
	}
	return text
}

func (e *timeoutError) Unwrap() []error { return []error{e.is, e.result} }

// textError has a text of its own. It wraps errors that do not show in the text.
type textError struct {
	text  string
	wraps []error
}

func (e *textError) Error() string { return e.text }

func (e *textError) Unwrap() []error { return e.wraps }

// abandoned says that the goroutine of the hook may still be running.
func abandoned(err error) bool {
	var o *timeoutError
	return errors.As(err, &o) && o.stack != nil
}

// call is one call of one hook.
type call struct {
	component, hook string
	f               func(context.Context) error

	ctx      context.Context      // ends when the hook is to return
	patience func() time.Duration // how long it may take to do so when ctx has ended
	tooLong  *timeoutError        // the cause with which ctx ends if that is because the time was over
}

// do calls the hook in a goroutine of its own and waits until it has returned or its patience is over. Then it is abandoned, which the
// log says with its stack. A nil hook does nothing.
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
			return l.abandon(c.component, c.hook, late)
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
	l.logPanic(label, err)
	return &HookError{c.component, c.hook, err}
}

// lastChance waits for a hook whose context has ended, and says whether it has returned, and what. A stop that is asked for
// meanwhile leaves it no more time than it would have had from then on.
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

// abandon gives a hook or body up, and says where it is.
func (l *life) abandon(component, hook string, late timeoutError) error {
	label := hook + " of " + component
	late.stack = stackOf(label)
	l.log.Error(label+" was abandoned: it does not return", "after", console.FormatLimit(late.limit), "stack", string(late.stack))
	return &HookError{component, hook, &late}
}

// logPanic logs the stack of a panic, and says whether err is one.
func (l *life) logPanic(label string, err error) bool {
	var p *PanicError
	if !errors.As(err, &p) {
		return false
	}
	l.log.Error("panic in "+label, "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
	return true
}

// labelKey is the profiler label under which the goroutine of every hook and body runs. Goroutines that it starts inherit it, so
// CPU and goroutine profiles tell the components apart.
const labelKey = "lifecycle"

// spawn calls f in a goroutine of its own. The channel gets f's error, or a *PanicError.
func spawn(ctx context.Context, label string, f func(context.Context) error) <-chan error {
	done := make(chan error, 1)
	ctx = pprof.WithLabels(ctx, pprof.Labels(labelKey, label))
	go func() {
		pprof.SetGoroutineLabels(ctx)
		done <- hookGoroutine(ctx, f, done)
	}()
	return done
}

// hookGoroutine is the frame by which stackOf knows the goroutine of a hook from those that the hook started.
func hookGoroutine(ctx context.Context, f func(context.Context) error, done chan<- error) (err error) {
	returned := false
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		} else if !returned { // runtime.Goexit runs the deferred calls, and nothing after them
			done <- &PanicError{Value: "runtime.Goexit was called", Stack: debug.Stack()}
		}
	}()
	err = f(ctx)
	returned = true
	return err
}

// stackOf is the stack of the hook goroutine that runs under that label. The goroutine profile finds it in a fraction of the time for
// which runtime.Stack of all goroutines would stop the world.
func stackOf(label string) []byte {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return []byte(err.Error())
	}
	want := fmt.Appendf(nil, "%q:%q", labelKey, label)
	var stacks [][]byte // more than one where components have the same name
	for record := range bytes.SplitSeq(profile.Bytes(), []byte("\n\n")) {
		if bytes.Contains(record, want) && bytes.Contains(record, []byte(".hookGoroutine")) {
			stacks = append(stacks, bytes.TrimSpace(record))
		}
	}
	if len(stacks) == 0 {
		return []byte("(not in the profile: it has not begun, has just returned, or changed its profiler labels)")
	}
	return bytes.Join(stacks, []byte("\n\n"))
}

// workerError is what a hook of a supervisor returns that has failed in the worker: the error does not name the hook.
type workerError struct{ error }

func ofWorker(err error) error {
	if err == nil {
		return nil
	}
	return workerError{err}
}
