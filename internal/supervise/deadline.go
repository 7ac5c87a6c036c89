package supervise

import (
	"errors"
	"strconv"
	"time"

	"example.com/lifecycle/internal/console"
)

const (
	// killMargin is how long the end of a killed process may take.
	killMargin = 2 * time.Second
	// traceMargin is how long a worker has to write its trace.
	traceMargin = 5 * time.Second
	// maxExtension bounds EXTEND_TIMEOUT_USEC during a stop: a stop takes at most so many times its limit.
	maxExtension = 10
	// noTimeout is longer than any deadline. A worker cannot ask for more.
	noTimeout = 1000 * time.Hour
)

var (
	errStopHangs = errors.New("its stop does not end")
	// errTriggered says that the worker itself has asked to be ended as hanging (sd_notify(3)).
	errTriggered = errors.New("it has asked for that (WATCHDOG=trigger)")
)

// stopLimit is how long a worker takes to stop at most.
func (s *Supervisor) stopLimit() time.Duration { return s.spec.StopTimeout + WorkerMargin }

// setDeadline limits the state. Supervisor.mu is held.
func (p *process) setDeadline(d time.Duration) {
	p.deadline = time.Now().Add(d)
	p.timer.Reset(d)
}

// setStopDeadline limits the stop. Supervisor.mu is held.
func (p *process) setStopDeadline(d time.Duration) {
	if p.stopBy.IsZero() {
		p.stopBy = time.Now().Add(maxExtension * p.of.stopLimit())
	}
	p.setDeadline(d)
}

// extend gives the worker the time that it asks for in microseconds, and never less than it has (sd_notify(3)). A stop
// ends all the same. Supervisor.mu is held.
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

// expired is called when the timer of the deadline has fired.
func (p *process) expired() {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	if !p.deadline.IsZero() && !time.Now().Before(p.deadline) { // the worker was not done just in time, nor got more
		p.handle(deadlineExpired)
	}
}

// resetWatchdog waits for the next sign of life. Supervisor.mu is held.
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

// watchdogExpired ends a worker that has given no sign of life until due.
func (p *process) watchdogExpired(due time.Time) {
	late := time.Since(due)
	p.of.server.Barrier(WorkerMargin) // a sign of life may not have been read
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	switch {
	case p.signOfLife != due:
	case late > p.of.spec.Watchdog/8: // this process stood still, and so may the worker have
		p.resetWatchdog()
	default:
		p.abort(errors.New("no sign of life for " + console.FormatLimit(p.of.spec.Watchdog)))
	}
}

// abort ends a worker that hangs, with its trace. Supervisor.mu is held.
func (p *process) abort(why error) {
	if transitions[p.state][watchdogExpired] != stay {
		p.why = why
		p.handle(watchdogExpired)
	}
}
