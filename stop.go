package lifecycle

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.com/lifecycle/internal/worker"
)

// ErrStopTimeout says that a hook or body did not return within StopTimeout.
var ErrStopTimeout = errors.New("lifecycle: the stop took too long")

// StopTimeout sets how long a stop may take, counted from when it was asked for: StopDelay, every OnStop, the return of the
// bodies, every OnExit. A hook or body that overruns it is abandoned; those that have not had their turn then share one last grace, a quarter
// of that time and at most 5 s, of which each gets at most half of what is left. A failed start has the same
// time to roll back. By default, 20 s, which together with the grace fits the 30 s of Kubernetes.
func StopTimeout(d time.Duration) Option {
	return option(func(c *plan) {
		if d <= 0 {
			c.refuse("StopTimeout(%v): must be positive", d)
		}
		c.stopTimeout = d
	})
}

// StopDelay sets how long the life goes on serving when it is no longer ready, before the bodies are told to return, so that a load
// balancer can look away. It is a part of StopTimeout. A life that was never ready, or whose last body has returned,
// does not wait. By default, 0.
func StopDelay(d time.Duration) Option {
	return option(func(c *plan) {
		if d < 0 {
			c.refuse("StopDelay(%v): must not be negative", d)
		}
		c.stopDelay = d
	})
}

// CleanErrors sets which errors are no failure when a body or hook returns them after a stop was asked for, such as
// http.ErrServerClosed, besides those that wrap context.Canceled. Given again, it adds to them. By default, none.
func CleanErrors(errs ...error) Option {
	return option(func(c *plan) { c.cleanErrors = append(c.cleanErrors, errs...) })
}

// clean says that err is no failure once a stop was asked for. A hook that overran its time has failed, whatever it returned at last.
func (l *life) clean(err error) bool {
	var late *timeoutError
	if errors.As(err, &late) {
		return false
	}
	return err == nil || errors.Is(err, context.Canceled) ||
		slices.ContainsFunc(l.plan.cleanErrors, func(target error) bool { return errors.Is(err, target) })
}

// stop ends the life in its order, whatever asked for that, and returns what Run returns.
func (l *life) stop(failure error) error {
	if l.stopCtx.Err() != nil && l.clean(failure) {
		failure = nil
	}
	l.on(stopRequest, failure, nil)
	l.publish()
	l.logStopping()
	tellAll(l.takeReloadWaiters(), errStopsInstead)
	<-l.ctx.Done()

	b := l.budget()
	var hooks []error
	for _, h := range slices.Backward(l.started) {
		hooks = append(hooks, l.stopHook(b, h.Name, "OnStop", h.OnStop))
	}
	bodies := l.awaitBodies(b)
	for _, h := range slices.Backward(l.started) {
		hooks = append(hooks, l.stopHook(b, h.Name, "OnExit", h.OnExit))
	}
	hooks = slices.DeleteFunc(hooks, l.clean)

	l.checkPIDFile()
	l.leave()
	l.enter(Stopping, Exited)
	l.log.Info("stopped", "took", time.Since(l.stopRequestedAt).Round(time.Microsecond))
	return joinErrors(append(append(bodies, failure), hooks...)...)
}

// logStopping says, once, that the life stops and why: at the latest when its course gets to the stop, but before that if a hook still
// runs that holds it up.
func (l *life) logStopping() {
	if l.loggedStopping {
		return
	}
	l.loggedStopping = true
	reason := context.Cause(l.stopCtx)
	l.log.Info("stopping", "reason", trimPrefix(reason))
	if l.onStopping != nil {
		l.onStopping(reason)
	}
}

func (l *life) stopHook(b budget, component, hook string, f func(context.Context) error) error {
	end := b.next()
	limit := &timeoutError{limit: l.plan.stopTimeout, is: ErrStopTimeout}
	if end.After(b.end) {
		limit.limit = time.Until(end).Round(time.Millisecond)
	}
	ctx, cancel := context.WithDeadlineCause(l.values, end, limit)
	defer cancel()
	return l.do(call{component, hook, f, ctx, b.moment, limit})
}

// awaitBodies waits until every body has returned, and returns their errors in the order in which they were called.
func (l *life) awaitBodies(b budget) (errs []error) {
	limit := time.NewTimer(time.Until(b.next()))
	defer limit.Stop()
	for _, body := range l.bodies {
		select {
		case <-body.done:
		default:
			doneWaiting := l.trackHook(body.hook + " of " + body.component)
			select {
			case <-body.done:
			case <-limit.C:
				l.expireGrace() // if its own timer has not had its turn
				limit.Reset(0)  // for those behind it
			}
			doneWaiting()
		}
		select {
		case <-body.done:
			if body.before || !l.clean(body.err) {
				errs = append(errs, body.err)
			}
		default:
			errs = append(errs, l.abandon(body.component, body.hook, timeoutError{limit: l.plan.stopTimeout, is: ErrStopTimeout}))
		}
	}
	return errs
}

// budget is the time that a stop has.
type budget struct {
	end  time.Time // of StopTimeout
	last time.Time // of the grace after it
}

func (l *life) budget() budget {
	l.mu.Lock()
	defer l.mu.Unlock()
	return budget{deadline(l.stopRequestedAt, l.plan.stopTimeout), deadline(l.stopRequestedAt, l.plan.stopTimeout+grace(l.plan.stopTimeout))}
}

// wholeStop is how long a stop takes at most, with the grace for stragglers.
func (p *plan) wholeStop() time.Duration {
	if p.longest != nil {
		return p.longest.Stop
	}
	return p.stopTimeout + grace(p.stopTimeout)
}

// next is until when the next one may take. In the grace that is half of what is left, so that one that hangs leaves
// something for those behind it.
func (b budget) next() time.Time {
	now := time.Now()
	if now.Before(b.end) {
		return b.end
	}
	return now.Add(b.last.Sub(now) / 2)
}

// moment is what a hook has to return when its context has ended: one that heeds it is not abandoned on the doorstep.
func (b budget) moment() time.Duration {
	return max(0, min(100*time.Millisecond, time.Until(b.last)/4))
}

// finalPatience is how long a worker that got a TERM waits for the word that no other worker follows. The
// supervisor sends it before its own TERM; the wait is for a TERM that both got from somebody else.
const finalPatience = 100 * time.Millisecond

// isLast reports whether no process follows this one that would be given its sockets. err is what the life
// returns.
func (l *life) isLast(err error) bool {
	if l.mode.kind != modeWorker {
		return false // a service manager does not say
	}
	why := context.Cause(l.stopCtx)
	switch {
	case worker.Inherited().IsFinal(0), errors.Is(why, errSupervisorLost):
		return true
	case !isClosed(l.readyCh):
		return l.mode.first // its failure is that of the start
	case l.plan.policy.isFinal(ExitCode(err)):
		return true
	}
	var signal *StopSignalError
	return errors.As(why, &signal) && worker.Inherited().IsFinal(finalPatience)
}

// errSupervisorLost is the cause of a stop because the parent has died.
const errSupervisorLost = stopCause("lifecycle: the parent that supervises this worker is gone")
