package supervise

import (
	"errors"
	"strconv"
	"time"

	"example.com/lifecycle/internal/console"
)

const (
	// killMargin is how long a killed process may take to end.
	killMargin = 2 * time.Second
	// traceMargin is how long a worker may take to write its trace.
	traceMargin = 5 * time.Second
	// maxExtension limits EXTEND_TIMEOUT_USEC during a stop: a stop takes at most maxExtension times
	// its limit.
	maxExtension = 10
	// noTimeout is longer than any deadline. A worker cannot request more.
	noTimeout = 1000 * time.Hour
)

// stopLimit returns how long a worker may take to stop.
func (s *Supervisor) stopLimit() time.Duration { return s.spec.StopTimeout + WorkerMargin }

// setDeadline sets the deadline of the state to d from now. Supervisor.mu is held.
func (p *process) setDeadline(d time.Duration) {
	p.deadline = time.Now().Add(d)
	p.timer.Reset(d)
}

// setStopDeadline sets the deadline of a state during the stop. Supervisor.mu is held.
func (p *process) setStopDeadline(d time.Duration) {
	if p.stopBy.IsZero() {
		p.stopBy = time.Now().Add(maxExtension * p.of.stopLimit())
	}
	p.setDeadline(d)
}

// extend moves the deadline to usec microseconds from now, but never to an earlier time
// (sd_notify(3)). During a stop, it does not move the deadline beyond stopBy. Supervisor.mu is
// held.
func (p *process) extend(usec string) {
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n < 0 || n > noTimeout.Microseconds() || p.deadline.IsZero() || p.state >= killing {
		return
	}
	asks := time.Duration(n)*time.Microsecond + WorkerMargin
	if !p.stopBy.IsZero() {
		asks = min(asks, time.Until(p.stopBy))
	}
	if asks > time.Until(p.deadline) {
		p.setDeadline(asks)
	}
}

// expired runs when the timer of the deadline fires.
func (p *process) expired() {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	// The state or its deadline may have changed since the timer fired.
	if !p.deadline.IsZero() && !time.Now().Before(p.deadline) {
		p.handle(deadlineExpired)
	}
}

// resetWatchdog restarts the timer for the next watchdog ping (WATCHDOG=1). Supervisor.mu is held.
func (p *process) resetWatchdog() {
	if p.of.spec.Watchdog == 0 || p.state > stopping {
		return
	}
	due := time.Now().Add(p.of.spec.Watchdog)
	p.signOfLife = due
	if p.watchdog != nil {
		p.watchdog.Stop()
	}
	p.watchdog = time.AfterFunc(p.of.spec.Watchdog, func() { p.watchdogExpired(due) })
}

// watchdogExpired ends a worker that has sent no watchdog ping until due.
func (p *process) watchdogExpired(due time.Time) {
	late := time.Since(due)
	p.of.server.Barrier(WorkerMargin) // a ping may still be unread
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	switch {
	case p.signOfLife != due:
	case late > p.of.spec.Watchdog/8: // this process was suspended, and maybe the worker too
		p.resetWatchdog()
	default:
		p.abort(errors.New("no sign of life for " + console.FormatLimit(p.of.spec.Watchdog)))
	}
}

// abort ends a hanging worker with ABRT, which makes it write its trace. Supervisor.mu is held.
func (p *process) abort(why error) {
	if transitions[p.state][watchdogExpired] != stay {
		p.why = why
		p.handle(watchdogExpired)
	}
}
