package lifecycle

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"example.com/lifecycle/internal/stacktrace"
	"example.com/lifecycle/internal/sys/secureenv"
)

// stopCause is the cause of a stop that has no error type of its own. It wraps context.Canceled,
// because a body may return it and that is no failure.
type stopCause string

func (c stopCause) Error() string { return string(c) }

func (c stopCause) Unwrap() error { return context.Canceled }

// ErrBodyReturned is the [context.Cause] of a stop that began because a body returned: fn, or the
// Run of a component.
var ErrBodyReturned error = stopCause("lifecycle: a body returned")

// body is a body that was called, or the loop of an Every. A stop waits until both have returned.
type body struct {
	component, hook string
	ctx             context.Context // of its component; fn and the Every functions share one context
	done            chan struct{}
	err             error // set when done is closed
	before          bool  // the body returned before a stop was requested
	failure         error // the part of err that Run returns, set by awaitBodies
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
		returned() // before logFailure, because a log may be slow
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

// Every calls f once per interval while the life is Ready or Reloading. The first call comes after
// one interval. f may run concurrently with hooks. f never runs concurrently with itself: if f
// takes longer than the interval, calls are skipped. The life logs an error or panic of f and goes
// on. The context of f ends with the context of fn. A stop waits until f has returned. By default,
// no function is called.
func Every(interval time.Duration, f func(ctx context.Context) error) Option {
	return option(func(c *plan) {
		if interval <= 0 || f == nil {
			c.refuse("Every(%v): needs a positive interval and a function", interval)
			return
		}
		c.every = append(c.every, periodic{interval, f, make(chan chan<- error)})
	})
}

// startPeriodic starts the loops of Every and Watchdog. The life does not stop when one of them
// returns.
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

// Watchdog sets a health check for a service manager that watches this process. The life calls
// check repeatedly. The interval between two calls is at most every. If check returns nil in time,
// the life reports to the manager that the process is healthy. A manager that gets no such report
// for too long ends the process with ABRT and starts it again. Therefore check should test what can
// hang, for example by taking the lock that every request takes. systemd watches a unit that has
// WatchdogSec=, and gets at least two reports in that time (sd_watchdog_enabled(3)).
//
// check runs while the life is Ready or Reloading. The first call comes after one interval. check
// may run concurrently with hooks but never with itself. Its context ends when the interval is over
// or the context of fn ends, whichever comes first. The life logs an error or panic of check, and
// the stack of a check that does not return in time. If no manager watches, the life does not call
// check. By default, the life reports that the process is healthy as long as its goroutines run.
func Watchdog(every time.Duration, check func(ctx context.Context) error) Option {
	return option(func(c *plan) {
		if every <= 0 || check == nil {
			c.refuse("Watchdog(%v): needs a positive interval and a function", every)
			return
		}
		c.watchdog = watchdog{every, check}
		c.processOnly("Watchdog", true)
	})
}

// takeWatchdog returns how long the manager waits for a watchdog ping, or 0 if the manager does not
// watch this process. It removes the variables of the watchdog from the environment.
func takeWatchdog() time.Duration {
	pid, text := secureenv.Take("WATCHDOG_PID"), secureenv.Take("WATCHDOG_USEC")
	if pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	usec, err := strconv.ParseInt(text, 10, 64)
	if err != nil || usec <= 0 || usec > int64(time.Duration(1<<63-1)/time.Microsecond) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}

// signOfLife returns the periodic function that pings the watchdog of the manager.
func (l *life) signOfLife() (p periodic, wanted bool) {
	if l.manager == nil || l.manager.watches == 0 {
		return p, false
	}
	p.interval = max(l.manager.watches/2, time.Millisecond)
	check := l.plan.watchdog.check
	if check == nil {
		check = func(context.Context) error { return nil }
	} else {
		p.interval = min(p.interval, l.plan.watchdog.every)
	}
	p.f = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, p.interval)
		defer cancel()
		defer time.AfterFunc(l.manager.watches*3/8, l.logHang).Stop()
		err := check(ctx)
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			l.manager.ping()
		}
		return err
	}
	return p, true
}

// logHang logs where the check of the watchdog hangs, before the manager ends the process. The
// check is called within half of the time of the manager, and logHang after another 3/8 of that
// time.
func (l *life) logHang() {
	label := "Watchdog of " + l.plan.name
	l.log.Warn(label+" does not return, so the manager is about to end this process", "stack", stacktrace.Line(stackOf(label)))
}
