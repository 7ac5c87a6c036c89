package lifecycle

import (
	"context"
	"os"
	"strconv"
	"time"

	"example.com/lifecycle/internal/secureenv"
)

// Watchdog tells a service manager that watches this process, at least once in every, that all is well, but only if check has returned nil in that time: a
// manager that does not hear of it for too long ends the process with ABRT and starts it again. So check should ask what can hang: take the lock
// that every request takes. systemd watches where the unit has WatchdogSec=, and is told twice in that time at least (sd_watchdog_enabled(3)).
//
// check is called while the life is Ready or Reloading, the first time after one interval, beside the hooks and never beside itself. Its context ends after that interval and with
// that of the bodies; an error or panic is logged. Where nobody watches, it is not called. By default, a manager that watches is told that all is
// well for as long as goroutines run.
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

// takeWatchdog returns how long the manager waits for a sign of life, 0 if it does not watch this
// process. It removes the variables that say so.
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

// signOfLife is what is repeated for a manager that watches.
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
