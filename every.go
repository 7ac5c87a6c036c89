package lifecycle

import (
	"context"
	"time"
)

// periodic is what Every was given.
type periodic struct {
	interval time.Duration
	f        func(context.Context) error
	now      chan chan<- error // asks for a call now, and for what it returned
}

// Every calls f again and again while the life is Ready or Reloading, the first time after one interval. It runs beside the
// hooks but never beside itself: while it takes longer than the interval, calls are skipped. An error or panic is logged and does no
// harm. Its context ends with that of the bodies, and the stop waits for it like for a body. By default, nothing is repeated.
func Every(interval time.Duration, f func(ctx context.Context) error) Option {
	return option(func(c *config) {
		if interval <= 0 || f == nil {
			c.refuse("Every(%v): needs a positive interval and a function", interval)
			return
		}
		c.every = append(c.every, periodic{interval, f, make(chan chan<- error)})
	})
}

// startPeriodic starts what Every and Watchdog were given, each as a body whose end means nothing.
func (l *life) startPeriodic() {
	for _, p := range l.every {
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
		l.repeat(p, hook+" of "+l.name)
	}()
	l.watchBody(l.name, hook, done, func() {})
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
