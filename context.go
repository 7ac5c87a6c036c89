package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"example.com/lifecycle/internal/engine"
)

// Life is a life seen from inside: by the hooks and bodies of a program, and by whatever works for them.
type Life struct {
	of  *life
	ctx context.Context // by which it was found
}

// From returns the life to which ctx, or a context that it derives from, belongs. It is never nil: outside a life, the methods of what
// it returns do nothing, and Phase says Exited.
func From(ctx context.Context) *Life {
	l, _ := ctx.Value(engine.Key{}).(*life)
	return &Life{l, ctx}
}

// Grace returns the context for work in hand: it carries the values of the life and outlives the context of the bodies, for it ends only
// when StopTimeout is over or the life is. Give it to a server as the base of its requests, and those that
// are in hand when a stop is asked for can be answered. Outside a life it is the context that From was given.
func (l *Life) Grace() context.Context {
	if l.of == nil {
		return l.ctx
	}
	return l.of.graceCtx
}

// Phase returns the phase in which the life is. It never blocks.
func (l *Life) Phase() Phase {
	if l.of == nil {
		return Exited
	}
	return l.of.snapshot().Phase
}

// errStopAsked is the cause of a stop for which nobody gave a reason.
const errStopAsked = stopCause("lifecycle: the program asked for the stop")

// Stop asks the life to stop, and does not wait for it. The reason is the [context.Cause] of the context of the bodies. It
// is no failure by itself: a body that wants Run to return it returns it. Of several stops only the first counts.
func (l *Life) Stop(reason error) {
	if l.of == nil {
		return
	}
	if reason == nil {
		reason = errStopAsked
	}
	l.of.on(stopRequest, reason, nil)
}

// Reload asks the life to reload, as HUP does, and returns the verdict of a reload that began after that: nil, or an error that wraps
// [ErrReload]. It blocks until then, during the start until the life is ready and has reloaded. It returns an error that wraps ErrReload
// too where the life stops instead, and the cause of ctx where that ends before. A hook cannot wait for a
// reload, which never runs beside it, so there it is an error at once.
func (l *Life) Reload(ctx context.Context) error {
	if l.of == nil {
		return nil
	}
	if hook := l.of.hookThatRuns(l.ctx, ctx); hook != "" {
		return &reloadError{cause: fmt.Errorf("lifecycle: %s asks for a reload, and would wait for itself", hook)}
	}
	verdict := make(chan error, 1)
	if !l.of.addReloadWaiter(verdict) {
		return errStopsInstead
	}
	l.of.on(hangup, nil, nil)
	select {
	case err := <-verdict:
		return err
	case <-ctx.Done():
		select {
		case err := <-verdict: // both were there to choose from
			return err
		default:
		}
		return fmt.Errorf("lifecycle: waiting for the verdict of a reload: %w", context.Cause(ctx))
	}
}

// SetStatus sets what the program says that it is doing: one short line for people, which status shows. By default, nothing.
func (l *Life) SetStatus(text string) {
	if l.of == nil {
		return
	}
	if l.of.snapshot().Text != text {
		l.of.update(func(s *Status) { s.Text = text })
	}
}

// errStopsInstead is the verdict of a reload that a stop has kept from beginning.
var errStopsInstead = &reloadError{cause: errors.New("lifecycle: not reloaded, for it stops")}

// addReloadWaiter has the verdict of the next reload that begins sent to verdict, unless there will be none.
func (l *life) addReloadWaiter(verdict chan<- error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.status.Phase >= Stopping {
		return false
	}
	l.reloadWaiters = append(l.reloadWaiters, verdict)
	return true
}

// takeReloadWaiters takes those who wait for the verdict of a reload that begins now.
func (l *life) takeReloadWaiters() []chan<- error {
	l.mu.Lock()
	defer l.mu.Unlock()
	awaiting := l.reloadWaiters
	l.reloadWaiters = nil
	return awaiting
}

func tellAll(awaiting []chan<- error, verdict error) {
	for _, c := range awaiting {
		c <- verdict
	}
}

// hookKey is under what the context of a hook carries its *runningHook.
type hookKey struct{}

type runningHook struct {
	life  *life
	label string
	over  atomic.Bool // it has returned, though its context may live on
}

// hookThatRuns is the hook of this life that still runs and to which one of these contexts belongs.
func (l *life) hookThatRuns(contexts ...context.Context) (label string) {
	for _, ctx := range contexts {
		h, _ := ctx.Value(hookKey{}).(*runningHook)
		if h != nil && h.life == l && !h.over.Load() {
			return h.label
		}
	}
	return ""
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
