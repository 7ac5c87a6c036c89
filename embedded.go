package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/ossignal"
)

// Embedded makes the life share its process with other code, for example with a test. The life
// handles no signals and makes no files. Any number of embedded lives may run at once, also in a
// bubble of testing/synctest. Hooks, deadlines, panics and the result of Run are the same. Options
// that need a process are ignored, and the log names them. A repeated stop request does not end the
// process. Package lifecycletest uses this option. By default, a life has its process to itself.
func Embedded() Option {
	return option(func(c *plan) { c.embedded = true })
}

// completeEmbedded removes the options that need a process.
func (p *plan) completeEmbedded() {
	p.pidFile = ""
	if p.program != nil {
		p.refuse("Program(%q) and Embedded: an embedded life starts no process; leave out one of the two", p.program[0])
	}
	if len(p.processOptions) > 0 && len(p.wrong) == 0 {
		p.logger.Info("an embedded life ignores options that need a process", "options", strings.Join(p.processOptions, ", "))
	}
}

// The methods below implement [engine.Engine] for package lifecycletest.

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
			return called, fmt.Errorf("lifecycle: the life is stopping: %w", context.Cause(l.stopCtx))
		case <-ctx.Done():
			return called, context.Cause(ctx)
		}
	}
	return called, errors.Join(errs...)
}
