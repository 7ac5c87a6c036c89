package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/ossignal"
)

// Embedded makes Run live its life as a part of a process that is not its own, such as a test: it hears no signals, makes no files, and any number
// of lives may run at once, in a bubble of testing/synctest too. Hooks, deadlines, panics and what Run returns are the same.
// Options that need a process are ignored, which the log says, and nobody who insists on a stop ends the process. Package lifecycletest does the rest. By
// default, a life is that of its process.
func Embedded() Option {
	return option(func(c *plan) { c.embedded = true })
}

// completeEmbedded takes from an embedded life what only a process has.
func (p *plan) completeEmbedded() {
	p.pidFile = ""
	if len(p.processOptions) > 0 && len(p.wrong) == 0 {
		p.logger.Info("an embedded life ignores options that need a process", "options", strings.Join(p.processOptions, ", "))
	}
}

// The rest is how package lifecycletest gets at a life: see [engine.Engine].

func (l *life) Ready() <-chan struct{} { return l.readyCh }

func (l *life) Deliver(sig os.Signal) (known bool) {
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, ossignal.User1:
	default:
		at := l.signalHook(sig)
		if at < 0 || l.plan.signals[at].f == nil {
			return at >= 0
		}
	}
	l.onSignal(sig, func() bool { return false })
	return true
}

func (l *life) Tick(ctx context.Context, name string) (called int, err error) {
	interval, notInterval := time.ParseDuration(name)
	var errs []error
	for _, p := range l.plan.every {
		if name != "" && (notInterval != nil || interval != p.interval) {
			continue
		}
		called++
		result := make(chan error, 1)
		select {
		case p.now <- result:
			errs = append(errs, <-result)
		case <-l.stopCtx.Done():
			return called, fmt.Errorf("lifecycle: the life stops: %w", context.Cause(l.stopCtx))
		case <-ctx.Done():
			return called, context.Cause(ctx)
		}
	}
	return called, errors.Join(errs...)
}
