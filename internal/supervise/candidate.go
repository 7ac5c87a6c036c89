package supervise

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"
)

const (
	// maxDraining is the greatest number of workers that drain at the same time. If more of them
	// drain, the supervisor ends the oldest ones.
	maxDraining = 8
	// askLimit is how long a candidate may take to answer one question.
	askLimit = 5 * time.Second
	// provenAfter is how long a candidate must live after it is ready, before it becomes the current
	// worker.
	provenAfter = 100 * time.Millisecond
)

// try starts the candidate and waits until it is the current worker, or has ended.
func (s *Supervisor) try(op *operation) {
	p, err := s.fork(op.over, nil, op)
	if err != nil {
		s.mu.Lock()
		op.why = cmp.Or(op.why, whyNotStarted(err))
		s.event(op, candidateEnded)
		s.mu.Unlock()
		return
	}
	if err := p.awaitExecuted(); err != nil {
		s.mu.Lock()
		op.why = cmp.Or(op.why, err)
		s.mu.Unlock()
	}
	if op.awaitReady(p) {
		s.mu.Lock()
		s.event(op, candidateReady)
		s.mu.Unlock()
	}
	select {
	case <-p.promoted:
	case <-p.gone:
		s.candidateGone(op, p)
	}
}

// awaitReady waits until a candidate can answer questions. It returns false if the candidate ends.
func (op *operation) awaitReady(p *process) bool {
	var greetings <-chan Hello
	if op.spec.Probe != nil {
		greetings = p.Hello()
	}
	select {
	case <-p.ready:
	case hello, ok := <-greetings:
		if !ok {
			<-p.gone
			return false
		}
		op.greet(hello)
	case <-p.gone:
		return false
	}
	return true
}

// candidateGone reports that a candidate has ended, or that the supervisor cannot end it. In the
// second case, an upgrade with NoOverlap starts no other worker until the candidate has ended.
func (s *Supervisor) candidateGone(op *operation, p *process) {
	left := 0
	if op.spec.NoOverlap {
		<-p.ended
	}
	if isClosed(p.ended) {
		left = s.endOrphans(p)
	}
	why := s.whyRefused(op, p, left)
	s.mu.Lock()
	if isClosed(p.promoted) { // the candidate has become the current worker before its end
		s.mu.Unlock()
		return
	}
	if op.done.New == 0 { // otherwise the probe has answered
		op.why = cmp.Or(op.why, why)
	}
	op.candidate = nil
	s.store.forget(p.stored)
	request := storeRequest{close: p.stored}
	if isClosed(p.ended) {
		s.leave(p)
	}
	s.event(op, candidateEnded)
	s.mu.Unlock()
	request.finish(s.spec.Log)
	<-p.ended
	s.mu.Lock()
	s.leave(p)
	s.mu.Unlock()
	s.deliver()
	close(p.finished)
}

// whyRefused returns why a candidate that has ended did not become the current worker.
func (s *Supervisor) whyRefused(op *operation, p *process, left int) error {
	err := s.whyNotReady(p, p.since(), left)
	refused := s.lateGreeting(op, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case refused != nil:
		return refused
	case isClosed(p.ready):
		return fmt.Errorf("the new worker ended right after it was ready: %w", err)
	case !p.isProgram() && !op.isGreeted():
		return fmt.Errorf("%w\n(it did not report to its supervisor: "+
			"a program without this library, or with an older release of it, never does)", err)
	}
	return err
}

// lateGreeting checks the Hello of a candidate that ended before it was ready. A program that must
// not become the worker says so in its Hello and then ends.
func (s *Supervisor) lateGreeting(op *operation, p *process) error {
	if p.isProgram() || op.spec.Check == nil {
		return nil
	}
	if !op.isGreeted() {
		select {
		case hello, ok := <-p.Hello():
			if !ok {
				return nil
			}
			op.greet(hello)
		default:
			return nil
		}
	}
	return op.spec.Check(op.hello)
}

// whyNotStarted explains an error of fork(2) or execve(2).
func whyNotStarted(err error) error {
	switch {
	case errors.Is(err, ErrStopping):
		return err
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%w: it is not a program for this machine", err)
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("%w: the program or its interpreter does not exist", err)
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%w: the limit of processes is reached (RLIMIT_NPROC, pids.max)", err)
	case errors.Is(err, syscall.ENOMEM):
		return fmt.Errorf("%w: there is no memory for a second worker", err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("%w: too many files are open for a second worker", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: this user cannot execute the program", err)
	}
	return err
}

// promote makes the candidate the current worker. The old worker then drains. s.mu is held.
func (s *Supervisor) promote(op *operation) {
	p, old := op.candidate, s.last.Load()
	s.remove(p)
	s.last.Store(p)
	s.path = op.spec.Path
	p.stored = nil
	close(p.promoted)
	op.done = Replaced{New: p.PID, Version: op.hello.Version, Took: time.Since(op.begun)}
	close(old.replaced)
	if old.state != gone {
		op.done.Old = old.PID
	}
	s.emit(op.done)
	if old.state != gone {
		s.drain(old, cmp.Or(op.spec.DrainTimeout, s.spec.StopTimeout))
	}
	text, doing := p.report.Text, p.report.Doing
	s.emit(Said{Up: true, Text: &text, Doing: &doing})
	if pending := s.pending.of(old); pending != nil {
		pending.decide(errReplaced)
	}
	s.finish(op, nil)
}

// endOld ends the old worker of an upgrade with NoOverlap. s.mu is held.
func (s *Supervisor) endOld(op *operation) {
	op.held = make(chan struct{})
	p := s.last.Load()
	p.again, p.why = true, errUpgrade
	switch {
	case p.state == gone: // Run waits before the next start
		select {
		case s.atOnce <- struct{}{}:
		default:
		}
	case !p.stops():
		s.mu.After(func() { _ = p.NotLast() })
		p.handle(stopRequested)
	}
}

// errUpgrade is the reason for which an upgrade with NoOverlap ends a worker. errReplaced is the
// error of a request to a replaced worker, which returns no verdict.
var (
	errUpgrade  = errors.New("an upgrade was requested")
	errReplaced = errors.New("another worker has replaced it")
)

// leave removes an ended candidate from the supervisor. s.mu is held.
func (s *Supervisor) leave(p *process) {
	if slices.Contains(s.others, p) {
		s.remove(p)
		s.emit(Living{s.living()})
	}
}

// remove removes an ended worker from s.others. s.mu is held.
func (s *Supervisor) remove(p *process) {
	s.others = slices.DeleteFunc(s.others, func(o *process) bool { return o == p })
}

// stopOthers ends all workers except the current one. s.mu is held.
func (s *Supervisor) stopOthers() {
	for _, p := range s.others {
		p.handle(stopRequested)
	}
}
