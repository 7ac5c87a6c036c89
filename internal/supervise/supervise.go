// Package supervise keeps one worker running. It starts the worker, watches it, forwards signals to
// it, restarts it when it has ended, and ends it. The worker is a worker of this binary or a
// supervised program. The worker uses sd_notify(3) as under a service manager.
//
// An upgrade replaces the worker: the candidate, a worker of another program, starts beside the
// current worker. When it is ready, it becomes the current worker, and the old one drains. Then
// this process may execute the other program, which continues with all workers ([Resume]).
//
// The package does not depend on package lifecycle. A [Spec] describes the worker. [Event] values
// report what happens.
//
// A worker often has fewer privileges than its supervisor, so the supervisor does not trust it. No
// message of a worker makes the supervisor resolve a path, wait without a limit or keep an
// unlimited amount of data. Code that holds the lock of the supervisor only changes the state. The
// effects of a change (a signal, a close, a log line) follow when the lock is free.
package supervise

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/sys/cgroup"
	"example.com/lifecycle/internal/sys/detach"
	"example.com/lifecycle/internal/sys/sdnotify"
	"example.com/lifecycle/internal/sys/worker"
)

// Spec describes the worker and its limits.
type Spec struct {
	Args       []string               // of the worker, with its name first
	Program    func() (string, error) // returns the path of the supervised program; nil: this binary
	Note       func(first bool) any   // note for a worker of this binary, sent as JSON
	Dir        func() string          // working directory inside the root of Become; "": unchanged
	Become     *worker.Credentials    // of a supervised program; nil: unchanged
	Umask      int                    // of a supervised program; -1: unchanged
	NoTerminal bool                   // the worker changes its user

	Policy        Policy
	StartTimeout  time.Duration // only for the text of an error
	StartLimit    time.Duration // from the start of the worker until it is ready
	StopTimeout   time.Duration // of the worker, including its grace
	ReloadTimeout time.Duration // for a log that the worker reopens
	Watchdog      time.Duration // longest time without a watchdog ping; 0: not watched

	Listen     func() (*sdnotify.Server, error)
	Stored     []fdstore.Entry // descriptors for every worker
	Previous   Alive           // the workers of a killed supervisor
	OwnSession bool            // the session of this process contains only this daemon
	Daemon     string          // name shared only by this daemon and its successors; "": none

	// Ready checks a supervised program that has sent READY=1 or has lived for Settle. A nil error
	// means that the program is ready. final means that it cannot become ready. If Ready is nil, the
	// program is ready without this check.
	Ready func(ctx context.Context) (final bool, err error)

	Log    *slog.Logger
	On     func(Event)                  // receives the events, one call at a time
	Tail   func() (since func() string) // since returns the text logged after the call of Tail
	Decode func(json.RawMessage) error  // returns the error in X_LIFECYCLE_FAILURE
	Text   func(error) string           // returns the text of an error for the log
}

// These margins are added to the time limits that the options set for a worker.
const (
	WorkerMargin  = time.Second // to execute, to reach Run, and to end
	OrphansMargin = time.Second // for orphans to end after TERM
	// LostWorker is how long a worker may live after its supervisor was killed.
	LostWorker = 900 * time.Millisecond
)

// Supervisor keeps one worker running. Its methods are safe for concurrent use, but Start, Run and
// Close must be called once each, in this order.
type Supervisor struct {
	spec   Spec
	server *sdnotify.Server
	tree   *cgroup.Tree            // nil: the control group of this process cannot be divided
	idle   func()                  // undoes open
	last   atomic.Pointer[process] // the current worker

	forking sync.Mutex // held while a worker starts, until fork has recorded it

	marks  sync.Mutex // guards marked and process.marked; may be locked with mu held
	marked []*process // workers with a mark

	mu       stateLock
	stops    bool       // no further worker starts
	others   []*process // the candidate, and replaced workers that have not ended, the oldest first
	path     string     // of the program of the next worker; "": this binary
	upgrade  upgrading
	op       *operation // the upgrade in progress; nil: none
	starting bool       // Run starts a worker, and fork has not recorded it yet
	next     time.Time  // when Run starts the next worker; zero: it does not wait
	backoff  backoff
	executed int // number of workers that have executed their program
	store    store
	pending  *pendingReply // reply for which Reload or Reopen waits; nil: none
	atOnce   chan struct{} // receives a value when the next worker must not wait

	delivering sync.Mutex
	events     []Event // not delivered yet; mu guards it
}

