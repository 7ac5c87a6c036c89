package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/pin"
)

// tracedMargin is how long wait tries to reap an ended process. A traced process (ptrace(2)) cannot
// be reaped before its tracer has waited for it. Any process of the same user can be the tracer,
// and a tracer may never wait.
const tracedMargin = time.Second

func (r *running) wait() (*os.ProcessState, error) {
	type ended struct {
		state *os.ProcessState
		err   error
	}
	waited := make(chan ended, 1)
	over, unpin := r.over()
	go func() {
		state, err := r.reap()
		waited <- ended{state, err}
	}()
	var e ended
	select {
	case e = <-waited:
	case <-over:
		select {
		case e = <-waited:
		case <-time.After(tracedMargin):
			e.err = errors.New("another process traces it and withholds its exit status")
		}
	}
	unpin()
	_ = r.peer.CloseRead() // children of the worker may hold its end open for a moment
	<-r.heard
	return e.state, e.err
}

// reap waits for the end of the process and reaps it, but not while it is frozen: another program
// that is executed in this process must get the exit status.
func (r *running) reap() (*os.ProcessState, error) {
	for {
		// WNOWAIT leaves the process as a zombie (waitid(2)).
		err := unix.Waitid(unix.P_PID, r.process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	r.reaping.Lock()
	defer r.reaping.Unlock()
	r.reaped = true
	return r.process.Wait()
}

// over returns a channel that is closed when the process has ended, even if it is traced. The
// channel is nil if the system cannot report the end.
func (r *running) over() (over <-chan struct{}, unpin func()) {
	p, err := pin.Open(r.process.Pid)
	if err != nil {
		return nil, func() {}
	}
	c := make(chan struct{})
	go func() {
		if p.Wait(context.Background()) == nil {
			close(c)
		}
	}()
	return c, func() { _ = p.Close() }
}

// maxStageError is the greatest length of a message of a stage.
const maxStageError = 64 << 10

// executed waits for a stage. If ctx ends, it stops reading, because the stage may be suspended
// (SIGSTOP). Then it sends KILL, which also ends a suspended stage. It ignores a refused KILL. The
// kernel refuses it if the stage has changed its user. The caller gets the same error from its own
// KILL.
func (p *Process) executed(ctx context.Context) error {
	if !p.isProgram {
		return nil
	}
	defer close(p.heard)
	defer p.Close()
	p.peer.Limit(maxStageError)
	heed := context.AfterFunc(ctx, func() { _ = p.peer.CloseRead() })
	text, err := p.peer.Receive()
	switch isOver := !heed(); {
	case isOver:
		_ = p.process.Kill()
		return context.Cause(ctx)
	case err != nil: // execve closed the other end
		return nil
	}
	// The stage exits without a signal, unless another process suspends it.
	_ = p.process.Kill()
	return fmt.Errorf("cannot start %s: %w", p.name, parseStageError(text))
}

// parseStageError returns the error in a message of a stage. It never returns nil.
func parseStageError(text json.RawMessage) error {
	failed := &stageError{}
	if err := json.Unmarshal(text, failed); err != nil {
		return fmt.Errorf("cannot read why it was not executed: %w", err)
	}
	return failed
}
