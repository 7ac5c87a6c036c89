package lifecycle

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/sys/worker"
)

// ErrStopTimeout reports that a hook or body did not return within StopTimeout.
var ErrStopTimeout = errors.New("lifecycle: the stop took too long")

// StopTimeout sets how long a stop may take, from the stop request. The limit covers StopDelay,
// every OnStop, the return of the bodies, and every OnExit. The life abandons a hook or body that
// exceeds the limit. The remaining hooks and bodies share a grace period of another quarter of
// StopTimeout, at most 5 s. Each of them gets at most half of the rest of the grace period. The
// rollback of a failed start has the same limit. 0 means no limit. By default, the limit is 20 s,
// because a stop with its grace period then fits into the 30 s of Kubernetes.
func StopTimeout(d time.Duration) Option {
	return option(func(c *plan) {
		if d < 0 {
			c.refuse("StopTimeout(%v): must not be negative", d)
		}
		c.stopTimeout = d
	})
}

// StopDelay sets how long the bodies continue to serve after a stop request. Meanwhile, the daemon
// reports that it is not ready, and a load balancer can send requests elsewhere. StopTimeout
// includes StopDelay. StopDelay does not apply if the daemon was never ready or its last body has
// returned. By default, it is 0.
func StopDelay(d time.Duration) Option {
	return option(func(c *plan) {
		if d < 0 {
			c.refuse("StopDelay(%v): must not be negative", d)
		}
		c.stopDelay = d
	})
}

// CleanErrors sets errors that are no failure if a body or hook returns them after a stop request,
// for example http.ErrServerClosed. An error that wraps context.Canceled is then never a failure.
// Each call adds to the earlier ones. By default, there are none.
func CleanErrors(errs ...error) Option {
	return option(func(c *plan) { c.cleanErrors = append(c.cleanErrors, errs...) })
}

// clean reports whether err is no failure after a stop request. A hook that exceeded its time has
// failed, even if it then returned nil.
func (l *life) clean(err error) bool {
	var late *timeoutError
	if errors.As(err, &late) {
		return false
	}
	return err == nil || errors.Is(err, context.Canceled) ||
		slices.ContainsFunc(l.plan.cleanErrors, func(target error) bool { return errors.Is(err, target) })
}

// stop ends the life in order and returns the result of Run.
func (l *life) stop(failure error) error {
	if l.stopCtx.Err() != nil && l.clean(failure) {
		failure = nil
	}
	if failure != nil {
		l.logFailure("", "", failure)
	}
	l.on(stopRequest, failure, nil)
	l.publish()
	l.logStopping()
	tellAll(l.takeReloadWaiters(), stopsInstead())
	<-l.ctx.Done()

	b := l.budget()
	var hooks []error
	for _, c := range slices.Backward(l.started) {
		asked := time.Now()
		c.cancel(context.Cause(l.stopCtx))
		hooks = append(hooks, l.stopHook(b, c.Name, "OnStop", c.OnStop))
		l.awaitBodies(b, c.ctx, asked)
	}
	l.awaitBodies(b, l.ctx, l.stopRequestedAt)
	for _, c := range slices.Backward(l.started) {
		hooks = append(hooks, l.stopHook(b, c.Name, "OnExit", c.OnExit))
	}

	l.checkPIDFile()
	var bodies []error
	for _, body := range l.bodies {
		bodies = append(bodies, body.failure)
	}
	result := joinErrors(append(append(bodies, failure), hooks...)...)
	l.recordFailure(result)
	l.leave()
	l.enter(Stopping, Exited)
	switch {
	case l.mode.kind != modeWorker: // the supervisor logs the end of its worker
		l.log.Info("stopped", "took", time.Since(l.stopRequestedAt).Round(time.Microsecond))
	case l.stopsForSupervisor() && !worker.Inherited().IsFinal(0):
		l.log.Info("stopped by a signal", "reason", trimPrefix(context.Cause(l.stopCtx)))
	}
	return result
}

// stopsForSupervisor reports whether a signal stops this worker. Usually the supervisor has sent
// it, and the supervisor logs the stop.
func (l *life) stopsForSupervisor() bool {
	var signal *StopSignalError
	return l.mode.kind == modeWorker && errors.As(context.Cause(l.stopCtx), &signal)
}

// logStopping logs the stop and its reason once. The life calls it when the stop begins, or earlier
// if a running hook delays the stop.
func (l *life) logStopping() {
	if l.loggedStopping {
		return
	}
	l.loggedStopping = true
	reason := context.Cause(l.stopCtx)
	if !l.stopsForSupervisor() {
		l.log.Info("stopping", "reason", trimPrefix(reason))
	}
	if l.onStopping != nil {
		l.onStopping(reason)
	}
}

