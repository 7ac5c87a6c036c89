package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/ossignal"
	"example.com/lifecycle/internal/sys/proc"
	"example.com/lifecycle/internal/sys/sdnotify"
)

var (
	// ErrStopping reports that an operation is not possible because of a stop.
	ErrStopping = errors.New("the supervisor is stopping")
	errNoWorker = errors.New("no worker is ready: the supervisor is about to start one")
	// ErrEnded reports that the worker ended before it replied.
	ErrEnded = errors.New("the worker ended instead")
)

// Forward sends a signal to the worker. It returns an error if the worker is not ready, because the
// worker might not have installed its signal handlers.
func (s *Supervisor) Forward(sig os.Signal) error {
	p := s.last.Load()
	if p == nil || !isClosed(p.ready) || p.hasEnded() {
		return errNoWorker
	}
	return p.pass(sig)
}

// pass sends a signal to the worker. If a supervised program does not handle the signal, pass sends
// nothing and returns an error.
func (p *process) pass(sig os.Signal) error {
	handled := proc.Catches
	if p.of.spec.Program != nil {
		handled = proc.DispositionOf(p.PID, sig)
	}
	// If the worker has ended, handled may describe another process with the same PID.
	if err := p.Signal(syscall.Signal(0)); err != nil {
		return err
	}
	switch handled {
	case proc.Ignores:
		return fmt.Errorf("%s ignores %s", p.of.name(), ossignal.Text(sig))
	case proc.Default:
		return fmt.Errorf("%s does not handle %s, and the signal would end it", p.of.name(), ossignal.Text(sig))
	}
	return p.Signal(sig)
}

// name returns the name of the supervised program, for messages.
func (s *Supervisor) name() string { return filepath.Base(s.spec.Args[0]) }

// pendingReply is the reply for which Reload or Reopen waits. It is nil if neither waits.
// Supervisor.mu guards it.
type pendingReply struct {
	worker *process
	reload bool          // true: wait for a reload; false: for a reopened log
	asked  time.Duration // CLOCK_MONOTONIC
	begun  chan struct{} // closed when the worker begins to handle the signal
	result chan error
}

// of returns r if it waits for that worker, else nil.
func (r *pendingReply) of(p *process) *pendingReply {
	if r == nil || r.worker != p {
		return nil
	}
	return r
}

// begin records that a reload begins, if it is the reload for which Reload waits.
func (r *pendingReply) begin(m sdnotify.Message) {
	if r == nil || !r.reload || isClosed(r.begun) {
		return
	}
	if usec, ok := m.Value("MONOTONIC_USEC"); ok {
		began, err := strconv.ParseInt(usec, 10, 64)
		if err != nil || began < r.asked.Microseconds() {
			return
		}
	}
	close(r.begun)
}

// finish ends the wait of Reload, and reports whether Reload was waiting.
func (r *pendingReply) finish(result error) bool {
	if r == nil || !r.reload || !isClosed(r.begun) && !errors.Is(result, ErrStopping) {
		return false
	}
	r.decide(result)
	return true
}

// reopened ends the wait of Reopen if last is the verdict about that request.
func (r *pendingReply) reopened(last json.RawMessage) {
	var verdict struct {
		Began time.Duration `json:"began_monotonic_ns"`
		Error string        `json:"error"`
	}
	if r == nil || r.reload || json.Unmarshal(last, &verdict) != nil || verdict.Began < r.asked {
		return
	}
	if verdict.Error != "" {
		r.decide(errors.New(verdict.Error))
	} else {
		r.decide(nil)
	}
}

// fail ends the wait because the worker has ended.
func (r *pendingReply) fail(p *process) {
	if r != nil && r.worker == p {
		r.decide(fmt.Errorf("%w: %s", ErrEnded, handshake.ExitText(p.exit)))
	}
}

func (r *pendingReply) decide(result error) {
	select {
	case r.result <- result:
	default: // already decided
	}
}

// ReloadError is the verdict of a worker that rejected a reload.
type ReloadError struct{ Reload }

