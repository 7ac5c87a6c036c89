package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/sys/sdnotify"
	"example.com/lifecycle/internal/sys/worker"
)

// CheckState returns an error if this program cannot adopt that state of [Supervisor.Freeze] or
// [Supervisor.Snapshot]. It changes nothing.
func CheckState(state json.RawMessage) error {
	_, err := parseImage(state)
	return err
}

func parseImage(state json.RawMessage) (*image, error) {
	var of struct{ Version int }
	if err := json.Unmarshal(state, &of); err != nil {
		return nil, fmt.Errorf("cannot read the state of the supervisor: %w", err)
	}
	if of.Version != imageVersion {
		return nil, fmt.Errorf("the state of the supervisor has version %d, and this program reads version %d", of.Version, imageVersion)
	}
	m := new(image)
	if err := json.Unmarshal(state, m); err != nil {
		return nil, fmt.Errorf("cannot read the state of the supervisor: %w", err)
	}
	if len(m.Workers) == 0 && m.Next == 0 {
		return nil, errors.New("the state of the supervisor has no worker")
	}
	for _, w := range m.Workers {
		if _, err := stateNamed(w.State); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Resume returns the supervisor that the previous program of this process has frozen. It replaces
// [New] and Start. The caller must call Run. Resume does not use Spec.Stored and Spec.Listen. If
// Resume returns an error, it has killed the workers that it could adopt, and closed the files.
func Resume(spec Spec, state json.RawMessage, files []*os.File) (*Supervisor, error) {
	s := New(spec)
	err := s.resume(state, files)
	if err != nil {
		s.abandon()
		for _, f := range files {
			_ = f.Close()
		}
		return nil, err
	}
	return s, nil
}

// abandon kills the workers that resume has adopted.
func (s *Supervisor) abandon() {
	for _, p := range s.workers() {
		if p.child != nil {
			_ = p.Signal(syscall.SIGKILL)
			_, _ = p.Wait()
			p.Close()
		}
	}
	if s.server != nil {
		_ = s.server.Close()
	}
}

func (s *Supervisor) resume(state json.RawMessage, files []*os.File) error {
	m, err := parseImage(state)
	if err != nil {
		return err
	}
	if m.Program != (s.spec.Program != nil) {
		return errors.New("the old supervisor has another kind of worker")
	}
	count := m.ServerFiles + len(m.Stored)
	for _, w := range m.Workers {
		count += w.Files
	}
	if count != len(files) {
		return fmt.Errorf("the state of the supervisor needs %d files, and there are %d", count, len(files))
	}
	take := func(n int) (some []*os.File) {
		some, files = files[:n], files[n:]
		return some
	}
	if s.server, err = sdnotify.AdoptServer(m.Server, take(m.ServerFiles)); err != nil {
		return fmt.Errorf("cannot supervise: %w", err)
	}
	s.ownTree()
	s.resumeCounts(m)
	if m.Next != 0 {
		s.last.Store(s.endedWorker())
	}
	for _, w := range m.Workers {
		p, err := s.adopt(w, take(w.Files))
		if err != nil {
			return err
		}
		if s.last.Load() == nil {
			s.last.Store(p)
		} else {
			s.others = append(s.others, p)
		}
	}
	for i, f := range take(len(m.Stored)) {
		s.store.all = append(s.store.all, fdstore.Entry{Name: string(m.Stored[i]), File: f})
	}
	s.serve()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.workers() {
		if p.state != gone {
			p.resume()
		}
	}
	return nil
}

func (s *Supervisor) resumeCounts(m *image) {
	s.executed, s.store.warned, s.next = m.Executed, m.Warned, m.Next.time()
	b := &s.backoff
	b.series, b.attempt, b.delay = m.Backoff.Series, m.Backoff.Attempt, m.Backoff.Delay
	for _, at := range m.Backoff.Exits {
		b.exits = append(b.exits, at.time())
	}
}

// endedWorker returns a process that represents a worker whose exit was recorded before the freeze.
func (s *Supervisor) endedWorker() *process {
	p := s.newProcess()
	p.state, p.told = gone, true
	close(p.ended)
	close(p.gone)
	return p
}

// adopt returns the worker that w describes.
func (s *Supervisor) adopt(w frozenWorker, files []*os.File) (*process, error) {
	child, err := worker.Adopt(w.Process, files)
	if err != nil {
		return nil, fmt.Errorf("cannot adopt the worker (pid %d): %w", w.PID, err)
	}
	p := s.newProcess()
	p.child, p.PID, p.since = child, w.PID, s.spec.Tail()
	if p.state, err = stateNamed(w.State); err != nil {
		return p, err
	}
	p.invocation, p.began, p.successor = w.Invocation, w.Began, w.Successor
	s.setMark(p, w.Marked)
	p.drains, p.again, p.told, p.wasKilled = w.Drains, w.Again, w.Told, w.WasKilled
	p.usesNotify, p.confirming, p.staleLog = w.UsesNotify, w.Confirming, w.StaleLog
	p.why, p.notReady, p.failed, p.failure, p.report = errorOf(w.Why), errorOf(w.NotReady), w.Failed, w.Failure, w.Report
	p.readyAt, p.deadline, p.stopBy = w.ReadyAt.time(), w.Deadline.time(), w.StopBy.time()
	p.signOfLife, p.drainLimit = w.SignOfLife.time(), w.DrainLimit
	if w.Refusal != 0 {
		p.refusal = syscall.Errno(w.Refusal)
	}
	if w.Group != "" {
		if p.group, err = s.tree.Adopt(w.Group); err != nil {
			s.spec.Log.Debug("cannot use the control group of the worker any more", "why", err)
		}
	}
	p.inTime, p.giveUp = context.WithCancelCause(context.Background())
	if !p.readyAt.IsZero() {
		close(p.ready)
	}
	if p.drains {
		close(p.replaced)
	}
	return p, nil
}

// resume starts the timers of a worker and the wait for its end. Supervisor.mu is held.
func (p *process) resume() {
	p.timer = time.AfterFunc(noTimeout, p.expired)
	if !p.deadline.IsZero() {
		p.timer.Reset(max(0, time.Until(p.deadline)))
	}
	if p.readyAt.IsZero() {
		p.resumeStart()
	}
	if p.of.spec.Watchdog > 0 && p.state <= stopping && !p.readyAt.IsZero() {
		p.resetWatchdog()
	}
	go p.awaitExit()
	if p.drains {
		go p.of.awaitDrained(p)
	}
}

// resumeStart continues to wait until a starting program is ready.
func (p *process) resumeStart() {
	switch {
	case p.state != starting:
	case p.confirming:
		p.confirming = false
		p.reportedReady()
	case p.isProgram() && !p.of.spec.Policy.Notify:
		time.AfterFunc(p.of.spec.Policy.Settle, p.settle)
	}
}
