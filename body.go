package lifecycle

import (
	"context"
	"sync"
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
	fn := l.fn
	if fn == nil {
		fn = func(ctx context.Context) error { <-ctx.Done(); return nil }
	}
	all := make([]Hooks, 0, len(l.hooks)+1)
	for _, h := range l.hooks {
		if h.Run != nil {
			all = append(all, h)
		}
	}
	all = append(all, Hooks{Name: l.name, Run: fn})
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
