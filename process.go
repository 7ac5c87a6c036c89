package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"example.com/lifecycle/internal/ossignal"
)

// Close lets go of the process. It does nothing to it.
func (p *Process) Close() error { return p.pin.Close() }

// Signal sends a signal to the daemon, after having asked the kernel again that it holds the PID file. It does not
// wait. The error wraps [ErrNotRunning] where the daemon is gone, and fs.ErrPermission where it may not be signalled.
func (p *Process) Signal(sig os.Signal) error {
	_, err := p.verify()
	if err == nil {
		if err = p.pin.Signal(sig); err != nil {
			err = fmt.Errorf("lifecycle: cannot send %s to pid %d: %w", ossignal.Text(sig), p.PID, err)
		}
	}
	return p.gone(err)
}

// gone makes a process that is done one that is not running.
func (p *Process) gone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return &NotRunningError{PIDFile: p.pidFile}
	}
	return err
}

// Wait blocks until the daemon is gone: its process has ended and does not hold the PID file any more. It returns nil then, and
// the cause of ctx if that ends before.
func (p *Process) Wait(ctx context.Context) error {
	if p.PID == os.Getpid() {
		return errOneself
	}
	if err := p.pin.Wait(ctx); err != nil {
		return fmt.Errorf("lifecycle: waiting for pid %d to end: %w", p.PID, err)
	}
	// The kernel drops the locks before it tells of the end. What the daemon left behind can hold a copy of the descriptor.
	for {
		h, err := inspectPIDFile(p.pidFile)
		// A name is that of a process which lives, so of another one with the same PID.
		if err != nil || !h.Held || h.PID != p.PID || !h.Guessed {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lifecycle: waiting for %s to be released: %w", p.pidFile, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Stop asks the daemon to stop, with TERM, and blocks until it is gone; see Wait. One that says that it is stopping already is not asked
// again, for a second TERM would cut its stop short. It returns nil where the daemon was gone already. A
// process that has let go of the PID file is not signalled, and is an error if it still runs 2 s later. To the daemon itself, which
// would wait for its own end, it is an error at once: there is Life.Stop.
func (p *Process) Stop(ctx context.Context) error {
	if p.PID == os.Getpid() {
		return errOneself
	}
	if s, err := p.Status(); err == nil && s.Phase == Stopping {
		return p.end(ctx, ossignal.Continue)
	}
	return p.end(ctx, syscall.SIGTERM, ossignal.Continue) // a suspended process gets its TERM only then
}

// errOneself says that a process would wait for its own end.
var errOneself = errors.New("lifecycle: a process cannot wait for its own end: use Life.Stop")

// Kill ends the daemon with KILL, which gives it no chance to stop cleanly, and blocks until it is gone; see Wait.
func (p *Process) Kill(ctx context.Context) error { return p.end(ctx, syscall.SIGKILL) }

func (p *Process) end(ctx context.Context, signals ...os.Signal) error {
	for i, sig := range signals {
		if sig == nil {
			continue // this system does not have it
		}
		switch err := p.Signal(sig); {
		case errors.Is(err, ErrNotRunning) && i == 0:
			return p.awaitEnd(ctx)
		case err != nil && !errors.Is(err, ErrNotRunning):
			return err
		}
	}
	return p.Wait(ctx)
}

// awaitEnd waits for a process that does not hold the PID file any more, and so may not be signalled. It is about to end, unless
// something else keeps it.
func (p *Process) awaitEnd(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := p.Wait(soon)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("lifecycle: pid %d does not hold %s any more, but still runs; it was not signalled", p.PID, p.pidFile)
	}
	return err
}
