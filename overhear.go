package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"example.com/lifecycle/internal/monotonic"
	"example.com/lifecycle/internal/ossignal"
	"example.com/lifecycle/internal/sdnotify"
)

// What a parent hears from its worker is what a worker tells any service manager, sd_notify(3). What that has no field for:
//
//	X_LIFECYCLE_ERROR    why a reload (with READY=1) or a start has failed
//	X_LIFECYCLE_EXIT     the exit code that the latter will have
//	X_LIFECYCLE_STATE    all that a worker of this library says of itself, as in its state file, which it has not got
//	X_LIFECYCLE_FAILURE  the failure with component, hook and stack, as the handshake has it
//
// The last two are for a parent only.

// listen hears until the socket is closed.
func (s *supervisor) listen() {
	for {
		m, err := s.server.Receive()
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil: // the kernel has no memory, or no descriptors, just now
			time.Sleep(10 * time.Millisecond)
		default:
			if tell := s.hear(m); tell != nil {
				tell()
			}
		}
	}
}

// hearAll returns when all has been heard that was sent before, for then the listener closes what has come with this (sd_notify_barrier(3)).
func (s *supervisor) hearAll() {
	socket, err := sdnotify.Dial(s.server.Address)
	if err != nil {
		return
	}
	defer socket.Close()
	heard, barrier, err := os.Pipe()
	if err != nil {
		return
	}
	defer heard.Close()
	err = socket.SendFiles([]*os.File{barrier}, "BARRIER=1")
	barrier.Close()
	if err == nil && heard.SetReadDeadline(time.Now().Add(workerMargin)) == nil {
		_, _ = heard.Read(make([]byte, 1))
	}
}

// hear takes one message. Only the worker's count, and not those of what it has started. It returns how to tell what is new, nil if there is nothing.
func (s *supervisor) hear(m sdnotify.Message) (tell func()) {
	defer func() { m.Close() }()
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.worker.Load()
	if w == nil || m.PID != w.PID || w.hasEnded() {
		return nil
	}
	first := !w.speaks
	w.speaks = true
	var now *Status
	if text, ok := m.Value("X_LIFECYCLE_STATE"); ok && json.Unmarshal([]byte(text), &now) == nil {
		w.state = now
	}
	if text, ok := m.Value("X_LIFECYCLE_FAILURE"); ok {
		_ = json.Unmarshal([]byte(text), &w.failed)
	}
	refusal, _ := m.Value("X_LIFECYCLE_ERROR")
	_, isReady := m.Value("READY")
	_, isReloading := m.Value("RELOADING")
	_, isStopping := m.Value("STOPPING")
	wasReloading, wasReady := w.phase == Reloading, w.isReady()
	switch ends := w.asked || w.phase == Stopping; {
	case isStopping && !ends:
		w.phase = Stopping
		w.mustBeDoneIn(s.of.wholeStop() + workerMargin)
		s.awaits.ends(errStopsInstead)
	case isReloading && wasReady && !ends:
		w.phase = Reloading
		s.awaits.begins(m)
	case isReady && !ends:
		w.becomesReady()
	case refusal != "" && !isReady:
		w.error = refusal
	}
	if usec, ok := m.Value("EXTEND_TIMEOUT_USEC"); ok {
		w.extend(usec)
	}
	switch sign, _ := m.Value("WATCHDOG"); {
	case sign == "1" && w.watch != nil:
		w.watchIt()
	case sign == "trigger":
		w.abort(errTriggered)
	}
	m.Files = s.keep(m)

	var verdict *Verdict
	if wasReloading && w.phase == Ready {
		verdict = w.verdict(refusal)
		if s.awaits.ends(w.reloadError(verdict)) {
			verdict = nil // its reload tells
		}
	}
	s.awaits.reopened(now)
	text, hasText := m.Value("STATUS")
	if now != nil {
		text, hasText = now.Text, true
	}
	if !hasText && verdict == nil && wasReady == w.isReady() && !first {
		return nil
	}
	return func() {
		w.tellUp(func(st *Status) {
			if hasText {
				st.Text = text
			}
			if now != nil {
				st.Doing = now.Doing
			}
			if verdict != nil {
				st.Reloads++
				st.LastReload = verdict
			}
		})
	}
}

// verdict is that of a reload that has ended. supervisor.mu is held.
func (w *workerProcess) verdict(refusal string) *Verdict {
	if w.state != nil && w.state.LastReload != nil {
		return w.state.LastReload
	}
	return &Verdict{At: time.Now(), Error: refusal}
}

