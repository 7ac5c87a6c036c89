package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/lifecycle/internal/pidfile"
)

// Ensure returns the daemon that these options describe, running and ready: it starts it, detached, where none is running, and waits for it where somebody
// else is starting it. Any number of callers may race, in any number of processes: there will be one daemon, and where the one who
// starts it dies, the next one does. What the daemon is started with is Args; it must lead its main to Run, or to Main, with the
// same PID file.
//
// It blocks until the daemon is ready. It returns the error of its start where that fails, and the cause of ctx where that ends first: a
// start of its own is undone then, that of somebody else is not; to notice that can take it some seconds. StartTimeout limits how long a start of its
// own may take to come to Run; from there on the daemon's main says by its own options how long it may take. What a daemon that
// died during its start ended with is not told, only its last words, for it is no child of the caller. Signals are the caller's: where one ends it,
// a start of its own is undone as well. The caller closes the Process.
func Ensure(ctx context.Context, opts ...Option) (*Process, error) {
	for {
		plan, err := newPlan(nil, opts)
		if err != nil {
			return nil, err
		}
		p, err := Find(plan.pidFile)
		if errors.Is(err, ErrNotRunning) {
			_, err = launch{plan: plan}.run(ctx)
			if err == nil || errors.Is(err, ErrAlreadyRunning) {
				continue // to find it
			}
			return nil, err
		}
		if err == nil {
			if err = p.settled(ctx); err == nil {
				return p, nil
			}
			p.Close()
		}
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("lifecycle: waiting for a daemon at %s: %w", plan.pidFile, context.Cause(ctx))
		case errors.Is(err, ErrNotRunning): // whoever was there, or was starting it, is gone: it is our turn
		case errors.Is(err, pidfile.ErrNoPID):
			time.Sleep(lookAgain)
		default:
			return nil, err
		}
	}
}

// settled returns nil when the daemon is ready, and ErrNotRunning when it has ended, after its stop if need be.
func (p *Process) settled(ctx context.Context) error {
	err := p.WaitReady(ctx)
	if !errors.Is(err, errStops) {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		return err
	}
	return &NotRunningError{PIDFile: p.pidFile}
}