func (l *life) stopHook(b budget, component, hook string, f func(context.Context) error) error {
	end := b.next()
	limit := &timeoutError{limit: l.stopTimeout(), is: ErrStopTimeout}
	if end.After(b.end) {
		limit.limit = time.Until(end).Round(time.Millisecond)
	}
	ctx, cancel := context.WithDeadlineCause(l.values, end, limit)
	defer cancel()
	err := l.do(call{component, hook, f, ctx, b.moment, limit})
	if l.clean(err) {
		return nil
	}
	l.logFailure("", "", err)
	return err
}

// awaitBodies waits until every body with that context has returned. asked is the time at which the
// context ended.
func (l *life) awaitBodies(b budget, ctx context.Context, asked time.Time) {
	end := b.next()
	limit := time.NewTimer(time.Until(end))
	defer limit.Stop()
	late := timeoutError{limit: l.stopTimeout(), is: ErrStopTimeout}
	if !asked.Before(b.end) {
		late.limit = end.Sub(asked).Round(time.Millisecond)
	}
	for _, body := range l.bodies {
		if body.ctx != ctx {
			continue
		}
		select {
		case <-body.done:
		default:
			doneWaiting := l.trackHook(body.hook + " of " + body.component)
			select {
			case <-body.done:
			case <-limit.C:
				l.expireGrace() // its own timer might not have fired yet
				limit.Reset(0)  // the other bodies have no more time
			}
			doneWaiting()
		}
		select {
		case <-body.done:
			if l.bodyFailed(body) { // the log contains it already
				body.failure = body.err
			}
		default:
			body.failure = abandonHook(body.component, body.hook, late)
			l.logFailure("", "", body.failure)
		}
	}
}

// budget contains the time limits of a stop.
type budget struct {
	end  time.Time // of StopTimeout
	last time.Time // of the grace period after it
}

func (l *life) budget() budget {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.stopTimeout()
	return budget{deadline(l.stopRequestedAt, limit), deadline(l.stopRequestedAt, limit+grace(limit))}
}

// wholeStop returns how long a stop takes at most, including the grace period.
func (p *plan) wholeStop() time.Duration {
	switch {
	case p.longest != nil:
		return p.longest.Stop
	case p.stopTimeout == 0:
		return unlimited
	}
	return p.stopTimeout + grace(p.stopTimeout)
}

// stopTimeout returns the limit of the stop that was requested.
func (l *life) stopTimeout() time.Duration {
	if l.replaced {
		return l.plan.drainTimeout
	}
	return l.plan.stopTimeout
}

// wholeStop returns how long the stop that was requested takes at most, including the grace period.
func (l *life) wholeStop() time.Duration {
	if l.replaced {
		return l.plan.wholeDrain()
	}
	return l.plan.wholeStop()
}

// unlimited is the limit that other processes see for a stop without a limit. It is longer than any
// stop.
const unlimited = 1000 * time.Hour

// next returns the deadline of the next hook. In the grace period, a hook gets half of the
// remaining time, so a hook that hangs leaves time for later hooks.
func (b budget) next() time.Time {
	now := time.Now()
	if now.Before(b.end) {
		return b.end
	}
	return now.Add(max(0, b.last.Sub(now)/2))
}

// moment returns how long a hook may take to return after its context has ended. A hook that
// returns because of that end is thus not abandoned.
func (b budget) moment() time.Duration {
	return max(0, min(100*time.Millisecond, time.Until(b.last)/4))
}

// finalPatience is how long a worker that received TERM waits for the message whether another
// worker follows. The supervisor sends that message before its own TERM. So the worker only waits
// if another process sent TERM.
const finalPatience = 100 * time.Millisecond

// isLast reports whether no later process inherits the sockets of this one. err is the result of
// the life.
func (l *life) isLast(err error) bool {
	if l.mode.kind != modeWorker {
		return false // a service manager does not report this
	}
	why := context.Cause(l.stopCtx)
	var signal *StopSignalError
	patience := time.Duration(0)
	if errors.As(why, &signal) {
		patience = finalPatience
	}
	switch {
	case worker.Inherited().IsFinal(0), errors.Is(why, errSupervisorLost):
		return true
	case !isClosed(l.readyCh):
		return l.mode.first // its failure fails the start
	case worker.Inherited().IsFollowed(patience):
		return false
	case l.plan.policy.isFinal(ExitCode(err)):
		return true
	}
	return patience > 0 && worker.Inherited().IsFinal(patience)
}

// errSupervisorLost is the cause of a stop because the supervisor has died.
const errSupervisorLost = stopCause("lifecycle: the supervisor of this worker has ended")

// expireGrace ends graceCtx because StopTimeout is over.
func (l *life) expireGrace() {
	text := "lifecycle: the stop did not end in " + console.FormatLimit(l.stopTimeout())
	l.cancelGrace(&textError{text, []error{&timeoutError{is: ErrStopTimeout}}})
}

// endGrace ends graceCtx because the life is over.
func (l *life) endGrace() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, timer := range l.timers {
		timer.Stop()
	}
	l.cancelGrace(context.Canceled)
}

// grace returns the extra time for hooks that have used up their budget.
func grace(budget time.Duration) time.Duration { return min(budget/4, 5*time.Second) }
