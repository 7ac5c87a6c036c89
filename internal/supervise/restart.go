package supervise

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
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

// restartLoop starts the next worker after the exit e of p. It returns the new current worker if an
// upgrade has replaced p meanwhile. It returns a nil process if the policy or a stop forbids
// another worker.
func (s *Supervisor) restartLoop(ctx context.Context, p *process, e *end, left int) (*process, error) {
	for e != nil {
		delay, again, err := s.workerExited(p, *e, left)
		switch {
		case isClosed(p.replaced):
			return s.last.Load(), nil
		case !again:
			return nil, err
		}
		left = 0
		if p, e, err = s.startAfter(ctx, p, delay); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// startAfter starts the worker that follows p after a delay. If its program cannot be executed, it
// returns the exit that counts for the policy. Otherwise, next is as in restartLoop.
func (s *Supervisor) startAfter(ctx context.Context, p *process, delay time.Duration) (next *process, failed *end, err error) {
	if !s.pauseRestart(ctx, p, delay) {
		return nil, nil, nil
	}
	next, err = s.startNext(ctx, p)
	switch {
	case isClosed(p.replaced), next != nil && isClosed(next.replaced):
		return s.last.Load(), nil, nil
	case err == nil:
		return next, nil, nil
	case errors.Is(err, ErrStopping), !s.last.Load().awaitEnded(ctx), ctx.Err() != nil:
		return nil, nil, s.last.Load().runsStill()
	}
	failed = &end{at: time.Now(), Exit: Exit{At: time.Now(), Code: 1, Error: s.spec.Text(err)}}
	return cmp.Or(next, p), failed, nil
}

// startNext starts the worker that follows p. If an upgrade has replaced p meanwhile, it returns
// neither a process nor an error.
func (s *Supervisor) startNext(ctx context.Context, p *process) (next *process, err error) {
	for {
		if !s.awaitTurn(ctx, p) {
			return nil, context.Cause(ctx)
		}
		if next, err = s.startWorker(ctx, p); !errors.Is(err, errHeld) {
			return next, err
		}
	}
}

// awaitTurn waits until no upgrade with NoOverlap forbids a worker of the old program. It reports
// whether such a worker may start.
func (s *Supervisor) awaitTurn(ctx context.Context, p *process) bool {
	s.mu.Lock()
	s.upgrade.handle(workerEnded)
	var held chan struct{}
	if s.op != nil {
		held = s.op.held
	}
	s.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil && !isClosed(p.replaced)
}

// workerExited records the exit and decides whether and when to restart. If an upgrade has replaced
// the worker, it only reports that the worker has ended.
func (s *Supervisor) workerExited(p *process, e end, left int) (delay time.Duration, again bool, err error) {
	s.mu.Lock()
	if isClosed(p.replaced) {
		s.mu.Unlock()
		if !p.drains { // the worker had ended before
			s.drained(p, left)
		}
		return 0, false, nil
	}
	delay, again, why := s.backoff.next(e)
	exited := Exited{Exit: e.Exit, Living: s.living()}
	if again {
		exited.Next, exited.Attempt, exited.Limit = time.Now().Add(delay), s.backoff.attempt, max(0, s.spec.Policy.Limit)
	}
	s.emit(exited)
	s.mu.Unlock()
	level := slog.LevelWarn
	if e.asked {
		level = slog.LevelInfo
	}
	s.spec.Log.Log(context.Background(), level, "the worker has ended", "how", e.Text(), "worker", e.PID)
	s.deliver()
	switch {
	case again && s.isHeld():
		return delay, true, nil
	case again:
		s.spec.Log.Info("restarting the worker", "in", delay.Round(time.Millisecond), "attempt", exited.Attempt)
		return delay, true, nil
	case e.Code == 0 && why == "":
		return 0, false, nil
	}
	gaveUp := &GaveUpError{Why: why, Exit: e.Exit, final: s.spec.Policy.isPermanent(e.Code)}
	s.spec.Log.Error("not restarting the worker any more", "why", gaveUp.Error())
	s.mu.Lock()
	s.emit(GaveUp{Why: gaveUp.Error()})
	if s.op != nil {
		s.op.old = gaveUp
	}
	s.upgrade.handle(workerLost)
	s.mu.Unlock()
	s.deliver()
	return 0, false, gaveUp
}

// isHeld reports whether an upgrade with NoOverlap forbids a worker of the old program.
func (s *Supervisor) isHeld() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.upgrade.state.isHeld()
}
