package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/sys/procattr"
	"example.com/lifecycle/internal/sys/safefile"
)

// ErrStartTimeout reports that the start took longer than StartTimeout.
var ErrStartTimeout = errors.New("lifecycle: the start took too long")

// StartTimeout sets how long a start may take, from the call of Run. The limit covers every OnStart
// and ReadyWhen. A hook that exceeds the limit has another quarter of that time to return, at
// most 5 s. The life then abandons the hook and rolls the start back: it stops the components that
// have started. By default, the limit is 60 s.
func StartTimeout(d time.Duration) Option {
	return option(func(c *plan) {
		if d <= 0 {
			c.refuse("StartTimeout(%v): must be positive", d)
		}
		c.startTimeout = d
	})
}

// ReadyWhen sets a function that reports whether the daemon is ready, for example because a port
// answers or a cache is warm. The life calls f after it has called every body. If f returns an
// error, the life calls f again 50 ms later. The daemon is ready when f returns nil. StartTimeout
// limits the wait. A panic of f fails the start. By default, the daemon is ready when every body
// has been called or, in a program without an OnStart, when the bodies have run for 100 ms.
func ReadyWhen(f func(ctx context.Context) error) Option {
	return option(func(c *plan) {
		if f == nil {
			c.refuse("ReadyWhen(nil): leave it out instead")
			return
		}
		c.readyWhen = f
	})
}

const (
	// settleTime is how long the bodies must run before the life is ready, if there is neither an
	// OnStart nor a ReadyWhen.
	settleTime = 100 * time.Millisecond
	// askAgain is the delay before ReadyWhen is called again after an error.
	askAgain = 50 * time.Millisecond
)

// start starts the components and the bodies, and waits until the life is ready. It returns an
// error if the start fails. It returns nil if a stop is requested meanwhile.
func (l *life) start() error {
	deadline := deadline(l.began, l.plan.startTimeout)
	limit := &timeoutError{limit: l.plan.startTimeout, is: ErrStartTimeout}
	if err := l.endSurvivors(deadline, limit); err != nil {
		return err
	}
	for i := range l.plan.hooks {
		if l.stopCtx.Err() != nil && l.handoff == nil {
			return nil
		}
		if err := l.startComponent(&l.plan.hooks[i], deadline, limit); err != nil {
			return err
		}
	}
	if l.stopCtx.Err() != nil {
		return nil
	}
	if err := l.dropPrivileges(); err != nil {
		return err
	}
	if l.mode.isProcess() {
		fdstore.BodiesBegin()
	}
	l.startBodies()
	hasStart := slices.ContainsFunc(l.plan.hooks, func(h Hooks) bool { return h.OnStart != nil })
	switch {
	case l.plan.readyWhen != nil:
		return l.awaitReady(deadline, limit)
	case !hasStart:
		l.sleep(settleTime)
	}
	return nil
}

// component is a component that starts or has started.
type component struct {
	*Hooks
	ctx    context.Context // of OnStart and of the body; ends at the stop of the component
	cancel context.CancelCauseFunc
}

// startComponent calls OnStart. If OnStart returns nil, the component has started, even if the
// start has exceeded its time.
func (l *life) startComponent(h *Hooks, deadline time.Time, limit *timeoutError) error {
	c := &component{Hooks: h}
	c.ctx, c.cancel = context.WithCancelCause(l.values)
	ctx, cancel := context.WithCancelCause(c.ctx)
	timer := time.AfterFunc(time.Until(deadline), func() { cancel(limit) })
	defer timer.Stop()
	l.setCancelStart(cancel)
	err := l.do(l.starting(ctx, limit, h.Name, "OnStart", h.OnStart))
	l.setCancelStart(nil)
	if err != nil {
		c.cancel(err)
		return err
	}
	l.started = append(l.started, c)
	if context.Cause(ctx) == error(limit) {
		return &HookError{h.Name, "OnStart", limit}
	}
	return nil
}

// setCancelStart sets the function that a stop request calls. If a stop was requested already,
// setCancelStart calls it at once.
func (l *life) setCancelStart(cancel context.CancelCauseFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancelStart = cancel
	if cancel != nil && l.stopCtx.Err() != nil {
		cancel(context.Cause(l.stopCtx))
	}
}

// errWaitsForItself reports that a hook waits for an action that the daemon begins only after that
// hook has returned.
var errWaitsForItself = errors.New("a hook of the daemon cannot wait for the daemon itself: " +
	"wait in fn, or set PIDFile and Args of another daemon")

// awaitReady calls ReadyWhen until it returns nil.
func (l *life) awaitReady(deadline time.Time, limit *timeoutError) error {
	ctx, cancel := context.WithDeadlineCause(l.ctx, deadline, limit)
	defer cancel()
	var last error
	for {
		err := l.do(l.starting(ctx, limit, l.plan.name, "ReadyWhen", l.plan.readyWhen))
		late := context.Cause(ctx) == error(limit)
		var p *PanicError
		switch {
		case errors.As(err, &p), abandoned(err), errors.Is(err, errWaitsForItself):
			return err
		case l.stopCtx.Err() != nil, err == nil && !late:
			return nil
		}
		var h *HookError
		if errors.As(err, &h) && (last == nil || !late) {
			last = h.Err // the error of a call that the deadline ended explains nothing
		}
		l.sleep(min(askAgain, time.Until(deadline)))
		if late || ctx.Err() != nil && l.stopCtx.Err() == nil {
			return &HookError{l.plan.name, "ReadyWhen", notReady(l.plan.startTimeout, last)}
		}
	}
}

