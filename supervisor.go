package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/sdnotify"
	"example.com/lifecycle/internal/supervise"
)

// supervises reports whether this process is to supervise a worker instead of living the life itself.
func (c *plan) supervises() bool {
	return c.policy != nil && (c.program != nil || c.policy.Foreground || InDaemon() || os.Getpid() == 1)
}

// supervisor is a process that supervises. Its own life is one like any other: the hooks start, reload and stop the
// worker, and the body keeps it alive. So PID file, handshake, signals and state are those of any life.
type supervisor struct {
	life     *life
	of       *plan  // what the worker lives by
	dir      string // of the start: main still finds there what it was given by a relative path
	previous int    // PID of the worker of a supervisor that was killed, 0 if there was none

	worker atomic.Pointer[supervise.Supervisor] // nil until the start
}

// noTimeout is the time that the life of a supervisor gives its hooks. They keep to limits of their own, since a worker
// can ask for more time (EXTEND_TIMEOUT_USEC).
const noTimeout = 1000 * time.Hour

// becomeParent makes this life that of a supervisor.
func (l *life) becomeParent() {
	of := l.plan
	s := &supervisor{life: l, of: of}
	s.dir, _ = os.Getwd()
	own := *of
	own.fn = func(ctx context.Context) error { return fromWorker(s.worker.Load().Run(ctx)) }
	own.hooks = []Hooks{{
		Name: of.name, OnStart: s.start,
		OnReload: func(ctx context.Context) error { return reloadOfWorker(s.worker.Load().Reload(ctx)) },
		OnStop:   func(context.Context) error { return ofWorker(fromWorker(s.worker.Load().Stop())) },
		OnExit:   func(context.Context) error { s.worker.Load().Close(); return nil },
	}}
	own.readyWhen, own.every, own.watchdog, own.cleanErrors = nil, nil, watchdog{}, nil
	own.startTimeout, own.stopTimeout, own.stopDelay = noTimeout, noTimeout, 0
	own.reloadTimeout = of.reloadTimeout + grace(of.reloadTimeout) + supervise.WorkerMargin
	stop := of.wholeStop() + 2*supervise.WorkerMargin + 2*supervise.OrphansMargin
	own.longest = &handshake.Limits{Start: of.startTimeout + grace(of.startTimeout) + supervise.WorkerMargin + stop, Stop: stop}
	own.signals = slices.Clone(of.signals)
	for i, h := range own.signals {
		if h.f != nil {
			own.signals[i].f = func(context.Context) error { return s.worker.Load().Forward(h.signal) }
		}
	}
	l.plan, l.parent = &own, s
	// A supervisor is to be small, so the heap is collected when it has grown by a quarter and not at 4 MiB
	// (runtime/debug).
	debug.SetGCPercent(25)
}

// start is the OnStart of a supervisor. What is wrong with the first worker is wrong with the start.
func (s *supervisor) start(ctx context.Context) error {
	if err := listenedTooEarly(); err != nil {
		return err
	}
	w := supervise.New(s.spec())
	s.worker.Store(w)
	return ofWorker(fromWorker(w.Start(ctx)))
}

func (s *supervisor) spec() supervise.Spec {
	of := s.of
	spec := supervise.Spec{
		Args: os.Args, Dir: s.workerDir, Umask: of.umask, NoTerminal: s.life.plan.changesUser(),
		Note: func(first bool) any { return workerNote{of.pidFile, InDaemon(), first} },

		Policy: supervise.Policy(*of.policy), Watchdog: 2 * of.watchdog.every,
		StartTimeout: of.startTimeout, StartLimit: of.startTimeout + grace(of.startTimeout) + supervise.WorkerMargin,
		StopTimeout: of.wholeStop(), ReloadTimeout: of.reloadTimeout,

		Listen: s.life.plan.listenForWorker, Stored: fdstore.TakeUnclaimed(), Previous: s.previous,
		Log: s.life.log, On: s.happened, Tail: s.tail, Decode: decodeFailure,
		Text: program{life: &life{plan: of}}.text,
	}
	if of.program != nil {
		spec.Args, spec.Program, spec.Become, spec.StartLimit = of.program, of.findProgram, s.life.plan.become(), of.startTimeout
	}
	return spec
}