// New returns a supervisor that has not been started.
func New(spec Spec) *Supervisor {
	s := &Supervisor{spec: spec, backoff: backoff{policy: spec.Policy}, atOnce: make(chan struct{}, 1)}
	s.upgrade.host = s
	return s
}

// Start starts the first worker and blocks until it is ready. If Start returns an error, the worker
// has ended, or the error reports that Start could not end it.
func (s *Supervisor) Start(ctx context.Context) error {
	if err := s.open(); err != nil {
		return err
	}
	if err := s.endPrevious(ctx); err != nil {
		s.Close()
		return err
	}
	p, err := s.startWorker(ctx, nil)
	if err == nil {
		select {
		case <-p.ready:
			return nil
		case <-p.gone:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			err = cmp.Or(s.Stop(), context.Cause(ctx))
		} else {
			logged := p.since() // before the supervisor logs what it ends
			err = s.whyNotReady(p, logged, s.endOrphans(p))
		}
	}
	s.Close()
	return err
}

// open prepares the resources that all workers need.
func (s *Supervisor) open() error {
	s.store.all = slices.Clone(s.spec.Stored)
	server, err := s.spec.Listen()
	if err != nil {
		return fmt.Errorf("cannot supervise: %w", err)
	}
	s.server = server
	s.ownTree()
	s.serve()
	return nil
}

func (s *Supervisor) ownTree() {
	var err error
	if s.tree, err = cgroup.Own(); err != nil {
		s.spec.Log.Debug("cannot create control groups for the workers", "why", err)
	}
}

// serve adopts orphans and handles the messages of workers, until idle is called.
func (s *Supervisor) serve() {
	releaseOrphans := detach.AdoptOrphans()
	stopReaping := reapOrphans(s.reportSuspension)
	s.idle = sync.OnceFunc(func() {
		s.server.Close()
		stopReaping()
		releaseOrphans()
		s.tree.Abandoned("") // removes groups whose processes ended late
		s.tree.Close()
	})
	go s.server.Serve(s.isWorker, s.received)
}

// Run restarts the worker until ctx ends, the worker has ended cleanly, or the policy permits no
// further restart. After ctx has ended, the caller ends the worker with Stop. Run then returns the
// result of the worker, unless Stop has already returned it.
func (s *Supervisor) Run(ctx context.Context) error {
	p := s.last.Load()
	if !s.next.IsZero() { // see Resume
		next, failed, err := s.startAfter(ctx, p, time.Until(s.next))
		if err == nil && failed != nil {
			next, err = s.restartLoop(ctx, next, failed, 0)
		}
		if p = next; p == nil {
			return err
		}
	}
	for {
		select {
		case <-p.gone:
		case <-p.replaced:
		}
		if isClosed(p.replaced) {
			p = s.last.Load()
			continue
		}
		e := p.end()
		if ctx.Err() != nil { // Stop or Close ends the orphans
			return p.result(e)
		}
		left := s.endOrphans(p)
		if !isClosed(p.ended) && p.awaitEnded(ctx) {
			e = p.end()
			s.endOrphans(p)
		}
		if ctx.Err() != nil {
			return p.result(e)
		}
		if left > 0 && e.Code == 0 && !e.asked && s.spec.Program != nil {
			e.Code, e.Error = 1, forksAway
		}
		var err error
		if p, err = s.restartLoop(ctx, p, &e, left); p == nil {
			return err
		}
	}
}

// pause waits until d has passed or ctx ends. It returns false if ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
