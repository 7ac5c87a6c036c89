package lifecycle

import (
	"context"
	"os"
	"strconv"
	"time"

	"example.com/lifecycle/internal/stacktrace"
	"example.com/lifecycle/internal/sys/secureenv"
)

// Watchdog sets a health check for a service manager that watches this process. check runs
// repeatedly. every is the longest interval between two calls. If check returns nil in time, the
// life reports to the manager that all is well. A manager that gets no such report for too long
// ends the process with ABRT and starts it again. So check should test what can hang, for example
// by taking the lock that every request takes. systemd watches a unit that has WatchdogSec=, and
// gets at least two reports in that time (sd_watchdog_enabled(3)).
//
// check runs while the life is Ready or Reloading, for the first time after one interval. It may
// run concurrently with hooks but never with itself. Its context ends after that interval, and with
// the context of fn. An error or panic of check is logged, and so is the stack of a check that does
// not return in time. If no manager watches, check is not called. By default, the life reports
// that all is well as long as its goroutines run.
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

// takeWatchdog returns how long the manager waits for a report that all is well, or 0 if the
// manager does not watch this process. It removes the variables of the watchdog from the
// environment.
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

// signOfLife returns the periodic report to a manager that watches this process.
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

// logHang logs where the check of the watchdog hangs. The manager has not ended the process yet: at
// most half of its time passes before the check is called, and logHang is called after another 3/8
// of that time.
func (l *life) logHang() {
	label := "Watchdog of " + l.plan.name
	l.log.Warn(label+" does not return, so the manager is about to end this process", "stack", stacktrace.Line(stackOf(label)))
}