// listenForWorker makes the socket at which the worker speaks. Nobody else can send to it, unless another program may
// leave its user or its root directory before it speaks: such a one would not find a private socket.
func (c *plan) listenForWorker() (*sdnotify.Server, error) {
	uid := os.Geteuid()
	switch {
	case c.program == nil: // it connects at once, and changes after that
	case c.chroot != "", c.credentials == nil && uid == 0:
		return sdnotify.Listen()
	case c.credentials != nil:
		uid = c.credentials.UID
	}
	server, err := sdnotify.ListenPrivate(uid)
	if err != nil { // there is no place for a file
		return sdnotify.Listen()
	}
	return server, nil
}

// workerDir returns the working directory of the next worker. That of the start may have been removed since.
func (s *supervisor) workerDir() string {
	dir := s.dir
	if s.of.program != nil {
		dir = s.programDir()
	}
	if info, err := os.Stat(dir); dir == s.dir && (err != nil || !info.IsDir()) {
		return ""
	}
	return dir
}

// tail returns what reads the log from now on.
func (s *supervisor) tail() (since func() string) {
	none := func() string { return "" }
	if !s.life.detached() {
		return none
	}
	logs, err := s.life.plan.openLogs()
	if err != nil {
		return none
	}
	logs.Close()
	return logs.Tail
}

// happened tells what happened to the worker.
func (s *supervisor) happened(e supervise.Event) {
	s.life.update(func(st *Status) {
		switch e := e.(type) {
		case supervise.Started:
			st.Worker, st.Restarts = e.PID, e.Restarts
			st.NextRestart, st.Attempt, st.AttemptLimit = time.Time{}, 0, 0
		case supervise.Exited:
			exit := Exit(e.Exit)
			st.Worker, st.LastExit, st.workerDown = 0, &exit, true
			st.Doing, st.Text = "", ""
			st.NextRestart, st.Attempt, st.AttemptLimit = e.Next, e.Attempt, e.Limit
		case supervise.GaveUp:
			st.GaveUp = e.Why
		case supervise.Said:
			st.workerDown = st.workerDown && !e.Up
			if e.Text != nil {
				st.Text = *e.Text
			}
			if e.Doing != nil {
				st.Doing = *e.Doing
			}
			if e.Reload != nil {
				st.Reloads++
				st.LastReload = verdictOf(e.Reload)
			}
		}
	})
}

// kill ends the worker and what it has started at once.
func (s *supervisor) kill() {
	if s == nil {
		return
	}
	if w := s.worker.Load(); w != nil {
		w.Kill()
	}
}

// reopen has the worker reopen its log.
func (s *supervisor) reopen() error {
	if s == nil {
		return nil
	}
	return s.worker.Load().Reopen(s.life.stopCtx)
}

// workerError is what a hook of a supervisor returns that has failed in the worker: the error does not name the hook.
type workerError struct{ error }

func ofWorker(err error) error {
	if err == nil {
		return nil
	}
	return workerError{err}
}

// fromWorker makes what the supervisor returned an error of this package.
func fromWorker(err error) error {
	var late *supervise.NotReadyError
	var killed *supervise.KilledError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &late):
		return &notReady{limit: late.Timeout}
	case errors.As(err, &killed):
		return fmt.Errorf("%w: %w", ErrStopTimeout, err)
	}
	return addPrefix(err)
}

// reloadOfWorker is fromWorker for a reload. The verdict of a worker is that of the supervisor.
func reloadOfWorker(err error) error {
	var refused *supervise.ReloadError
	switch {
	case errors.As(err, &refused):
		v := verdictOf(&refused.Reload)
		return ofWorker(&reloadError{cause: v.Err(), applied: v.Applied})
	case errors.Is(err, supervise.ErrStopping):
		return ofWorker(errStopsInstead)
	}
	return err
}

func verdictOf(r *supervise.Reload) *Verdict {
	v := new(Verdict)
	if r.Verdict == nil || json.Unmarshal(r.Verdict, v) != nil {
		return &Verdict{At: time.Now(), Error: r.Error}
	}
	return v
}