// notReady returns the error of a ReadyWhen that did not return nil in time. last is the last error
// of ReadyWhen, or nil if it returned nil too late.
func notReady(limit time.Duration, last error) error {
	text := "not ready after " + console.FormatLimit(limit)
	if last != nil {
		text += ": " + last.Error()
	}
	return &textError{text, []error{ErrStartTimeout, last}}
}

// starting returns a call that ends with StartTimeout or a stop request.
func (l *life) starting(ctx context.Context, limit *timeoutError, component, hook string, f func(context.Context) error) call {
	return call{component, hook, f, ctx, func() time.Duration {
		if l.stopCtx.Err() != nil {
			return time.Until(l.budget().end)
		}
		return grace(l.plan.startTimeout)
	}, limit}
}

// sleep waits for d, or until a stop is requested.
func (l *life) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.stopCtx.Done():
	}
}

// limits returns the longest time that the start and the stop of this life may take.
func (p *plan) limits() handshake.Limits {
	if p.longest != nil {
		return *p.longest
	}
	return handshake.Limits{Start: p.startTimeout + grace(p.startTimeout), Stop: p.wholeStop()}
}

// startError converts an error of the handshake to an error of this package.
func startError(err error) error {
	switch e := err.(type) {
	case *handshake.KilledError:
		return &handshake.KilledError{Err: startError(e.Err)}
	case *handshake.TimeoutError:
		return &textError{"lifecycle: " + e.Error(), []error{ErrStartTimeout}}
	}
	return addPrefix(err)
}

// addPrefix adds the name of this package to err if it is missing.
func addPrefix(err error) error {
	if strings.HasPrefix(err.Error(), "lifecycle: ") {
		return err
	}
	return fmt.Errorf("lifecycle: %w", err)
}

// attach notifies the launcher that the life has begun. If the launcher ends before it knows that
// the life is ready, the life stops.
func (l *life) attach() error {
	if l.launcher == nil {
		return nil
	}
	if !safefile.SameEntry(l.plan.pidFile, l.launcher.PIDFile) {
		return fmt.Errorf("lifecycle: the launcher uses the PID file %q, but the daemon uses %q: pass both the same PID file, or set Args so that the main of the daemon calls Run for it",
			l.launcher.PIDFile, l.plan.pidFile)
	}
	return l.launcher.Attach(l.plan.limits(), l.launcherGone)
}

// launcherGone stops the life because its launcher is gone.
func (l *life) launcherGone() {
	l.on(stopRequest, stopCause("lifecycle: the launcher has ended or does not answer, so the start is undone"), nil)
}

// firstToReturn returns the name of a body that ended the life by its return.
func (l *life) firstToReturn() string {
	for i, b := range l.bodies {
		if isClosed(b.done) && b.before && i < len(l.bodies)-1 {
			return b.hook + " of " + b.component
		}
	}
	return "fn" // the last of the bodies
}

// whyNotReady returns the error for the launcher of a life that ended with err before it was ready.
func (l *life) whyNotReady(err error) error {
	reason := context.Cause(l.stopCtx)
	switch {
	case err != nil:
		return err
	case errors.Is(reason, ErrBodyReturned):
		return errors.New(l.firstToReturn() + " returned before the daemon was ready; it must block until its context ends")
	case reason == nil:
		return errors.New("ended before it was ready")
	}
	return fmt.Errorf("stopped before it was ready: %s", trimPrefix(reason))
}

// readySettleDelay is the delay before ready is reported. A body that fails at once then fails
// before that. The delay adds about a tenth to the time of a start. Without it, some starts on a
// busy machine report ready for a daemon that ends.
const readySettleDelay = time.Millisecond

// confirmReady notifies the launcher that the life is ready, and reports whether the launcher has
// confirmed it. Until then the launcher may undo the start, so the life is not Ready.
func (l *life) confirmReady() bool {
	if l.launcher == nil && !l.mode.first {
		return true
	}
	l.sleep(readySettleDelay)
	if l.launcher == nil {
		return l.stopCtx.Err() == nil
	}
	confirmed, err := l.launcher.ConfirmReady(l.stopCtx.Done())
	if errors.Is(err, handshake.ErrSilent) {
		l.launcherGone()
	}
	return confirmed && l.stopCtx.Err() == nil
}

// finishStart ends the handshake of a life that is ready.
func (l *life) finishStart() {
	if l.launcher != nil {
		l.launcher.Finish()
	}
}

// warnOfCaller logs the attributes that this process inherited from its caller and could not reset.
func (l *life) warnOfCaller() {
	if l.launcher == nil {
		return
	}
	if kept := procattr.Kept(); len(kept) > 0 {
		l.log.Warn("the daemon inherited settings of its caller that it cannot reset: start it from a service manager or another session", "kept", strings.Join(kept, ", "))
	}
}
