package supervise

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/proc"
	"example.com/lifecycle/internal/sys/sdnotify"
	"example.com/lifecycle/internal/sys/worker"
)

// startWorker starts a worker and returns when the worker has executed its program. If ctx ends
// first, or the supervisor stops, startWorker kills the process and returns the cause. The new
// worker follows the worker after. If after is nil, the new worker is the first one. With an error,
// the process may be nil.
func (s *Supervisor) startWorker(ctx context.Context, after *process) (*process, error) {
	p, err := s.fork(ctx, after, nil)
	if err != nil {
		return nil, err
	}
	if err = p.awaitExecuted(); err != nil {
		return p, err
	}
	s.mu.Lock()
	if p.isCurrent() {
		s.emit(Started{PID: p.PID, Restarts: s.executed - 1})
	}
	s.mu.Unlock()
	s.deliver()
	return p, nil
}

// fork starts the process. For a supervised program, the process runs a stage of this binary until
// execve. fork does not wait for the stage: the stage changes its user, and any process of that
// user can suspend it. The process becomes the candidate of op. If op is nil, it becomes the
// current worker, which follows the worker after.
func (s *Supervisor) fork(ctx context.Context, after *process, op *operation) (*process, error) {
	order, err := s.order(op)
	if err != nil {
		return nil, err
	}
	p := s.newProcess()
	p.probe = op != nil && op.spec.Probe != nil
	p.since = s.spec.Tail()
	p.inTime, p.giveUp = context.WithCancelCause(ctx)
	s.forking.Lock() // the first messages of the worker wait until fork has recorded it
	defer s.forking.Unlock()
	if err := s.beginFork(after, op); err != nil {
		return nil, err
	}
	p.group = s.newGroup()
	order.Cgroup = p.group.Dir()
	order.Forked, order.Invocation = p.forked, p.invocation
	p.began = monotonic.Boottime()
	started, err := worker.Start(order)
	if err != nil {
		_ = p.group.Remove()
		s.mu.Lock()
		s.starting = false
		s.mu.Unlock()
		return nil, err
	}
	p.child, p.PID = started, started.PID
	s.mu.Lock()
	defer s.mu.Unlock()
	p.successor = s.executed > 0
	p.timer = time.AfterFunc(noTimeout, p.expired)
	p.setDeadline(s.spec.StartLimit)
	s.place(p, after, op)
	go p.awaitExit()
	return p, nil
}

func (s *Supervisor) newProcess() *process {
	return &process{
		of: s, ready: make(chan struct{}), gone: make(chan struct{}), ended: make(chan struct{}),
		promoted: make(chan struct{}), replaced: make(chan struct{}), finished: make(chan struct{}),
		invocation: rand.Text(),
	}
}

// errHeld reports that an upgrade forbids a worker of the old program.
var errHeld = errors.New("an upgrade is in progress")

// beginFork returns an error if no worker may start now.
func (s *Supervisor) beginFork(after *process, op *operation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stops:
		return ErrStopping
	case op == nil && (s.upgrade.state.isHeld() || after != nil && isClosed(after.replaced)):
		return errHeld
	}
	s.starting = op == nil
	return nil
}

// place records the role of a process that was just forked. s.mu is held.
func (s *Supervisor) place(p, after *process, op *operation) {
	switch {
	case op != nil:
		s.others = append(s.others, p)
		op.candidate = p
		if s.op != op || op.why != nil { // the operation was given up during the fork
			p.handle(stopRequested)
		}
	case after != nil && isClosed(after.replaced): // an upgrade has just replaced that worker
		close(p.replaced)
		s.drain(p, s.spec.StopTimeout)
	default:
		s.last.Store(p)
	}
	s.starting = false
}

// forked reports a process that has not executed its program yet. It runs beside fork.
func (p *process) forked(pid int) {
	s := p.of
	m := Marked{PID: pid, At: monotonic.Boottime()}
	m.Mark = s.markOf(pid, p.invocation)
	s.awaitFork() // Known uses what fork records
	s.mu.Lock()
	if !isClosed(p.ended) { // the end of the worker may have been reported already
		s.setMark(p, m)
		s.emit(Forked{s.living(p)})
	}
	s.mu.Unlock()
	s.deliver()
}

