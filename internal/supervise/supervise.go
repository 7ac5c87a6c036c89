// Package supervise keeps one worker alive: it starts the worker, watches it, passes signals on to it, starts it again
// when it has ended, and ends it. The worker is this program again or any other program, and speaks sd_notify(3) as to a
// service manager.
//
// The package knows no life, no verb and no option. A [Spec] says what to keep alive; what happens comes out as [Event]
// values.
//
// A worker is often less privileged than its supervisor, so it is not trusted: nothing that it says makes the supervisor
// resolve a path, wait without a limit or keep more than a bounded amount. The lock of the supervisor guards state only;
// what follows from a change (a signal, a close, a line in the log) happens after the lock is free.
package supervise

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/lifecycle/internal/cgroup"
	"example.com/lifecycle/internal/detach"
	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/reaper"
	"example.com/lifecycle/internal/sdnotify"
	"example.com/lifecycle/internal/worker"
)

// Spec says which worker to keep alive, and within which limits.
type Spec struct {
	Args       []string               // of the worker, its name first
	Program    func() (string, error) // finds the program; nil: the worker is this program again
	Note       func(first bool) any   // what a worker of this program is told as JSON
	Dir        func() string          // working directory, inside of the root directory of Become; "": that of this process
	Become     *worker.Credentials    // who another program becomes; nil: as this process
	Umask      int                    // of another program; -1: that of this process
	NoTerminal bool                   // the worker changes its user

	Policy        Policy
	StartTimeout  time.Duration // as an error names it
	StartLimit    time.Duration // from the start of the worker until it is ready
	StopTimeout   time.Duration // of the worker, with its grace
	ReloadTimeout time.Duration // for a log that the worker reopens
	Watchdog      time.Duration // the longest time without a sign of life; 0: none is expected

	Listen   func() (*sdnotify.Server, error)
	Stored   []fdstore.Entry // what every worker is given
	Previous int             // PID of the worker of a supervisor that was killed; 0: there was none
	Daemon   string          // what only this daemon and its successors are called; "": it has no name

	Log    *slog.Logger
	On     func(Event)                  // called for one event after the other
	Tail   func() (since func() string) // since returns what was written to the log since the call of Tail
	Decode func(json.RawMessage) error  // the error for which a worker says that it ends
	Text   func(error) string           // an error as people read it
}

// Margins beyond what a worker takes by its own options.
const (
	WorkerMargin  = time.Second // to execute, to come to Run, and to end
	OrphansMargin = time.Second // for what a worker has left to end after TERM
	// LostWorker is how long a worker lives at most after its supervisor was killed.
	LostWorker = 900 * time.Millisecond
)

// Supervisor keeps one worker alive. Its methods may be called from any goroutine, but Start, Run and Close once and in
// this order.
type Supervisor struct {
	spec   Spec
	server *sdnotify.Server
	tree   *cgroup.Tree // nil: the control group of this process must not be divided
	idle   func()       // undoes open
	last   atomic.Pointer[process]

	orphans orphans
	forking sync.Mutex // held while a worker is started, until it is known

	mu       stateLock
	stops    bool // no worker is started any more
	backoff  backoff
	executed int // how many workers have executed their program
	store    store
	pending  *pendingReply // what Reload or Reopen waits for; nil: nothing

	delivering sync.Mutex
	events     []Event // not delivered yet; mu guards it
}

// New returns a supervisor that does nothing yet.
func New(spec Spec) *Supervisor {
	return &Supervisor{spec: spec, backoff: backoff{policy: spec.Policy}}
}

// Start starts the first worker and blocks until it is ready. If the worker fails or ctx ends, nothing is left of it.
func (s *Supervisor) Start(ctx context.Context) error {
	if err := s.open(); err != nil {
		return err
	}
	s.awaitPrevious(ctx)
	s.endPrevious(ctx)
	p, err := s.startWorker(ctx)
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
			err = s.whyNotReady(p, s.endOrphans())
		}
	}
	s.Close()
	return err
}

// open prepares what the supervisor needs for any worker.
func (s *Supervisor) open() error {
	if err := s.store.fill(s.spec.Stored); err != nil {
		return err
	}
	server, err := s.spec.Listen()
	if err != nil {
		return fmt.Errorf("cannot supervise: %w", err)
	}
	s.server = server
	if s.tree, err = cgroup.Own(); err != nil {
		s.spec.Log.Debug("workers have no control group of their own", "why", err)
	}
	releaseOrphans := detach.AdoptOrphans()
	stopReaping := reapOrphans()
	s.idle = sync.OnceFunc(func() {
		server.Close()
		stopReaping()
		releaseOrphans()
		s.tree.Abandoned("") // the group of a worker may have had a process that ended late
		s.tree.Close()
	})
	go server.Serve(s.isWorker, s.received)
	return nil
}

