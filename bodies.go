package lifecycle

import (
	"context"
	"sync"
	"time"
)

// stopCause is the cause of a stop that is not an error of its own. It wraps context.Canceled, so a body may return it.
type stopCause string

func (c stopCause) Error() string { return string(c) }

func (c stopCause) Unwrap() error { return context.Canceled }

// ErrBodyReturned is the cause of a stop because fn or the Run of a component returned.
var ErrBodyReturned error = stopCause("lifecycle: a body returned")

// body is a function that lasts as long as the life: fn, a Run, or what Every repeats.
type body struct {
	component, hook string
	done            chan struct{}
	err             error // set when done is closed
	before          bool  // it returned before a stop was asked for
}

// startBodies calls the Run of every component, and fn. When it returns, each of them has been called.
func (l *life) startBodies() {
	fn := l.plan.fn
	if fn == nil {
		fn = func(ctx context.Context) error { <-ctx.Done(); return nil }
	}
	all := make([]Hooks, 0, len(l.plan.hooks)+1)
	for _, h := range l.plan.hooks {
		if h.Run != nil {
			all = append(all, h)
		}
	}
	all = append(all, Hooks{Name: l.plan.name, Run: fn})
	l.mu.Lock()
	l.liveBodies = len(all)
	l.mu.Unlock()
	var called sync.WaitGroup
	called.Add(len(all))
	for _, h := range all {
		run := func(ctx context.Context) error {
			called.Done()
			return h.Run(ctx)
		}
		l.watchBody(h.Name, "Run", spawn(l.ctx, "Run of "+h.Name, run), l.bodyReturned)
	}
	called.Wait()
}

// watchBody notes a body that runs, and calls returned when it has returned its result.
func (l *life) watchBody(component, hook string, result <-chan error, returned func()) {
	b := &body{component: component, hook: hook, done: make(chan struct{})}
	l.bodies = append(l.bodies, b)
	go func() {
		b.err = <-result
		b.before = l.stopCtx.Err() == nil
		l.logPanic(hook+" of "+component, b.err)
		close(b.done)
		returned()
	}()
}

// bodyReturned ends the life, and the StopDelay if it was the last body: nobody serves any more.
func (l *life) bodyReturned() {
	l.on(stopRequest, ErrBodyReturned, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.liveBodies--; l.liveBodies == 0 {
		l.cancel(context.Cause(l.stopCtx))
	}
}

// Every calls f again and again while the life is Ready or Reloading, the first time after one interval. It runs beside the
// hooks but never beside itself: while it takes longer than the interval, calls are skipped. An error or panic is logged and does no
// harm. Its context ends with that of the bodies, and the stop waits for it like for a body. By default, nothing is repeated.
func Every(interval time.Duration, f func(ctx context.Context) error) Option {
	return option(func(c *plan) {
		if interval <= 0 || f == nil {
			c.refuse("Every(%v): needs a positive interval and a function", interval)
			return
		}
		c.every = append(c.every, periodic{interval, f, make(chan chan<- error)})
	})
}

// startPeriodic starts what Every and Watchdog were given, each as a body whose end means nothing.
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
		l.repeat(p, hook+" of "+l.plan.name)
	}()
	l.watchBody(l.plan.name, hook, done, func() {})
}

func (l *life) repeat(p periodic, label string) {
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
		if err == nil { // else both were there to choose from
			err = <-spawn(l.ctx, label, p.f)
		}
		switch {
		case l.stopCtx.Err() != nil && l.clean(err), err == nil:
		case !l.logPanic(label, err):
			l.log.Error(label+" failed", "err", trimPrefix(err))
		}
		if result != nil {
			result <- err
		}
	}
}
