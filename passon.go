package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/monotonic"
	"example.com/lifecycle/internal/ossignal"
	"example.com/lifecycle/internal/proc"
	"example.com/lifecycle/internal/sdnotify"
)

// forward sends a signal on to the worker, which has its handlers when it is ready.
func (s *supervisor) forward(sig os.Signal) error {
	w := s.worker.Load()
	if w == nil || !w.isReady() || w.hasEnded() {
		return errNoWorker
	}
	return w.pass(sig)
}

// pass sends it a signal, unless it is a program that this would end.
func (w *workerProcess) pass(sig os.Signal) error {
	program := w.of.of.program
	caught := program == nil || proc.Catches(w.PID, sig)
	if err := w.Signal(syscall.Signal(0)); err != nil { // the PID may be that of another one now
		return err
	}
	if !caught {
		return fmt.Errorf("%s does not handle %s, which would end it", filepath.Base(program[0]), signalName(sig))
	}
	return w.Signal(sig)
}

// errNoWorker says why a signal was not sent on.
var errNoWorker = errors.New("there is no worker that is ready just now: it is about to be started again")

func signalName(sig os.Signal) string {
	if number, ok := sig.(syscall.Signal); ok {
		return ossignal.Name(number)
	}
	return sig.String()
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

func (a *awaited) hasBegun() bool { return isClosed(a.begun) }

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
		a.decide(fmt.Errorf("%w: %s", errEndedMeanwhile, handshake.ExitText(w.how)))
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
		return errors.New("the worker has not reopened it in " + console.FormatLimit(s.of.reloadTimeout))
	case <-s.life.asked.Done():
		return context.Cause(s.life.asked)
	}
}

// tellWorker sends a signal on to a worker that is ready, and returns what can be waited for.
func (s *supervisor) tellWorker(sig os.Signal) (*awaited, error) {
	a, err := s.begin(sig)
	if err != nil {
		return nil, err
	}
	if err := a.worker.pass(sig); err != nil {
		s.awaitNoMore()
		return nil, err
	}
	return a, nil
}

// begin begins to wait for what comes of a signal that is about to be sent.
func (s *supervisor) begin(sig os.Signal) (*awaited, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.worker.Load()
	if w == nil || !w.isReady() || w.hasEnded() || w.asked || w.phase == Stopping {
		return nil, errNoWorker
	}
	s.awaits = &awaited{worker: w, signal: sig, asked: monotonic.Now(), begun: make(chan struct{}), result: make(chan error, 1)}
	return s.awaits, nil
}

func (s *supervisor) awaitNoMore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaits = nil
}
