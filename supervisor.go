package lifecycle

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/sys/proc"
	"example.com/lifecycle/internal/sys/safefile"
	"example.com/lifecycle/internal/sys/sdnotify"
	"example.com/lifecycle/internal/sys/startup"
	"example.com/lifecycle/internal/sys/worker"
)

// supervisorLife is the life of a supervisor. Its hooks start, reload and stop the worker, and its
// body restarts the worker. PID file, handshake, signals and state work as in any other life.
type supervisorLife struct {
	life *life
	of   *plan  // the plan of the worker
	dir  string // working directory of the start, to which main's relative paths refer
	path string // of this program on disk, see startup.Program; "": unknown

	worker atomic.Pointer[supervise.Supervisor] // nil until the start
}

// superviseIn makes l the life of a supervisor.
func superviseIn(l *life) error {
	h, err := l.plan.takeHandoff()
	if err == nil && h != nil {
		err = l.resume(h)
	}
	if err != nil {
		return err
	}
	s := &supervisorLife{life: l, of: l.plan, dir: startup.Dir()}
	if h != nil {
		s.path = string(h.Program)
	} else {
		s.path, _ = startup.Program()
	}
	if l.plan.program == nil || !l.plan.handlesUser2() {
		l.onUpgrade = s.onUpgrade
	}
	l.marks.known = func(mark string) (supervise.Marked, bool) { return s.worker.Load().Known(mark) }
	l.plan = s.plan()
	// A supervisor needs a small heap more than speed. So collect when the heap has grown by a
	// quarter, not only at 4 MiB (runtime/debug).
	debug.SetGCPercent(25)
	return nil
}

// plan returns the plan of the supervisor. Its hooks enforce limits of their own, because a worker
// can request more time (EXTEND_TIMEOUT_USEC).
func (s *supervisorLife) plan() *plan {
	of := s.of
	stop := of.wholeStop() + 2*supervise.WorkerMargin + 2*supervise.OrphansMargin
	return &plan{
		identity:  of.identity,
		placement: of.placement,
		timeouts: timeouts{
			reloadTimeout: of.reloadTimeout + grace(of.reloadTimeout) + supervise.WorkerMargin,
			longest:       &handshake.Limits{Start: s.startLimit() + stop + supervise.EndLimit(of.wholeStop(), of.startTimeout), Stop: stop},
		},
		components: components{
			fn: func(ctx context.Context) error { return s.result(s.worker.Load().Run(ctx)) },
			hooks: append(s.checks(), Hooks{
				Name: of.name, OnStart: s.start,
				OnReload: func(ctx context.Context) error { return s.verdict(s.worker.Load().Reload(ctx)) },
				OnStop:   func(context.Context) error { return ofWorker(s.result(s.worker.Load().Stop())) },
				OnExit:   func(context.Context) error { s.worker.Load().Close(); return nil },
			}),
			signals: s.forwarded(),
			onReopen: func(ctx context.Context) error {
				if s.life.state.HasRequest() { // the verb restart requests a restart of the worker
					return ofWorker(fromWorker(s.worker.Load().Restart()))
				}
				return ofWorker(s.worker.Load().Reopen(ctx))
			},
			onForceQuit: s.kill,
			workerLogs:  of.program == nil,
		},
	}
}

// checks returns the components if a program is supervised. The supervisor calls their OnCheck,
// because the supervised program has none.
func (s *supervisorLife) checks() []Hooks {
	if s.of.program == nil {
		return nil
	}
	hooks := slices.Clone(s.of.hooks)
	for i := range hooks {
		hooks[i].OnCheck = unmasked(hooks[i].OnCheck)
	}
	return hooks
}

// programReady calls ReadyWhen for a supervised program.
func (s *supervisorLife) programReady(ctx context.Context) (final bool, err error) {
	err = <-spawn(ctx, "ReadyWhen of "+s.of.name, unmasked(s.of.readyWhen))
	return errors.As(err, new(*PanicError)), err
}

// startLimit returns how long a worker of this binary may take to become ready.
func (s *supervisorLife) startLimit() time.Duration {
	return s.of.startTimeout + grace(s.of.startTimeout) + supervise.WorkerMargin
}

// forwarded returns the entries of OnSignal. Their functions now forward the signal to the worker.
func (s *supervisorLife) forwarded() []signalHook {
	signals := slices.Clone(s.of.signals)
	for i, h := range signals {
		if h.f != nil {
			signals[i].f = func(context.Context) error { return s.worker.Load().Forward(h.signal) }
		}
	}
	return signals
}

// start is the OnStart of a supervisor. If the first worker fails, the start fails.
func (s *supervisorLife) start(ctx context.Context) error {
	if h := s.life.handoff; h != nil {
		return ofWorker(s.resume(h))
	}
	if err := listenedTooEarly(); err != nil {
		return err
	}
	if err := s.life.credentials.checkEndable(s.of.user); err != nil {
		return ofWorker(err)
	}
	w := supervise.New(s.spec())
	s.worker.Store(w)
	return ofWorker(s.result(w.Start(ctx)))
}

