package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/sdnotify"
	"example.com/lifecycle/internal/sys/worker"
)

// startWorker starts a worker and returns when the worker has executed its program. If ctx ends
// first, or the supervisor stops, startWorker kills the process and returns the cause.
func (s *Supervisor) startWorker(ctx context.Context) (*process, error) {
	p, err := s.fork(ctx)
	if err == nil {
		err = p.awaitExecuted()
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.emit(Started{PID: p.PID, Restarts: s.executed - 1})
	s.mu.Unlock()
	s.deliver()
	return p, nil
}

// fork starts the process. For a supervised program, the process runs a stage of this binary until
// execve. fork does not wait for the stage: the stage changes its user, and any process of that
// user can suspend it.
func (s *Supervisor) fork(ctx context.Context) (*process, error) {
	order, err := s.order()
	if err != nil {
		return nil, err
	}
	p := &process{of: s, ready: make(chan struct{}), gone: make(chan struct{}), ended: make(chan struct{}), since: s.spec.Tail()}
	p.inTime, p.giveUp = context.WithCancelCause(ctx)
	s.forking.Lock() // its first messages wait until it is known
	defer s.forking.Unlock()
	s.mu.Lock()
	stops := s.stops
	s.mu.Unlock()
	if stops {
		return nil, ErrStopping
	}
	p.group = s.newGroup()
	order.Cgroup = p.group.Dir()
	order.Forked = p.forked
	started, err := worker.Start(order)
	if err != nil {
		_ = p.group.Remove()
		return nil, err
	}
	p.child, p.PID = started, started.PID
	s.mu.Lock()
	defer s.mu.Unlock()
	p.successor = s.executed > 0
	s.last.Store(p)
	p.timer = time.AfterFunc(noTimeout, p.expired)
	p.setDeadline(s.spec.StartLimit)
	go p.awaitExit()
	return p, nil
}

// forked reports a process that has not executed its program yet.
func (p *process) forked(pid int) {
	s := p.of
	m := Marked{PID: pid, At: monotonic.Boottime()}
	m.Mark = s.markOf(pid)
	s.mu.Lock()
	if !isClosed(p.ended) { // its end may have been reported already
		p.marked = m
		s.emit(Forked{m})
	}
	s.mu.Unlock()
	s.deliver()
}

// KnownAt returns when the worker with that mark was last known not to have been waited for, which
// may be now. Until then its PID was its own. It returns false if the worker is not the last one.
// s may be nil.
func (s *Supervisor) KnownAt(mark string) (at time.Duration, ok bool) {
	if s == nil || s.last.Load() == nil {
		return 0, false
	}
	p := s.last.Load()
	now := monotonic.Boottime()
	ended := errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.marked.Mark != mark {
		return 0, false
	}
	if !ended {
		p.marked.At = max(p.marked.At, now)
	}
	return p.marked.At, true
}

// refreshMark emits an empty Said from time to time, until stop is called. A program may replace
// all its children long after its start. Unless the record is younger than one of them, the next
// supervisor cannot tell them from strangers.
func (s *Supervisor) refreshMark() (stop func()) {
	if s.spec.Refresh == 0 {
		return func() {}
	}
	over := make(chan struct{})
	go func() {
		ticker := time.NewTicker(s.spec.Refresh)
		defer ticker.Stop()
		for {
			select {
			case <-over:
				return
			case <-ticker.C:
			}
			s.mu.Lock()
			if !isClosed(s.last.Load().ended) {
				s.emit(Said{})
			}
			s.mu.Unlock()
			s.deliver()
		}
	}()
	return func() { close(over) }
}

// awaitFork waits until fork has recorded a starting worker.
func (s *Supervisor) awaitFork() {
	s.forking.Lock()
	defer s.forking.Unlock()
}

// awaitExecuted waits until the program is executed. If it returns an error, it has killed the
// process and waited for its end, unless the process cannot be ended.
func (p *process) awaitExecuted() error {
	s := p.of
	err := p.Executed(p.inTime)
	p.giveUp(nil)
	s.mu.Lock()
	if err == nil {
		s.executed++
		p.handle(executed)
	} else {
		p.handle(notExecuted)
	}
	s.mu.Unlock()
	if err == nil {
		p.checkSignals()
		return nil
	}
	// Executed has tried to kill it.
	if killErr := p.signal(syscall.SIGKILL); killErr != nil {
		p.refused(killErr)
	}
	<-p.gone
	_ = p.group.Remove()
	if left := p.runsStill(); left != nil {
		err = fmt.Errorf("%w; %w", err, left)
	}
	return err
}

// order returns the worker.Spec of the next worker.
func (s *Supervisor) order() (o worker.Spec, err error) {
	s.mu.Lock()
	first := s.executed == 0
	s.mu.Unlock()
	o = worker.Spec{
		Args: s.spec.Args, Notify: s.server.Address, Store: sdnotify.Room(), Watchdog: s.spec.Watchdog, Umask: s.spec.Umask,
		Dir: s.spec.Dir(), Become: s.spec.Become, NoTerminal: s.spec.NoTerminal, Sockets: s.stored(),
	}
	if s.spec.Program != nil {
		o.Program, err = s.spec.Program()
		return o, err
	}
	o.Note = s.spec.Note(first)
	return o, nil
}
