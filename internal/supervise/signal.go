package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/ossignal"
)

// A worker may run as another user than its supervisor: it may change its user, or its file may be
// setuid. Without CAP_KILL, the supervisor may not signal such a worker (kill(2)). If the kernel
// refuses a signal, the supervisor does not wait for its effect.

// EndError reports that the supervisor may not signal a worker, or that KILL did not end the
// worker.
type EndError struct {
	PID  int
	Err  error // of the signal; nil: the signal was sent
	Runs bool  // the worker has not ended
}

func (e *EndError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("the worker (pid %d) still runs after KILL", e.PID)
	}
	text := fmt.Sprintf("cannot signal the worker (pid %d): %v", e.PID, e.Err)
	if errors.Is(e.Err, os.ErrPermission) {
		text += ": it runs as another user, and its supervisor lacks CAP_KILL"
	}
	if e.Runs {
		text += "; it still runs"
	}
	return text
}

func (e *EndError) Unwrap() error { return e.Err }

// send sends a signal. It then sends CONT, because a suspended worker does not handle the signal.
// Supervisor.mu is held.
func (p *process) send(sig os.Signal) {
	p.of.mu.After(func() {
		if err := p.signal(sig); err != nil {
			p.refused(err)
			return
		}
		_ = p.Signal(ossignal.Continue) // if this fails, the deadline of the state kills the worker
	})
}

// signal sends a signal. It returns nil if the worker has ended.
func (p *process) signal(sig os.Signal) error {
	err := p.Signal(sig)
	var call *os.SyscallError
	switch {
	case errors.Is(err, os.ErrProcessDone):
		return nil
	case errors.As(err, &call):
		return call.Err
	}
	return err
}

// refused records that this process may not signal the worker.
func (p *process) refused(err error) {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	p.refusal = cmp.Or(p.refusal, err)
	p.handle(notPermitted)
}

// checkSignals asks the kernel whether this process may signal the worker, because the worker may
// have changed its user. A worker that the supervisor could not stop must not become ready.
func (p *process) checkSignals() {
	if err := p.signal(syscall.Signal(0)); err != nil {
		p.refused(err)
	}
}

// kill ends a worker with KILL. If the kernel refuses KILL, kill tries two other ways. A worker of
// this binary ends when its control socket is closed. The kernel kills all processes of a control
// group, of any user.
func (p *process) kill() {
	err := p.signal(syscall.SIGKILL)
	if err == nil {
		return
	}
	own := !p.isProgram()
	if own {
		p.Close()
	}
	killed := p.group != nil && p.group.Kill(time.Now().Add(killMargin/2)) == nil
	p.of.mu.Lock()
	p.wasKilled = killed
	p.of.mu.Unlock()
	if !killed && !own {
		p.refused(err)
	}
}

// endError returns why the worker could not be signalled or ended, or nil. Supervisor.mu is held,
// and the state is gone.
func (p *process) endError() error {
	runs := !isClosed(p.ended)
	if p.refusal == nil && !runs {
		return nil
	}
	return &EndError{PID: p.PID, Err: p.refusal, Runs: runs}
}

// runsStill returns the error of a worker that could not be ended and still runs, or nil.
func (p *process) runsStill() error {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	if isClosed(p.ended) {
		return nil
	}
	return p.endError()
}

// awaitEnded waits for the end of a worker that the supervisor could not end, because two workers
// must not run at the same time. It returns false if ctx ends first.
func (p *process) awaitEnded(ctx context.Context) bool {
	select {
	case <-p.ended:
		return true
	case <-ctx.Done():
		return false
	}
}