func (s *supervisorLife) spec() supervise.Spec {
	of := s.of
	spec := supervise.Spec{
		Args: startup.Args(), Daemon: safefile.ResolveDir(of.pidFile), Dir: s.workerDir, Umask: of.umask, NoTerminal: s.life.credentials.differs(),
		Note: func(first bool) any {
			return workerNote{[]byte(of.pidFile), InDaemon(), first, os.Getpid() == 1, of.program != nil}
		},

		Policy: supervise.Policy(*of.policy), Watchdog: 2 * of.watchdog.every,
		StartTimeout: of.startTimeout, StartLimit: s.startLimit(),
		StopTimeout: of.wholeStop(), ReloadTimeout: of.reloadTimeout,

		Listen: s.listenForWorker, Stored: fdstore.TakeUnclaimed(), Previous: s.life.marks.previous, OwnSession: s.life.mode.background,
		Log: s.life.log, On: s.happened, Tail: s.tail,
		Decode: func(text json.RawMessage) error { return &loggedError{decodeError(text)} },
		Text:   func(err error) string { return errorText(of.name, err) },
	}
	if of.program != nil {
		spec.Args, spec.Program, spec.Become, spec.StartLimit = of.program, of.findProgram, s.become(), of.startTimeout
		if of.readyWhen != nil {
			spec.Ready = s.programReady
		}
	}
	return spec
}

// listenForWorker makes the socket to which the worker sends its notifications. Other users cannot
// send to it, with two exceptions. A program that root starts may change its user before it sends.
// A program in another root directory cannot see a socket file.
func (s *supervisorLife) listenForWorker() (*sdnotify.Server, error) {
	uid := os.Geteuid()
	switch {
	case s.of.program == nil: // the worker connects before it changes its user or root directory
	case s.of.chroot != "":
		return sdnotify.Listen()
	case s.life.credentials == nil && uid == 0:
		uid = sdnotify.AnyUser
	case s.life.credentials != nil:
		uid = s.life.credentials.UID
	}
	server, err := sdnotify.ListenPrivate(uid)
	if err != nil { // there is no directory for a private socket
		return sdnotify.Listen()
	}
	return server, nil
}

// tail returns a function that returns the text written to the log since the call of tail.
func (s *supervisorLife) tail() (since func() string) {
	none := func() string { return "" }
	if !s.life.mode.background {
		return none
	}
	logs, err := s.life.openLogs()
	if err != nil {
		return none
	}
	logs.Close()
	return logs.Tail
}

// happened updates the status with an event of the worker.
func (s *supervisorLife) happened(e supervise.Event) {
	s.life.update(func(st *Status) {
		switch e := e.(type) {
		case supervise.Alone:
			st.setMarks(supervise.Alive{})
		case supervise.Forked:
			st.setMarks(e.Alive)
		case supervise.Living:
			st.setMarks(e.Alive)
		case supervise.Started:
			st.Worker, st.Restarts = e.PID, e.Restarts
			st.WorkerID = proc.Identity(e.PID)
			if s.of.program == nil {
				st.WorkerVersion = cmp.Or(st.WorkerVersion, s.of.version)
			}
			st.NextRestart, st.Attempt, st.AttemptLimit = time.Time{}, 0, 0
		case supervise.Exited:
			exit := Exit(e.Exit)
			st.Worker, st.WorkerID, st.Left, st.LastExit, st.workerDown = 0, "", "", &exit, true
			st.setMarks(e.Living)
			st.Doing, st.Text = "", ""
			st.NextRestart, st.Attempt, st.AttemptLimit = e.Next, e.Attempt, e.Limit
		case supervise.Stuck:
			st.Left, st.workerDown = e.Why, true
		case supervise.GaveUp:
			st.GaveUp = e.Why
		case supervise.Replaced, supervise.Draining, supervise.Drained:
			s.upgradeEvent(st, e)
		case supervise.Said:
			if e.PID != 0 {
				s.upgradeEvent(st, e)
				return
			}
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

// kill ends the worker and all processes that it started, at once.
func (s *supervisorLife) kill() {
	w := s.worker.Load()
	if w == nil {
		return
	}
	if err := w.Kill(); err != nil {
		s.life.log.Error("processes of the worker may still run", "err", err)
	}
}

// become returns the credentials of the supervised program, or nil if they do not change.
func (s *supervisorLife) become() *worker.Credentials {
	c := s.life.credentials
	if c == nil && s.of.chroot == "" {
		return nil
	}
	return &worker.Credentials{
		Identity: c.identity(), Root: s.of.chroot, Env: c.environment(), Unset: c.sessionVariables(),
	}
}

// workerDir returns the working directory of the next worker. It returns "" if the directory of the
// start no longer exists.
func (s *supervisorLife) workerDir() string {
	if s.of.program != nil {
		if dir := s.programDir(); dir != s.dir {
			return dir
		}
	}
	return s.startDir()
}

// programDir returns the working directory of the supervised program, as a path inside its root
// directory. "" means that root directory itself.
func (s *supervisorLife) programDir() string {
	if s.of.chroot == "" {
		return cmp.Or(s.of.workDir, s.dir)
	}
	return s.life.pathsFrom(s.of.chroot).workDir
}
