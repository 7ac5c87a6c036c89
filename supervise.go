package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/lifecycle/internal/detach"
	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/reaper"
	"example.com/lifecycle/internal/sdnotify"
)

// supervises says whether this process is to look after another one rather than to live the life itself.
func (c *config) supervises() bool {
	return c.policy != nil && (c.program != nil || c.policy.Foreground || InDaemon() || os.Getpid() == 1)
}

// supervisor is the parent of a worker, and all that it knows. Its own life is one like any other, of which the hooks start, reload and stop the worker and the body
// keeps it alive: so the PID file, the handshake, signals and the state are the same.
type supervisor struct {
	life   *life   // its own
	of     *config // what the worker lives by
	dir    string  // of the start: main still finds there what it was given by a relative path
	server *sdnotify.Server
	idle   func() // what undoes open
	before int    // the worker of a parent that was killed, 0 if there was none

	worker  atomic.Pointer[workerProcess] // the last one
	orphans orphans

	forking    sync.Mutex // held while a worker is started, until it is known
	mu         stateLock
	stopping   bool // no worker is to be started any more
	row        row
	restarts   int
	startedOne bool // a worker has executed its program
	store      []storedSocket
	warned     bool     // that something is not kept
	awaits     *awaited // what the reload or reopen that is under way waits for; nil: there is none
}

// byItself is the time that the life of a parent gives its hooks, which keep to times of their own: for a worker can ask for more (EXTEND_TIMEOUT_USEC).
const byItself = 1000 * time.Hour

// Beyond what a worker takes by its own options.
const (
	workerMargin  = time.Second // a worker has this to execute, to come to Run, and to end
	orphansMargin = time.Second // what it has left has this to end after TERM
)

// becomeParent makes this life that of a parent.
func (l *life) becomeParent() {
	of := l.config
	s := &supervisor{life: l, of: of, row: row{policy: *of.policy}}
	s.dir, _ = os.Getwd()
	own := *of
	own.fn = s.keepAlive
	own.hooks = []Hooks{{Name: of.name, OnStart: s.startFirst, OnReload: s.reload, OnStop: s.stopWorker, OnExit: s.close}}
	own.readyWhen, own.every, own.watchdog, own.cleanErrors = nil, nil, watchdog{}, nil
	own.startTimeout, own.stopTimeout, own.stopDelay = byItself, byItself, 0
	own.reloadTimeout = of.reloadTimeout + grace(of.reloadTimeout) + workerMargin
	stop := of.wholeStop() + 2*workerMargin + 2*orphansMargin
	own.longest = &handshake.Limits{Start: of.startTimeout + grace(of.startTimeout) + workerMargin + stop, Stop: stop}
	own.signals = slices.Clone(of.signals)
	for i, h := range own.signals {
		if h.f != nil {
			own.signals[i].f = func(context.Context) error { return s.forward(h.signal) }
		}
	}
	l.config, l.parent = &own, s
	// It is to be small: the heap is to be collected when there is a quarter more, and not when it has grown to 4 MiB (runtime/debug).
	debug.SetGCPercent(25)
}

// open makes ready what the parent needs for any worker.
func (s *supervisor) open() error {
	if err := listenedTooEarly(); err != nil {
		return err
	}
	for _, given := range fdstore.TakeUnclaimed() {
		stored, err := newStored(given.Name, given.File)
		if err != nil {
			return err
		}
		s.store = append(s.store, stored)
	}
	server, err := s.life.listenForWorker()
	if err != nil {
		return fmt.Errorf("cannot supervise: %w", err)
	}
	s.server = server
	letOrphans := detach.AdoptOrphans()
	deafen := reapOrphans()
	s.idle = func() {
		server.Close()
		deafen()
		letOrphans()
	}
	go s.listen()
	return nil
}

// close is for the end, when there is no worker any more.
func (s *supervisor) close(context.Context) error {
	s.endOrphans()
	s.idle()
	s.closeAll()
	return nil
}

// startFirst starts the first worker, and is the OnStart of the parent: what is wrong with that is wrong with the start.
func (s *supervisor) startFirst(ctx context.Context) error {
	if err := s.open(); err != nil {
		return err
	}
	s.awaitLost(ctx)
	w, err := s.startWorker(ctx)
	if err == nil {
		select {
		case <-w.ready:
			return nil
		case <-w.gone:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			err = cmp.Or(s.endWorker(), context.Cause(ctx))
		} else {
			err = s.whyNotReady(w, s.endOrphans())
		}
	}
	_ = s.close(ctx)
	return ofWorker(err)
}

