package supervise

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"syscall"
	"time"
)

// Stop ends all workers permanently and blocks until they have ended. It first ends the candidate
// of an upgrade and the workers that drain, then the current worker. It returns the result of the
// current worker, unless Run has already returned it.
func (s *Supervisor) Stop() error {
	s.mu.Lock()
	s.stops = true
	s.upgrade.handle(stopAsked)
	s.mu.Unlock()
	s.awaitFork()
	begun := time.Now()
	s.mu.Lock()
	s.stopOthers() // another worker may just have been forked
	others := slices.Clone(s.others)
	s.mu.Unlock()
	p := s.last.Load()
	if p == nil || p.hasEnded() { // the exit is recorded, or Run returns it
		awaitOthers(others)
		return nil
	}
	p.Final() // before the signal, because the last worker removes its socket files
	s.mu.Lock()
	p.handle(stopRequested)
	s.mu.Unlock()
	<-p.gone
	awaitOthers(others)
	var until time.Time
	if s.spec.Program != nil {
		until = begun.Add(s.spec.StopTimeout)
	}
	_, orphansErr := s.endOrphansBy(p, until)
	// Orphans of a worker of this binary may be killed: this is no error.
	if left := new(OrphansError); s.spec.Program == nil && errors.As(orphansErr, &left) && left.Err == nil {
		orphansErr = nil
	}
	return cmp.Or(p.result(p.end()), orphansErr)
}

// awaitOthers waits until these workers and the processes that they left behind have ended. It does
// not wait for a worker that the supervisor cannot end.
func awaitOthers(others []*process) {
	for _, p := range others {
		<-p.gone
		if isClosed(p.ended) {
			<-p.finished
		}
	}
}

// Kill kills all workers and all processes that they started. It blocks only for a moment. It
// returns an error if processes may still run.
func (s *Supervisor) Kill() error {
	s.mu.Lock()
	all := s.workers()
	s.mu.Unlock()
	if len(all) == 0 {
		all = []*process{nil}
	}
	var errs []error
	for _, p := range all {
		errs = append(errs, p.killNow())
	}
	for _, p := range all {
		o := orphans{of: p, keeps: s.spec.Policy.KeepOrphans, log: s.spec.Log}
		errs = append(errs, o.kill(time.Now().Add(forceQuitMargin)))
		if p != nil {
			_ = p.group.Remove() // the next start removes a group that is not empty yet
		}
	}
	return errors.Join(errs...)
}

// killNow kills a worker and its control group, and waits a moment for its end.
func (p *process) killNow() error {
	if p == nil {
		return nil
	}
	// This kills all processes in the control group. The signals below reach all other processes, and
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
	return err
}

// isAlone reports whether no worker except the current one runs.
func (s *Supervisor) isAlone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.others) == 0
}

// forceQuitMargin is how long Kill waits for the worker, and then for its children.
const forceQuitMargin = 75 * time.Millisecond

// Close ends the processes that the workers left behind. It then reports that none of them
// runs, and releases the resources of the supervisor. All workers must
// have ended.
func (s *Supervisor) Close() {
	p := s.last.Load()
	_, err := s.endOrphansBy(p, time.Time{})
	var left *OrphansError
	if p != nil && isClosed(p.ended) && s.isAlone() && (!errors.As(err, &left) || left.Err == nil) {
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
