package supervise

import (
	"cmp"
	"context"
	"errors"
	"syscall"
	"time"
)

// Stop ends the worker permanently and blocks until it has ended. It returns the result of the
// worker, unless Run has already returned it.
func (s *Supervisor) Stop() error {
	s.mu.Lock()
	s.stops = true
	s.mu.Unlock()
	s.awaitFork()
	p := s.last.Load()
	if p == nil || p.hasEnded() { // the exit is recorded, or Run returns it
		return nil
	}
	begun := time.Now()
	p.Final() // before the signal, so that the worker removes its socket files
	s.mu.Lock()
	p.handle(stopRequested)
	s.mu.Unlock()
	<-p.gone
	var until time.Time
	if s.spec.Program != nil {
		until = begun.Add(s.spec.StopTimeout)
	}
	_, orphansErr := s.endOrphansBy(until)
	// Orphans of a worker of this binary may be killed: this is no error.
	if left := new(OrphansError); s.spec.Program == nil && errors.As(orphansErr, &left) && left.Err == nil {
		orphansErr = nil
	}
	return cmp.Or(p.result(p.end()), orphansErr)
}

// Kill kills the worker and all processes that it started. It blocks only for a moment. It returns
// an error if processes may still run.
func (s *Supervisor) Kill() error {
	p := s.last.Load()
	o := orphans{of: p, keeps: s.spec.Policy.KeepOrphans, log: s.spec.Log}
	if p == nil {
		return o.kill(time.Now().Add(forceQuitMargin))
	}
	// This kills all processes that are still in the group. The signals below reach the others, and
	// their errors are more precise.
	_ = p.group.Kill(time.Now().Add(forceQuitMargin))
	err := p.signal(syscall.SIGKILL)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), forceQuitMargin)
		defer cancel()
		// The children of the worker become children of this process only when the worker has
		// ended.
		AwaitExit(ctx, p.PID)
	} else if !isClosed(p.ended) {
		err = &EndError{PID: p.PID, Err: err, Runs: true}
	}
	err = errors.Join(err, o.kill(time.Now().Add(forceQuitMargin)))
	_ = p.group.Remove() // the next start removes a group that is not empty now
	return err
}

// forceQuitMargin is how long Kill waits for the worker, and then for its children.
const forceQuitMargin = 75 * time.Millisecond

// Close ends the processes that the last worker left behind. It then reports that none of them
// runs, and releases the resources of the supervisor. The worker must have ended.
func (s *Supervisor) Close() {
	_, err := s.endOrphansBy(time.Time{})
	var left *OrphansError
	if p := s.last.Load(); p != nil && isClosed(p.ended) && (!errors.As(err, &left) || left.Err == nil) {
		s.mu.Lock()
		s.emit(Alone{})
		s.mu.Unlock()
		s.deliver()
	}
	if s.idle != nil {
		s.idle()
	}
	s.closeStore()
}