// awaitLost waits for the worker of a parent that was killed, which ends by itself: it may still have what the new one needs.
func (s *supervisor) awaitLost(ctx context.Context) {
	if s.before == 0 || s.before == os.Getpid() {
		return
	}
	limited, cancel := context.WithTimeout(ctx, lostWorker+workerMargin)
	defer cancel()
	awaitProcess(limited, s.before)
}

// keepAlive is the body of the parent.
func (s *supervisor) keepAlive(ctx context.Context) error {
	w := s.worker.Load()
	for {
		<-w.gone // also when it is to stop, for OnStop ends it
		e := w.end()
		left := s.endOrphans()
		if ctx.Err() != nil {
			return w.result(e)
		}
		if left > 0 && e.Code == 0 && s.of.program != nil {
			e.Code, e.Error = 1, errForksAway.Error()
		}
		var err error
		if w, err = s.follow(ctx, e); w == nil {
			return err
		}
	}
}

// follow starts the worker that follows one that has ended so. There is none where the life ends, be it with an error.
func (s *supervisor) follow(ctx context.Context, e end) (*workerProcess, error) {
	for {
		delay, again, err := s.mourn(e)
		if !again || !pauseFor(ctx, delay) {
			return nil, err
		}
		w, err := s.startWorker(ctx)
		switch {
		case err == nil:
			return w, nil
		case errors.Is(err, errStopsInstead), ctx.Err() != nil:
			return nil, nil
		}
		e = end{at: time.Now(), Exit: Exit{At: time.Now(), Code: 1, Error: plain(err)}}
	}
}

// mourn says that a worker has ended, and whether and when to start another one.
func (s *supervisor) mourn(e end) (delay time.Duration, again bool, err error) {
	s.mu.Lock()
	delay, again, why := s.row.next(e)
	attempt := s.row.attempt
	s.mu.Unlock()
	s.life.log.Warn("the worker has ended", "how", e.text(), "worker", e.PID)
	s.life.tell(func(st *Status) {
		st.Worker, st.LastExit, st.workerDown = 0, &e.Exit, true
		st.Doing, st.Text = "", ""
		if again {
			st.NextRestart, st.Attempt, st.AttemptLimit = time.Now().Add(delay), attempt, max(0, s.of.policy.Limit)
		}
	})
	if again {
		s.life.log.Info("the worker is started again", "in", delay.Round(time.Millisecond), "attempt", attempt)
		return delay, true, nil
	}
	return 0, false, s.giveUp(e, why)
}

// giveUp ends the life of the parent because its worker is not started again.
func (s *supervisor) giveUp(e end, why string) error {
	if e.Code == 0 && why == "" {
		return nil
	}
	err := fmt.Errorf("lifecycle: gave up: %s; last: %s", why, e.text())
	s.life.log.Error("the worker is not started any more", "why", plain(err))
	s.life.tell(func(st *Status) { st.GaveUp = plain(err) })
	if slices.Contains(s.of.policy.Permanent, e.Code) {
		err = WithExitCode(err, e.Code)
	}
	return err
}

// pauseFor says whether ctx has not ended meanwhile.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// stopWorker is the OnStop of the parent.
func (s *supervisor) stopWorker(context.Context) error { return ofWorker(s.endWorker()) }

// endWorker ends the worker for good, and returns what it has come to, unless keepAlive does.
func (s *supervisor) endWorker() error {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	s.awaitFork()
	w := s.worker.Load()
	if w != nil {
		w.Final() // so that it removes its socket files
		s.mu.Lock()
		w.ask(s.of.wholeStop()+workerMargin, nil)
		s.mu.Unlock()
	}
	if w == nil {
		return nil
	}
	<-w.gone
	if len(s.life.bodies) > 0 {
		return nil
	}
	s.endOrphans()
	return w.result(w.end())
}

// kill ends the worker and what it has started at once, for somebody insists.
func (s *supervisor) kill() {
	if s == nil {
		return
	}
	if w := s.worker.Load(); w != nil && w.Signal(syscall.SIGKILL) == nil {
		ctx, cancel := context.WithTimeout(context.Background(), killMargin)
		defer cancel()
		awaitProcess(ctx, w.PID) // until then what it has started is not ours
	}
	_ = reaper.Kill(time.Now().Add(killMargin))
}

// killMargin is how long kill waits for the worker, and then for what it has started.
const killMargin = 75 * time.Millisecond
