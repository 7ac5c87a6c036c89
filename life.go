package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/lifecycle/internal/engine"
	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/handoff"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/logrole"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/statefile"
	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/readyfd"
)

// life is one life, from the first signal handler to the release of the PID file.
//
// One goroutine executes run, so hooks never run concurrently. Every event enters through the
// method on, from any goroutine. on records the action and never blocks.
type life struct {
	plan  *plan
	mode  mode
	log   *slog.Logger
	lock  *pidfile.Lock
	began time.Time

	launcher    *handshake.Launcher // nil: no launcher waits for this process
	manager     *manager            // nil: no service manager waits for this process
	credentials *credentials        // the user of the life after OnStart; nil: unchanged
	logs        logPaths            // of a process in the background
	outsideRoot []string            // logs outside the new root directory: they cannot be reopened

	marks      workerMarks
	onStopping func(reason error) // shows the stop on a terminal; nil: no terminal
	readyFD    *readyfd.Descriptor
	signals    signalWatch
	onUpgrade  func(*Upgrade) error // replaces the program; nil: this life cannot do that

	handoff *handoff.Handoff // of the program that ran in this process before; nil: none
	resumed *resumption      // the life of that program

	values      context.Context // parent of all contexts of the life; never ends
	stopCtx     context.Context // ends with the stop request; its cause is the reason
	requestStop context.CancelCauseFunc
	ctx         context.Context // of fn and Every; ends StopDelay after stopCtx
	cancel      context.CancelCauseFunc
	cancelStart context.CancelCauseFunc // ends the context of the running OnStart; nil: none runs
	graceCtx    context.Context         // see Life.Grace
	cancelGrace context.CancelCauseFunc
	done        chan struct{} // closed when the life is over

	started         []*component // in order
	bodies          []*body
	abandonedReload error // the error of an abandoned OnReload
	state           *statefile.File
	readyCh         chan struct{} // closed when the life is ready

	loggedStopping bool
	reported       atomic.Pointer[error] // the error that was logged already; nil: none

	mu              sync.Mutex
	status          Status        // holds the phase
	seq             int           // number of the last state that was published
	stopRequestedAt time.Time     // when the stop was requested
	replaced        bool          // another worker has replaced this one
	timers          []*time.Timer // of a stop
	firstStopSignal time.Time     // when the first stop signal arrived
	pending         []job
	reloadWaiters   []chan<- error // wait for the verdict of the next reload
	liveBodies      int            // bodies that have not returned
	wake            chan struct{}  // receives a value when pending may hold a job
}

// job is an action that a signal requested. The goroutine of run executes it.
type job struct {
	action action
	signal os.Signal // for callHook
}

// running is the only Run of this process that is not embedded. It is package state because signals
// and POSIX locks belong to the whole process.
var running atomic.Pointer[life]

// lifeOf returns a life that has not begun.
func lifeOf(p *plan) *life {
	l := &life{plan: p, log: p.logger, done: make(chan struct{}), readyCh: make(chan struct{}), wake: make(chan struct{}, 1)}
	l.values = context.WithValue(context.WithoutCancel(p.base), engine.Key{}, l)
	l.stopCtx, l.requestStop = context.WithCancelCause(l.values)
	l.ctx, l.cancel = context.WithCancelCause(l.values)
	l.graceCtx, l.cancelGrace = context.WithCancelCause(l.values)
	return l
}

// run executes the life.
func (l *life) run() error {
	err := l.live()
	refused := errors.Is(err, ErrAlreadyRunning)                // the life has not begun
	if err != nil && !refused && l.snapshot().Phase != Exited { // stop has logged any other error
		l.logFailure("", "", err)
	}
	return err
}