// living identifies the workers that have not ended, and the workers in more. s.mu is held.
func (s *Supervisor) living(more ...*process) (a Alive) {
	s.marks.Lock()
	defer s.marks.Unlock()
	var all []Marked
	for _, p := range slices.Concat(s.workers(), more) {
		known := slices.ContainsFunc(all, func(m Marked) bool { return m.PID == p.marked.PID })
		if !known && p.marked.PID != 0 && !isClosed(p.ended) {
			all = append(all, p.marked)
		}
	}
	if len(all) > 0 {
		a = Alive{all[0], all[1:]}
	}
	return a
}

// Known returns the data that identifies the processes of the worker with that mark: its image, and
// the last time at which the supervisor had certainly not reaped it. Until that time, no other
// process could have its PID. If the worker lives, that time is now. ok is false if there is no
// such worker. s may be nil.
func (s *Supervisor) Known(mark string) (m Marked, ok bool) {
	if s == nil {
		return m, false
	}
	p := s.workerMarked(mark)
	if p == nil {
		return m, false
	}
	now, image := monotonic.Boottime(), proc.UniqueImage(p.PID)
	ended := errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
	s.marks.Lock()
	defer s.marks.Unlock()
	if !ended {
		p.marked.At, p.marked.Image = max(p.marked.At, now), cmp.Or(image, p.marked.Image)
	}
	return p.marked, true
}

// workerMarked returns the worker with that mark, or nil.
func (s *Supervisor) workerMarked(mark string) *process {
	s.marks.Lock()
	defer s.marks.Unlock()
	for _, p := range s.marked {
		if p.marked.Mark == mark {
			return p
		}
	}
	return nil
}

// setMark records the mark of a worker.
func (s *Supervisor) setMark(p *process, m Marked) {
	s.marks.Lock()
	defer s.marks.Unlock()
	p.marked = m
	s.marked = append(slices.DeleteFunc(s.marked, func(p *process) bool { return isClosed(p.ended) }), p)
}

// awaitFork waits until fork has recorded a starting worker.
func (s *Supervisor) awaitFork() {
	s.forking.Lock()
	defer s.forking.Unlock()
}

// awaitExecuted waits until the program is executed. If it returns an error, the process has ended,
// unless the supervisor cannot end it.
func (p *process) awaitExecuted() error {
	s := p.of
	err := p.Executed(p.inTime)
	p.giveUp(nil)
	s.mu.Lock()
	if err == nil {
		if !p.isCandidate() {
			s.executed++
		}
		p.handle(executed)
	} else {
		p.handle(notExecuted)
	}
	s.mu.Unlock()
	if err == nil {
		p.checkSignals()
		return nil
	}
	// Executed has already tried to kill the process, but it does not report a refusal.
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

// order returns the worker.Spec of the next worker, or of the candidate of op.
func (s *Supervisor) order(op *operation) (o worker.Spec, err error) {
	s.mu.Lock()
	first, path := s.executed == 0, s.path
	s.mu.Unlock()
	if op != nil {
		path = op.spec.Path
	}
	if op != nil && op.spec.Probe != nil {
		return worker.Spec{
			Args: op.spec.Probe.Args, Path: path, Note: s.spec.Note(false), Notify: s.server.Address, Dir: op.spec.Probe.Dir, Umask: -1,
		}, nil
	}
	o = worker.Spec{
		Args: s.spec.Args, Notify: s.server.Address, Store: sdnotify.Room(), Watchdog: s.spec.Watchdog, Umask: s.spec.Umask,
		Dir: s.spec.Dir(), Become: s.spec.Become, NoTerminal: s.spec.NoTerminal, Sockets: s.stored(),
	}
	if s.spec.Program != nil {
		o.Program, err = s.spec.Program()
		return o, err
	}
	o.Path, o.Note = path, s.spec.Note(first)
	return o, nil
}