func (e *ReloadError) Error() string { return "the worker rejected the reload: " + e.Reload.Error }

// err returns the error of a failed reload, or nil.
func (r *Reload) err() error {
	failed := struct {
		Error string `json:"error"`
	}{r.Error}
	if r.Verdict != nil {
		failed.Error = ""
		_ = json.Unmarshal(r.Verdict, &failed)
	}
	if failed.Error == "" {
		return nil
	}
	return &ReloadError{*r}
}

// SilentError reports that a supervised program got the signal for a reload, but neither ended nor
// reported a reload within Settle.
type SilentError struct {
	Program string
	Signal  os.Signal
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("%s sent; %s does not report the result", ossignal.Text(e.Signal), e.Program)
}

// Reload sends HUP, or ReloadSignal, to the worker and blocks until the worker returns its verdict.
// The error is a *ReloadError if the worker rejected the reload, and a *SilentError if a supervised
// program reports nothing. If an upgrade replaces the worker meanwhile, the new worker is reloaded.
func (s *Supervisor) Reload(ctx context.Context) error {
	for {
		if err := s.reload(ctx); !errors.Is(err, errReplaced) {
			return err
		}
	}
}

func (s *Supervisor) reload(ctx context.Context) error {
	// Wait for a starting worker, because it may have read the old configuration already.
	if p := s.last.Load(); p != nil {
		select {
		case <-p.ready:
		case <-p.gone:
		case <-p.replaced:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	r, err := s.request(s.spec.Policy.ReloadSignal, true)
	if err != nil {
		return err
	}
	defer s.endRequest(r)
	// A supervised program may never report a reload. Reload then waits only for Settle.
	if s.spec.Program != nil {
		timer := time.NewTimer(s.spec.Policy.Settle)
		defer timer.Stop()
		select {
		case <-r.begun:
		case <-timer.C:
			return &SilentError{s.name(), s.spec.Policy.ReloadSignal}
		case err := <-r.result:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case err := <-r.result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Reopen makes the worker reopen its log and blocks until it has done so. If there is no worker,
// Reopen returns nil. A supervised program gets ReopenSignal, and Reopen does not wait for it.
func (s *Supervisor) Reopen(ctx context.Context) error {
	if s.spec.Policy.ReopenSignal == nil {
		return nil
	}
	s.mu.Lock()
	if p := s.last.Load(); p != nil && !isClosed(p.ready) {
		p.staleLog = true
	}
	s.mu.Unlock()
	r, err := s.request(s.spec.Policy.ReopenSignal, false)
	switch {
	case errors.Is(err, errNoWorker), err != nil && s.spec.Program == nil:
		return nil // no worker has the old log open
	case err != nil:
		return err
	}
	defer s.endRequest(r)
	if s.spec.Program != nil {
		return nil
	}
	timer := time.NewTimer(s.spec.ReloadTimeout)
	defer timer.Stop()
	select {
	case err := <-r.result:
		if errors.Is(err, ErrEnded) || errors.Is(err, errReplaced) {
			return nil // the next worker opens the new log
		}
		return err
	case <-timer.C:
		return errors.New("the worker did not reopen its log in " + console.FormatLimit(s.spec.ReloadTimeout))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// request sends a signal to a ready worker and returns the pending reply.
func (s *Supervisor) request(sig os.Signal, reload bool) (*pendingReply, error) {
	s.mu.Lock()
	p := s.last.Load()
	if p == nil || !p.isUp() {
		s.mu.Unlock()
		return nil, errNoWorker
	}
	r := &pendingReply{worker: p, reload: reload, asked: monotonic.Now(), begun: make(chan struct{}), result: make(chan error, 1)}
	s.pending = r
	s.mu.Unlock()
	if err := p.pass(sig); err != nil {
		s.endRequest(r)
		return nil, err
	}
	return r, nil
}

// endRequest ends the wait for r, unless another request has replaced it.
func (s *Supervisor) endRequest(r *pendingReply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == r {
		s.pending = nil
	}
}
