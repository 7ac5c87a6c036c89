package supervise

import (
	"context"
	"errors"
	"time"
)

// errRestart is why Restart ends a worker.
var errRestart = errors.New("a restart was requested")

// Restart ends the worker and starts the next one at once, even if the policy would not restart it.
// If the supervisor waits before the next start, Restart ends that wait. Restart does not block:
// the events report the end and the start.
func (s *Supervisor) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.last.Load()
	switch {
	case s.stops:
		return ErrStopping
	case p == nil || p.state == staged: // the worker is new already
	case s.upgrade.state.isHeld(): // the next worker will be new
	case p.state == gone:
		select {
		case s.atOnce <- struct{}{}:
		default:
		}
	default:
		if !p.again {
			// Before the signal, so that the worker leaves its socket files.
			s.mu.After(func() { _ = p.NotLast() })
		}
		p.again, p.why = true, errRestart
		if !p.stops() {
			p.handle(stopRequested)
		}
	}
	return nil
}

// pauseRestart waits before the next start until d has passed, Restart is called, or an upgrade has
// replaced the worker. It returns false if ctx ends.
func (s *Supervisor) pauseRestart(ctx context.Context, p *process, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	s.setNext(time.Now().Add(d))
	select {
	case <-timer.C:
	case <-s.atOnce:
	case <-p.replaced:
	case <-ctx.Done():
	}
	s.setNext(time.Time{})
	select {
	case <-s.atOnce: // the request must not end a later wait
	default:
	}
	return ctx.Err() == nil
}

func (s *Supervisor) setNext(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = at
}
