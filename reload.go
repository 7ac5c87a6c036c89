package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/sys/monotonic"
)

// ErrReload reports that a reload failed. If a hook failed, the same error also wraps a
// [*HookError] that names it.
var ErrReload = errors.New("lifecycle: reload failed")

// ReloadTimeout sets how long a reload may take. The limit covers every OnCheck and OnReload. A
// hook that exceeds the limit has another quarter of that time to return, at most 5 s. The life
// then abandons it. After the life has abandoned an OnReload, every further reload fails. By
// default, the limit is 30 s.
func ReloadTimeout(d time.Duration) Option {
	return option(func(c *plan) {
		if d <= 0 {
			c.refuse("ReloadTimeout(%v): must be positive", d)
		}
		c.reloadTimeout = d
	})
}

// reloadError is the verdict of a failed reload.
type reloadError struct {
	cause   error
	applied []string // the components that have already applied the new configuration
	ended   bool     // the process ended instead of reloading
}

func (e *reloadError) Error() string {
	text := e.cause.Error()
	if len(e.applied) > 0 {
		text += " (applied before: " + strings.Join(e.applied, ", ") + ")"
	}
	return text
}

func (e *reloadError) Unwrap() []error { return []error{ErrReload, e.cause} }

// unknownResult is the result of a reload if the supervised program reports none. The text
// describes what the supervisor did.
type unknownResult string

func (r unknownResult) Error() string { return string(r) }

// reload calls every OnCheck, then every OnReload, and stops at the first error. It publishes the
// verdict before it logs it, because the logger may block.
func (l *life) reload() {
	awaiting := l.takeReloadWaiters()
	if l.mode.background && len(l.outsideRoot) == 0 {
		_ = l.reopenLog() // a failure does not prevent the reload
	}
	began, begun := monotonic.Now(), time.Now()
	err := l.tryReload()
	var unknown unknownResult
	if errors.As(err, &unknown) {
		err = nil
	}
	verdict := newVerdict(began, time.Since(begun), err)
	verdict.Note = string(unknown)
	// This must be one update: a reader that sees Ready again must see the verdict too.
	l.update(func(s *Status) {
		s.enter(Reloading, Ready)
		s.Reloads++
		s.LastReload = verdict
	})
	tellAll(awaiting, err)

	took := verdict.Took.Round(time.Microsecond)
	var failed *reloadError
	switch {
	case l.workerLogged(err):
	case unknown != "":
		l.log.Info("reload requested", "result", verdict.Note)
	case err == nil:
		l.log.Info("reloaded", "took", took)
	case l.stopCtx.Err() != nil:
		l.log.Info("a stop interrupted the reload", "took", took, "err", trimPrefix(err))
	case errors.As(err, &failed) && len(failed.applied) > 0:
		l.log.Error("reload failed half-way", "took", took, "err", trimPrefix(failed.cause), "applied", failed.applied)
	default:
		l.log.Error("reload rejected, old configuration kept", "took", took, "err", trimPrefix(err))
	}
}

// workerLogged reports whether the worker of this supervisor has logged the verdict of its reload.
func (l *life) workerLogged(verdict error) bool {
	reported := l.reported.Load()
	return l.plan.workerLogs && (verdict == nil || reported != nil && errors.Is(verdict, *reported))
}

func (l *life) tryReload() error {
	if l.abandonedReload != nil {
		return &reloadError{cause: fmt.Errorf("lifecycle: an earlier reload is still running: %s", trimPrefix(l.abandonedReload))}
	}
	i := l.interruptible(ErrReload)
	defer i.cancel()
	for _, h := range l.started {
		if err := i.do(h.Name, "OnCheck", h.OnCheck); err != nil {
			return &reloadError{cause: err}
		}
	}
	var applied []string
	for _, h := range l.started {
		if h.OnReload == nil {
			continue
		}
		if err := i.do(h.Name, "OnReload", h.OnReload); err != nil {
			switch err.(type) {
			case *reloadError, unknownResult: // from a worker
				return err
			}
			if abandoned(err) {
				l.abandonedReload = err
			}
			return &reloadError{cause: err, applied: applied}
		}
		applied = append(applied, h.Name)
	}
	return nil
}

// interruptible holds the context of a reload or an OnSignal function. The context ends after
// ReloadTimeout or with a stop request.
type interruptible struct {
	life   *life
	ctx    context.Context
	cancel context.CancelFunc
	limit  *timeoutError
}

func (l *life) interruptible(tooLong error) interruptible {
	limit := &timeoutError{limit: l.plan.reloadTimeout, is: tooLong}
	ctx, cancel := context.WithDeadlineCause(l.stopCtx, time.Now().Add(l.plan.reloadTimeout), limit)
	return interruptible{l, ctx, cancel, limit}
}

// do calls a hook unless the time is over. Otherwise the life would abandon this hook because an
// earlier hook used up the time.
func (i interruptible) do(component, hook string, f func(context.Context) error) error {
	switch {
	case f == nil:
		return nil
	case i.life.stopCtx.Err() != nil:
		return &HookError{component, hook, fmt.Errorf("not called: %w", context.Cause(i.life.stopCtx))}
	case i.ctx.Err() != nil:
		return &HookError{component, hook, fmt.Errorf("not called: the hooks before it took longer than %s", console.FormatLimit(i.limit.limit))}
	}
	err := i.life.do(call{component, hook, f, i.ctx, i.patience, i.limit})
	var p *PanicError
	if errors.As(err, &p) || abandoned(err) {
		i.life.logFailure(component, hook, err) // with its stack
	}
	return err
}

func (i interruptible) patience() time.Duration {
	if i.life.stopCtx.Err() != nil {
		if i.life.plan.longest == nil && i.life.stopTimeout() == 0 {
			return unlimited
		}
		return grace(i.life.stopTimeout())
	}
	return grace(i.life.plan.reloadTimeout)
}
