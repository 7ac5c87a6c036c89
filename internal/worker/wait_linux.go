package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"example.com/lifecycle/internal/pin"
)

// tracedMargin is how long after its end a process can be waited for. One that is traced (ptrace(2)) cannot until its tracer has
// waited for it, which any process of the same user may be, and may never do.
const tracedMargin = time.Second

var errTraced = errors.New("how it has ended is kept back by a process that traces it")

func (r *running) wait() (*os.ProcessState, error) {
	type ended struct {
		state *os.ProcessState
		err   error
	}
	waited := make(chan ended, 1)
	over, unpin := r.over()
	go func() {
		state, err := r.process.Wait()
		waited <- ended{state, err}
	}()
	var e ended
	select {
	case e = <-waited:
	case <-over:
		select {
		case e = <-waited:
		case <-time.After(tracedMargin):
			e.err = errTraced
		}
	}
	unpin()
	_ = r.peer.CloseRead() // what the worker has started may hold its end open for a moment
	<-r.heard
	return e.state, e.err
}

// over returns a channel that is closed when the process has ended, where the system tells that of a traced one.
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

// maxStageError is how long the message of a stage may be.
const maxStageError = 64 << 10

// executed ends the wait for a stage by reading no more: it may be stopped (SIGSTOP), and KILL ends that one, too.
func (p *Process) executed(ctx context.Context) error {
	if !p.foreign {
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
	case err != nil: // the other end was closed by execve
		return nil
	}
	_ = p.process.Kill() // it ends by itself, unless somebody stops it
	return fmt.Errorf("cannot start %s: %w", p.name, parseStageError(text))
}

// parseStageError returns the error that a message of a stage stands for. It never returns nil.
func parseStageError(text json.RawMessage) error {
	failed := &stageError{}
	if err := json.Unmarshal(text, failed); err != nil {
		return fmt.Errorf("what kept it from being executed is unknown: %w", err)
	}
	return failed
}
