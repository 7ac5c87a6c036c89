package supervise

import (
	"cmp"
	"context"
	"syscall"
	"time"
)

// Stop ends the worker permanently and blocks until it has ended. It returns the result of the
// worker, unless Run has returned it.
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
	if s.spec.Program == nil {
		s.endOrphans()
		return p.result(p.end())
	}
	_, killed := s.endOrphansBy(begun.Add(s.spec.StopTimeout))
	return cmp.Or(p.result(p.end()), killed)
}

// Kill kills the worker and all processes that it started. It blocks only for a moment.
func (s *Supervisor) Kill() {
	p := s.last.Load()
	if p != nil {
		// This kills all but the processes that have left the group.
		_ = p.group.Kill(time.Now().Add(forceQuitMargin))
	}
	if p != nil && p.Signal(syscall.SIGKILL) == nil {
		ctx, cancel := context.WithTimeout(context.Background(), forceQuitMargin)
		defer cancel()
		// Until then, its children are not children of this process.
		AwaitExit(ctx, p.PID)
	}
	o := orphans{of: p, keeps: s.spec.Policy.KeepOrphans, log: s.spec.Log}
	_ = o.kill(time.Now().Add(forceQuitMargin))
	if p != nil {
		_ = p.group.Remove()
	}
}

// forceQuitMargin is how long Kill waits for the worker, and then for its children.
const forceQuitMargin = 75 * time.Millisecond

// Close ends the processes that the last worker left and releases the resources of the supervisor.
// The worker must have ended.
func (s *Supervisor) Close() {
	s.endOrphans()
	if s.idle != nil {
		s.idle()
	}
	s.closeStore()
}
