package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/engine"
)

func (p program) reloadVerb(flags) (exitCode int) {
	if !p.hasReload() {
		p.say("nothing to reload: this program does not support reload")
		return 3
	}
	daemon, err := p.life.plan.find()
	if err != nil {
		return p.fail("reload", err)
	}
	defer daemon.Close()
	begun := time.Now()
	// The daemon needs the extra half second to publish its verdict if a hook returns just before its
	// timeout.
	ctx, cancel := context.WithTimeout(context.Background(), p.life.plan.reloadTimeout+500*time.Millisecond)
	defer cancel()
	note := ""
	err = p.withProgress("reload", daemon, func() (err error) {
		note, err = daemon.reload(ctx)
		return err
	})
	var failed *reloadError
	var waited *waitError
	switch {
	case err == nil && note != "":
		p.say("%s", console.SanitizeInline(note))
		return 0
	case err == nil:
		p.report("reloaded (%s)", console.FormatElapsed(time.Since(begun)))
		return 0
	case errors.Is(err, context.DeadlineExceeded) && errors.As(err, &waited):
		doing := ""
		if waited.doing != "" {
			doing = ", " + console.SanitizeInline(waited.doing) + " still running"
		}
		p.say("reload: no verdict after %s%s; see `%s status`", console.FormatLimit(p.life.plan.reloadTimeout), doing, p.life.plan.name)
	case errors.As(err, &waited) && errors.Is(err, ErrNotRunning):
		p.say("reload: no verdict: pid %d ended during the reload", daemon.PID)
	case errors.As(err, &waited):
		p.say("reload: no verdict: %s", console.SanitizeInline(p.text(waited.cause)))
	case errors.As(err, &failed) && len(failed.applied) > 0:
		p.say("reload failed half-way: %s; already reloaded: %s", console.SanitizeInline(p.text(failed.cause)), console.SanitizeInline(strings.Join(failed.applied, ", ")))
	case errors.As(err, &failed) && failed.ended:
		p.say("reload failed: %s", console.SanitizeInline(p.text(failed.cause)))
	case errors.As(err, &failed):
		p.say("reload rejected, old configuration kept: %s", console.SanitizeInline(p.text(failed.cause)))
	default:
		return p.fail("reload", err)
	}
	return 1
}

func (p program) reopenVerb(flags) (exitCode int) {
	daemon, err := p.life.plan.find()
	if err != nil {
		return p.fail("reopen", err)
	}
	defer daemon.Close()
	ctx, cancel := context.WithTimeout(context.Background(), p.life.plan.reloadTimeout)
	defer cancel()
	log := ""
	err = p.withProgress("reopen its log", daemon, func() (err error) {
		log, err = daemon.reopen(ctx)
		return err
	})
	switch {
	case err != nil:
		return p.fail("reopen", err)
	case log == "" && p.life.plan.onReopen == nil:
		p.report("nothing to reopen: pid %d has no log file of its own", daemon.PID)
	default:
		p.report("log reopened (pid %d)", daemon.PID)
	}
	return 0
}

func (p program) forceReloadVerb(given flags) (exitCode int) {
	if p.hasReload() {
		return p.reloadVerb(given)
	}
	return p.tryRestartVerb(given)
}

// hasReload reports whether a reload has an effect. For a supervised program it returns true,
// because only that program knows.
func (p program) hasReload() bool {
	if p.life.plan.policy != nil && p.life.plan.fn == nil && !slices.ContainsFunc(p.life.plan.hooks, hasMoreThanCheck) {
		return true
	}
	return slices.ContainsFunc(p.life.plan.hooks, func(h Hooks) bool { return h.OnReload != nil })
}

func (p program) checkVerb(flags) (exitCode int) {
	if !p.hasCheck() {
		p.report("nothing to check: this program has no OnCheck")
		return 0
	}
	return p.check()
}

func (p program) hasCheck() bool {
	return slices.ContainsFunc(p.life.plan.hooks, func(h Hooks) bool { return h.OnCheck != nil })
}

// check calls every OnCheck. It prints the result if there is an OnCheck.
func (p program) check() (exitCode int) {
	i := p.life.interruptible(ErrReload)
	defer i.cancel()
	i.ctx = context.WithValue(i.ctx, engine.Key{}, (*life)(nil)) // no life runs in this process
	for _, h := range p.life.plan.hooks {
		if err := i.do(h.Name, "OnCheck", h.OnCheck); err != nil {
			p.say("check failed: %s", p.text(err))
			return 6
		}
	}
	if p.hasCheck() {
		p.report("check passed")
	}
	return 0
}