func (w *workerProcess) reloadError(v *Verdict) error {
	if v.Error == "" {
		return nil
	}
	return &reloadError{cause: v.Err(), applied: v.Applied}
}

// awaited is what a parent waits for that has sent a signal on. A nil one is nothing. supervisor.mu guards it.
type awaited struct {
	worker *workerProcess
	signal os.Signal
	asked  time.Duration // CLOCK_MONOTONIC
	begun  chan struct{} // closed when the worker has begun with it
	result chan error
}

// begins notes that a reload begins that may be the one that is waited for.
func (a *awaited) begins(m sdnotify.Message) {
	if a == nil || a.signal != syscall.SIGHUP || a.hasBegun() {
		return
	}
	if usec, ok := m.Value("MONOTONIC_USEC"); ok {
		began, err := strconv.ParseInt(usec, 10, 64)
		if err != nil || began < a.asked.Microseconds() {
			return
		}
	}
	close(a.begun)
}

func (a *awaited) hasBegun() bool {
	select {
	case <-a.begun:
		return true
	default:
		return false
	}
}

// ends is the end of the reload that is under way, and says whether it was waited for.
func (a *awaited) ends(verdict error) bool {
	if a == nil || a.signal != syscall.SIGHUP || !a.hasBegun() && !errors.Is(verdict, errStopsInstead) {
		return false
	}
	a.decide(verdict)
	return true
}

func (a *awaited) reopened(now *Status) {
	if a != nil && a.signal == ossignal.User1 && now != nil && now.LastReopen != nil && now.LastReopen.Began >= a.asked {
		a.decide(now.LastReopen.Err())
	}
}

// disappoint ends the wait because the worker has ended.
func (a *awaited) disappoint(w *workerProcess) {
	if a != nil && a.worker == w {
		a.decide(fmt.Errorf("%w: %s", errEndedMeanwhile, howEnded(w.how)))
	}
}

var errEndedMeanwhile = errors.New("the worker ended meanwhile")

func (a *awaited) decide(result error) {
	select {
	case a.result <- result:
	default: // it is decided
	}
}

// reload sends a HUP on to the worker and returns its verdict. It is the OnReload of the parent.
func (s *supervisor) reload(ctx context.Context) error {
	if w := s.worker.Load(); w != nil { // one that is being started may have read what it was before
		select {
		case <-w.ready:
		case <-w.gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	a, err := s.tellWorker(syscall.SIGHUP)
	if err != nil {
		return err
	}
	defer s.awaitNoMore()
	if s.of.program != nil { // which may not say that it reloads, and then it need not say that it has
		timer := time.NewTimer(s.of.policy.Settle)
		defer timer.Stop()
		select {
		case <-a.begun:
		case <-timer.C:
			return nil
		case err := <-a.result:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case err := <-a.result:
		var failed *reloadError
		if errors.As(err, &failed) {
			return ofWorker(err)
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reopenWorker has the worker reopen its log, and waits until it has.
func (s *supervisor) reopenWorker() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	if w := s.worker.Load(); w != nil && !w.isReady() {
		w.stale = true
	}
	s.mu.Unlock()
	a, err := s.tellWorker(ossignal.User1)
	if err != nil || s.of.program != nil {
		return nil // there is no worker that has the old one, or it cares for no log
	}
	defer s.awaitNoMore()
	timer := time.NewTimer(s.of.reloadTimeout)
	defer timer.Stop()
	select {
	case err := <-a.result:
		if errors.Is(err, errEndedMeanwhile) {
			return nil // and the next one has the new one
		}
		return err
	case <-timer.C:
		return errors.New("the worker has not reopened it in " + limitText(s.of.reloadTimeout))
	case <-s.life.asked.Done():
		return context.Cause(s.life.asked)
	}
}

// tellWorker sends a signal on to a worker that is ready, and returns what can be waited for.
func (s *supervisor) tellWorker(sig os.Signal) (*awaited, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.worker.Load()
	if w == nil || w.asked || w.phase == Stopping {
		return nil, errNoWorker
	}
	a := &awaited{worker: w, signal: sig, asked: monotonic.Now(), begun: make(chan struct{}), result: make(chan error, 1)}
	if err := s.forward(sig); err != nil {
		return nil, err
	}
	s.awaits = a
	return a, nil
}

func (s *supervisor) awaitNoMore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaits = nil
}
