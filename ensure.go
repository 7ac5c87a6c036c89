package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/lifecycle/internal/pidfile"
)

// Ensure returns the running, ready daemon that the options describe. If none is running, Ensure
// starts one, detached. If another caller is already starting it, Ensure waits for that start. Any
// number of callers may race, in any number of processes: one daemon starts, and if the caller that
// starts it dies, the next caller takes over. [Args] sets the arguments of the daemon. With these
// arguments, the main of the daemon must call Run or Main with the same PID file. In a process that
// was started as this daemon and has not called Run, Ensure returns an error at once.
//
// Ensure blocks until the daemon is ready. It returns the error of its own start if that fails. If
// ctx ends first, Ensure undoes its own start, but not a start by another caller, and returns the
// cause of ctx. This may take some seconds. StartTimeout limits the time until the daemon that
// Ensure started calls Run; from then on, the options in the daemon's main apply. If the daemon
// dies during its start, the error contains its last output but no exit code, because the daemon is
// not a child of the caller. Ensure handles no signals: a signal that ends the caller also undoes
// its start. The caller must close the [Process].
func Ensure(ctx context.Context, opts ...Option) (*Process, error) {
	for {
		plan, err := newPlan(nil, opts)
		if err != nil {
			return nil, err
		}
		p, err := plan.find()
		if errors.Is(err, ErrNotRunning) {
			_, err = launch{plan: plan}.run(ctx)
			if err == nil || errors.Is(err, ErrAlreadyRunning) {
				continue // Find returns it
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
		case errors.Is(err, ErrNotRunning): // the daemon, or its launcher, is gone: try to start
		case errors.Is(err, pidfile.ErrNoPID):
			time.Sleep(lookAgain)
		default:
			return nil, err
		}
	}
}

// settled returns nil when the daemon is ready. It returns ErrNotRunning when the daemon has ended;
// it waits for the end of a daemon that is stopping.
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

// find returns the daemon that holds the PID file of the plan.
func (p *plan) find() (*Process, error) {
	if p.noPIDFile != nil {
		return nil, p.noPIDFile
	}
	return Find(p.pidFile)
}
