package lifecycle

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/fdstore"
)

// ErrStartTimeout says that the start took longer than StartTimeout.
var ErrStartTimeout = errors.New("lifecycle: the start took too long")

// StartTimeout sets how long a start may take, counted from the call of Run: all OnStart and ReadyWhen together. A hook that overruns it is abandoned after
// another quarter of that time, at most 5 s, and the start is rolled back. By default, 60 s.
func StartTimeout(d time.Duration) Option {
	return option(func(c *config) {
		if d <= 0 {
			c.refuse("StartTimeout(%v): must be positive", d)
		}
		c.startTimeout = d
	})
}

// ReadyWhen makes the life ready only when f has returned nil: a port answers, a cache is warm. It is called when every body has
// been, and again, 50 ms later, for as long as it returns an error; StartTimeout bounds it. A panic in it fails the start. By default,
// a life is ready when every body has been called; without an OnStart, when they have lived for 100 ms.
func ReadyWhen(f func(ctx context.Context) error) Option {
	return option(func(c *config) {
		if f == nil {
			c.refuse("ReadyWhen(nil): leave it out instead")
			return
		}
		c.readyWhen = f
	})
}

const (
	// settleTime is how long the bodies must live to count as ready where nothing else gives a sign.
	settleTime = 100 * time.Millisecond
	// askAgain is how long after a ReadyWhen that was not satisfied it is asked again.
	askAgain = 50 * time.Millisecond
)

// start brings the life to where it can be called ready. It returns an error that fails the start, and nil also when a stop was asked for
// meanwhile.
func (l *life) start() error {
	deadline := l.began.Add(l.startTimeout)
	limit := &timeoutError{limit: l.startTimeout, is: ErrStartTimeout}
	for i := range l.hooks {
		if l.stopCtx.Err() != nil {
			return nil
		}
		if err := l.startComponent(&l.hooks[i], deadline, limit); err != nil {
			return err
		}
	}
	if l.stopCtx.Err() != nil {
		return nil
	}
	if err := l.dropPrivileges(); err != nil {
		return err
	}
	if !l.embedded {
		fdstore.BodiesBegin()
	}
	l.startBodies()
	hasStart := slices.ContainsFunc(l.hooks, func(h Hooks) bool { return h.OnStart != nil })
	switch {
	case l.readyWhen != nil:
		return l.awaitReady(deadline, limit)
	case !hasStart:
		l.sleep(settleTime)
	}
	return nil
}

// startComponent calls OnStart. A component counts as started when that has returned nil, even if it was too late for the start.
func (l *life) startComponent(h *Hooks, deadline time.Time, limit *timeoutError) error {
	ctx, cancel := context.WithCancelCause(l.ctx)
	timer := time.AfterFunc(time.Until(deadline), func() { cancel(limit) })
	defer timer.Stop()
	err := l.do(l.starting(ctx, limit, h.Name, "OnStart", h.OnStart))
	if err == nil {
		l.started = append(l.started, h)
		if context.Cause(ctx) == error(limit) {
			return &HookError{h.Name, "OnStart", limit}
		}
	}
	return err
}

// awaitReady asks ReadyWhen until it is satisfied.
func (l *life) awaitReady(deadline time.Time, limit *timeoutError) error {
	ctx, cancel := context.WithDeadlineCause(l.ctx, deadline, limit)
	defer cancel()
	no := notReady{limit: l.startTimeout}
	for {
		err := l.do(l.starting(ctx, limit, l.name, "ReadyWhen", l.readyWhen))
		late := context.Cause(ctx) == error(limit)
		var p *PanicError
		switch {
		case errors.As(err, &p), abandoned(err):
			return err
		case l.stopCtx.Err() != nil, err == nil && !late:
			return nil
		}
		var h *HookError
		if errors.As(err, &h) && (no.last == nil || !late) {
			no.last = h.Err // and not that of a call which the end of the time cut short
		}
		l.sleep(min(askAgain, time.Until(deadline)))
		if late || ctx.Err() != nil && l.stopCtx.Err() == nil {
			return &HookError{l.name, "ReadyWhen", &no}
		}
	}
}

// notReady is the error of a ReadyWhen that was not satisfied in time.
type notReady struct {
	limit time.Duration
	last  error // the last that it had to say; nil if it was satisfied too late
}

func (e *notReady) Error() string {
	text := "not ready after " + console.FormatLimit(e.limit)
	if e.last != nil {
		text += ": " + e.last.Error()
	}
	return text
}

func (e *notReady) Unwrap() []error { return []error{ErrStartTimeout, e.last} }

// starting is a call that StartTimeout or a stop ends.
func (l *life) starting(ctx context.Context, limit *timeoutError, component, hook string, f func(context.Context) error) call {
	return call{component, hook, f, ctx, func() time.Duration {
		if l.stopCtx.Err() != nil {
			return time.Until(l.budget().end)
		}
		return grace(l.startTimeout)
	}, limit}
}

// sleep waits, but not longer than until a stop is asked for.
func (l *life) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.stopCtx.Done():
	}
}