// awaitPrevious waits for the worker of a supervisor that was killed. That worker ends by itself and may still hold what
// the new one needs.
func (s *Supervisor) awaitPrevious(ctx context.Context) {
	if s.spec.Previous == 0 || s.spec.Previous == os.Getpid() {
		return
	}
	limited, cancel := context.WithTimeout(ctx, LostWorker+WorkerMargin)
	defer cancel()
	AwaitExit(limited, s.spec.Previous)
}

// Run keeps the worker alive until ctx ends, the worker has ended well, or the policy says to give up. After the end of
// ctx, Stop ends the worker, and Run returns what the worker came to, unless Stop has.
func (s *Supervisor) Run(ctx context.Context) error {
	p := s.last.Load()
	for {
		<-p.gone
		e := p.end()
		left := s.endOrphans()
		if ctx.Err() != nil {
			return p.result(e)
		}
		if left > 0 && e.Code == 0 && s.spec.Program != nil {
			e.Code, e.Error = 1, errForksAway.Error()
		}
		var err error
		if p, err = s.restartLoop(ctx, e); p == nil {
			return err
		}
	}
}

// restartLoop starts the worker that follows one that has ended so. It returns no worker where none is to follow.
func (s *Supervisor) restartLoop(ctx context.Context, e end) (*process, error) {
	for {
		delay, again, err := s.workerExited(e)
		if !again || !pause(ctx, delay) {
			return nil, err
		}
		p, err := s.startWorker(ctx)
		switch {
		case err == nil:
			return p, nil
		case errors.Is(err, ErrStopping), ctx.Err() != nil:
			return nil, nil
		}
		e = end{at: time.Now(), Exit: Exit{At: time.Now(), Code: 1, Error: s.spec.Text(err)}}
	}
}

// workerExited records the exit and decides whether and when to restart.
func (s *Supervisor) workerExited(e end) (delay time.Duration, again bool, err error) {
	s.mu.Lock()
	delay, again, why := s.backoff.next(e)
	exited := Exited{Exit: e.Exit}
	if again {
		exited.Next, exited.Attempt, exited.Limit = time.Now().Add(delay), s.backoff.attempt, max(0, s.spec.Policy.Limit)
	}
	s.emit(exited)
	s.mu.Unlock()
	s.spec.Log.Warn("the worker has ended", "how", e.Text(), "worker", e.PID)
	s.deliver()
	switch {
	case again:
		s.spec.Log.Info("the worker is started again", "in", delay.Round(time.Millisecond), "attempt", exited.Attempt)
		return delay, true, nil
	case e.Code == 0 && why == "":
		return 0, false, nil
	}
	gaveUp := &GaveUpError{Why: why, Exit: e.Exit, final: s.spec.Policy.isPermanent(e.Code)}
	s.spec.Log.Error("the worker is not started any more", "why", gaveUp.Error())
	s.mu.Lock()
	s.emit(GaveUp{Why: gaveUp.Error()})
	s.mu.Unlock()
	s.deliver()
	return 0, false, gaveUp
}

// pause waits and reports whether ctx has not ended meanwhile.
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

// Stop ends the worker for good and blocks until it has ended. It returns what the worker came to, unless Run has.
func (s *Supervisor) Stop() error {
	s.mu.Lock()
	s.stops = true
	s.mu.Unlock()
	s.awaitFork()
	p := s.last.Load()
	if p == nil || p.hasEnded() { // then its exit was recorded, or Run returns it
		return nil
	}
	p.Final() // before TERM, so that it removes its socket files
	s.mu.Lock()
	p.handle(stopRequested)
	s.mu.Unlock()
	<-p.gone
	s.endOrphans()
	return p.result(p.end())
}

// Kill ends the worker and what it has started at once. It blocks for a moment only.
func (s *Supervisor) Kill() {
	p := s.last.Load()
	if p != nil {
		_ = p.group.Kill(time.Now().Add(forceQuitMargin)) // which is enough, unless something has left it
	}
	if p != nil && p.Signal(syscall.SIGKILL) == nil {
		ctx, cancel := context.WithTimeout(context.Background(), forceQuitMargin)
		defer cancel()
		AwaitExit(ctx, p.PID) // until then its children are not ours
	}
	_ = reaper.Kill(time.Now().Add(forceQuitMargin))
	if p != nil {
		_ = p.group.Remove()
	}
}

// forceQuitMargin is how long Kill waits for the worker, and then for what it has started.
const forceQuitMargin = 75 * time.Millisecond

// Close ends what the last worker has left and frees what the supervisor holds. There must be no worker any more.
func (s *Supervisor) Close() {
	s.endOrphans()
	if s.idle != nil {
		s.idle()
	}
	s.closeStore()
}
