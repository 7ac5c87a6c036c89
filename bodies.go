package lifecycle

import (
	"context"
	"slices"
	"sync"
	"time"
)

// stopCause is the cause of a stop that has no error type of its own. It wraps context.Canceled, so
// a body may return it.
type stopCause string

func (c stopCause) Error() string { return string(c) }

func (c stopCause) Unwrap() error { return context.Canceled }

// ErrBodyReturned is the cause of a stop because a body returned: fn, or the Run of a component.
var ErrBodyReturned error = stopCause("lifecycle: a body returned")

// body is a body that was called, or the loop of an Every. A stop waits for both.
type body struct {
	component, hook string
	ctx             context.Context // of its component; fn and the Every functions share one context
	done            chan struct{}
	err             error // set when done is closed
	before          bool  // the body returned before a stop was requested
	failure         error // what Run returns of err, set by awaitBodies
}

// startBodies calls the Run of every component, and fn. When it returns, each of them has been
// called.
func (l *life) startBodies() {
	fn := l.plan.fn
	if fn == nil {
		fn = func(ctx context.Context) error { <-ctx.Done(); return nil }
	}
	all := slices.DeleteFunc(slices.Clone(l.started), func(c *component) bool { return c.Run == nil })
	all = append(all, &component{Hooks: &Hooks{Name: l.plan.name, Run: fn}, ctx: l.ctx})
	l.mu.Lock()
	l.liveBodies = len(all)
	l.mu.Unlock()
	var called sync.WaitGroup
	called.Add(len(all))
	for _, c := range all {
		run := func(ctx context.Context) error {
			called.Done()
			return c.Run(ctx)
		}
		b := &body{component: c.Name, hook: "Run", ctx: c.ctx}
		l.watchBody(b, spawn(c.ctx, "Run of "+c.Name, run), l.bodyReturned)
	}
	called.Wait()
}

// watchBody adds a running body, and calls returned after the body has returned.
func (l *life) watchBody(b *body, result <-chan error, returned func()) {
	b.done = make(chan struct{})
	l.bodies = append(l.bodies, b)
	go func() {
		b.err = <-result
		b.before = l.stopCtx.Err() == nil
		returned() // before the log record, because a log may be slow
		if l.bodyFailed(b) {
			l.logFailure(b.component, b.hook, b.err)
		}
		close(b.done)
	}()
}

// bodyFailed reports whether the error of a body that has returned is a failure.
func (l *life) bodyFailed(b *body) bool { return b.err != nil && (b.before || !l.clean(b.err)) }

// bodyReturned requests a stop. After the last body has returned, it also ends StopDelay, because
// no body serves requests any more.
func (l *life) bodyReturned() {
	l.on(stopRequest, ErrBodyReturned, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.liveBodies--; l.liveBodies == 0 {
		l.cancel(context.Cause(l.stopCtx))
	}
}

// Every calls f repeatedly while the life is Ready or Reloading, for the first time after one
// interval. f may run concurrently with hooks but never with itself: calls are skipped while f
// takes longer than the interval. An error or panic of f is logged and has no other effect. The
// context of f ends with the context of fn. A stop waits for f as for fn. By default, nothing is
// repeated.
func Every(interval time.Duration, f func(ctx context.Context) error) Option {
	return option(func(c *plan) {
		if interval <= 0 || f == nil {
			c.refuse("Every(%v): needs a positive interval and a function", interval)
			return
		}
		c.every = append(c.every, periodic{interval, f, make(chan chan<- error)})
	})
}

// startPeriodic starts the functions of Every and Watchdog. Their return does not end the life.
func (l *life) startPeriodic() {
	for _, p := range l.plan.every {
		l.startRepeating(p, "Every("+p.interval.String()+")")
	}
	if p, wanted := l.signOfLife(); wanted {
		l.startRepeating(p, "Watchdog")
	}
}

func (l *life) startRepeating(p periodic, hook string) {
	done := make(chan error)
	go func() {
		defer close(done)
		l.repeat(p, hook)
	}()
	l.watchBody(&body{component: l.plan.name, hook: hook, ctx: l.ctx}, done, func() {})
}

func (l *life) repeat(p periodic, hook string) {
	ticker := time.NewTicker(p.interval)
	defer ticker.Stop()
	for {
		var result chan<- error
		select {
		case <-l.stopCtx.Done():
			return
		case <-ticker.C:
		case result = <-p.now:
		}
		err := context.Cause(l.stopCtx)
		if err == nil { // a stop and a tick may come together, and select picks either
			err = <-spawn(l.ctx, hook+" of "+l.plan.name, p.f)
		}
		if err != nil && (l.stopCtx.Err() == nil || !l.clean(err)) {
			l.logFailure(l.plan.name, hook, err)
		}
		if result != nil {
			result <- err
		}
	}
}