// live installs the signal handlers before it writes the PID, because a caller may send TERM as
// soon as it can read the PID.
func (l *life) live() (err error) {
	l.began = time.Now()
	l.status = Status{Name: l.plan.name, Version: l.plan.version, PID: os.Getpid(), Supervised: l.mode.kind == modeSupervisor, Started: l.began, Since: l.began, Upgradable: l.onUpgrade != nil}
	if l.handoff != nil {
		l.beginAgain()
	}
	noPaths, early := l.findPaths(), error(nil)
	defer l.endGrace()
	if l.mode.isProcess() {
		if !running.CompareAndSwap(nil, l) {
			return &AlreadyRunningError{PID: os.Getpid(), PIDFile: l.plan.pidFile, here: true}
		}
		defer running.CompareAndSwap(l, nil)
		defer l.notifySignals()()
		l.log = cmp.Or(l.plan.journalLogger(), l.log)
		if role := l.mode.role(); role != "" {
			l.log = logrole.With(l.log, role)
		}
		l.findManager()
		if l.handoff == nil {
			l.findKeeper()
		}
		keepFromChildren(l.mode, l.log) // READY_FD must be taken before
		defer l.readyFD.Close()
		defer l.plan.keepOrigin(l.mode)()
		defer func() { l.manager.end(cmp.Or(err, l.returnedTooEarly())) }()
		fdstore.Begin(l.descriptors())
		defer func() { fdstore.End(func() bool { return l.isLast(err) }) }()
		if noPaths != nil {
			return noPaths
		}
		var unknown error
		l.credentials, unknown = l.plan.lookUpCredentials()
		early = errors.Join(l.attach(), unknown, l.plan.applyWorkDir(l.mode.background))
		if early != nil && l.handoff != nil { // the workers already serve
			l.log.Warn("the new program of the supervisor cannot do all that a start does", "err", trimPrefix(early))
			early = nil
		}
	}
	// A launcher itself records a failure before the lock.
	if l.mode.locks() && l.plan.pidFile != "" && (early == nil || l.launcher == nil) {
		defer l.leave()
		if err := cmp.Or(l.enterPIDFile(), early); err != nil {
			l.recordFailure(err)
			return err
		}
	}
	if early != nil {
		return early
	}
	l.warnOfCaller()
	baseEnded := func() { l.on(stopRequest, context.Cause(l.plan.base), nil) }
	defer context.AfterFunc(l.plan.base, baseEnded)()
	if l.plan.base.Err() != nil {
		baseEnded() // AfterFunc would call it in another goroutine, and that may run later
	}

	failure := l.start()
	if failure == nil {
		l.serve()
	}
	return l.stop(failure)
}

// on does what the dispatch table contains for the event e. It may be called from any goroutine and
// never blocks. why is the cause of a stop. sig is the signal if the event is a signal.
func (l *life) on(e event, why error, sig os.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch act := dispatch[l.status.Phase][e]; act {
	case drop:
	case stop:
		if e == stopSignal {
			l.firstStopSignal = time.Now()
		}
		l.beginStop(why)
	case forceQuit:
		if l.firstStopSignal.IsZero() {
			l.firstStopSignal = time.Now()
		} else if time.Since(l.firstStopSignal) > forceQuitAfter && l.mode.isProcess() {
			l.quit()
		}
	case reload, reopen, upgrade, callHook:
		if j := (job{act, sig}); !slices.Contains(l.pending, j) {
			l.pending = append(l.pending, j)
		}
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// beginStop ends the contexts in the order of the stop. The caller holds l.mu.
func (l *life) beginStop(why error) {
	wasReady := l.status.Phase != Starting
	l.stopRequestedAt = time.Now()
	l.replaced = errors.Is(why, ErrReplaced)
	l.status.Phase, l.status.Since = Stopping, l.stopRequestedAt
	l.status.stopLimit = l.wholeStop()
	l.status.StopBy = monotonic.Now() + l.status.stopLimit
	l.requestStop(why)
	if l.cancelStart != nil {
		l.cancelStart(why)
	}
	l.timers = append(l.timers, time.AfterFunc(time.Until(deadline(l.stopRequestedAt, l.stopTimeout())), l.expireGrace))
	if l.state != nil || l.manager != nil {
		// A hook may still run. The state must show the stop request at once, not when the hook returns.
		go l.publish()
	}
	if wasReady && l.plan.stopDelay > 0 && l.liveBodies > 0 && !l.replaced {
		l.timers = append(l.timers, time.AfterFunc(l.plan.stopDelay, func() { l.cancel(why) }))
		return
	}
	l.cancel(why)
}

// serve executes jobs until a stop is requested.
func (l *life) serve() {
	if !l.confirmReady() || !l.enter(Starting, Ready) && l.handoff == nil {
		return
	}
	close(l.readyCh)
	l.publish()
	tellReadyFD(l.log, l.readyFD)
	l.finishStart()
	if l.mode.isProcess() {
		fdstore.CloseUnclaimed(l.log)
	}
	if l.mode.kind != modeWorker && l.handoff == nil { // the supervisor logs it
		l.log.Info("ready", "pid", os.Getpid(), "took", time.Since(l.began).Round(time.Microsecond))
	}
	l.startPeriodic()
	for {
		for j, ok := l.next(); ok; j, ok = l.next() {
			l.handle(j)
			l.checkPIDFile()
		}
		select {
		case <-l.stopCtx.Done():
			return
		case <-l.wake:
		}
	}
}

// next takes the next job. It reports false if there is none or a stop was requested.
func (l *life) next() (j job, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.status.Phase == Stopping || len(l.pending) == 0 {
		return j, false
	}
	j, l.pending = l.pending[0], l.pending[1:]
	return j, true
}

// enter changes the phase, unless a stop was requested meanwhile. The caller publishes the phase.
func (l *life) enter(from, to Phase) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status.enter(from, to)
}

func (l *life) handle(j job) {
	switch j.action {
	case reload:
		if l.enter(Ready, Reloading) {
			l.publish() // a reload without hooks must be published too
			l.reload()
		}
	case reopen:
		l.reopen()
	case upgrade:
		l.upgrade()
	case callHook:
		l.callSignalHook(j.signal)
		l.publish() // shows that the hook no longer runs
	}
}
