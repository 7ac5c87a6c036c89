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

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/engine"
	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/monotonic"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/readyfd"
	"example.com/lifecycle/internal/statefile"
)

// life is one life from the first signal handler to the release of the PID file.
//
// Its course, in run, is one goroutine's: so hooks never run beside each other. Everything that can happen to it, from
// whatever goroutine, comes in by on, which notes what is to be done and never blocks.
type life struct {
	plan  *plan
	mode  mode
	log   *slog.Logger
	lock  *pidfile.Lock
	began time.Time

	launcher    *handshake.Launcher // nil: nobody has detached this process
	manager     *manager            // nil: nobody waits for word of it
	credentials *credentials        // that it takes on after OnStart; nil: those of the process
	logs        logPaths            // of a process in the background
	outsideRoot []string            // logs that cannot be opened from inside of its root directory

	previousWorker int                // PID of the worker of a supervisor that was killed; 0: there was none
	onStopping     func(reason error) // tells a person, besides the log; nil: nothing
	readyFD        *readyfd.Descriptor

	values      context.Context // never ends; of it are all that the life hands out
	stopCtx     context.Context // ends as soon as a stop is asked for; the cause says why
	requestStop context.CancelCauseFunc
	ctx         context.Context // of the bodies and of OnStart: ends when they are to return, later than asked by StopDelay
	cancel      context.CancelCauseFunc
	graceCtx    context.Context // see Life.Grace
	cancelGrace context.CancelCauseFunc
	done        chan struct{} // closed when the life is over

	started         []*Hooks // the components that were started, in order
	bodies          []*body
	abandonedReload error // of an OnReload that was abandoned
	state           *statefile.File
	readyCh         chan struct{} // closed when it is ready

	loggedStopping bool

	mu              sync.Mutex
	status          Status        // what it says about itself, its phase first of all
	seq             int           // of what is written to the state file
	stopRequestedAt time.Time     // when the stop was asked for
	timers          []*time.Timer // of a stop
	firstStopSignal time.Time     // when the first stop signal came
	pending         []job
	reloadWaiters   []chan<- error // they wait for the verdict of the next reload
	liveBodies      int            // bodies that have not returned
	wake            chan struct{}  // there may be something pending
}

// job is what a signal asked for, to be done once by the course of the life.
type job struct {
	action action
	signal os.Signal // of callHook
}

// running is the one Run of this process that is not embedded. It is package state because signals and POSIX locks belong
// to the process as well.
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

// run is the course of the life. Handlers first, PID second: a TERM sent the moment the PID can be read must find them.
func (l *life) run() (err error) {
	l.began = time.Now()
	l.status = Status{Name: l.plan.name, Version: l.plan.version, PID: os.Getpid(), Supervised: l.mode.kind == modeSupervisor, Started: l.began, Since: l.began}
	if l.mode.background {
		l.logs = l.plan.logPaths()
		l.status.LogFile = cmp.Or(l.logs.stderr, l.logs.stdout)
	}
	defer l.endGrace()
	if l.mode.isProcess() {
		if !running.CompareAndSwap(nil, l) {
			return &AlreadyRunningError{PID: os.Getpid(), PIDFile: l.plan.pidFile, here: true}
		}
		defer running.CompareAndSwap(l, nil)
		defer l.notifySignals()()
		if log := l.plan.journalLogger(); log != nil {
			l.log = log
		}
		l.findManager()
		l.readyFD = takeReadyFD(l.log)
		defer l.readyFD.Close()
		defer func() { l.manager.end(err) }()
		fdstore.Begin(l.descriptors())
		defer func() { fdstore.End(func() bool { return l.isLast(err) }) }()
		var unknown error
		l.credentials, unknown = l.plan.lookUpCredentials()
		if err := errors.Join(l.attach(), unknown, l.applyWorkDir()); err != nil {
			return err
		}
	}
	if l.mode.locks() && l.plan.pidFile != "" {
		defer l.leave()
		if err := l.enterPIDFile(); err != nil {
			return err
		}
	}
	l.warnOfCaller()
	baseEnded := func() { l.on(stopRequest, context.Cause(l.plan.base), nil) }
	defer context.AfterFunc(l.plan.base, baseEnded)()
	if l.plan.base.Err() != nil {
		baseEnded() // now, and not as soon as its goroutine gets its turn
	}

	failure := l.start()
	if failure == nil {
		l.serve()
	}
	return l.stop(failure)
}

// expireGrace ends the context for work in hand because StopTimeout is over.
func (l *life) expireGrace() {
	l.cancelGrace(&timeoutError{is: ErrStopTimeout, text: "lifecycle: the stop did not end in " + console.FormatLimit(l.plan.stopTimeout)})
}

// endGrace ends the context for work in hand with the life.
func (l *life) endGrace() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, timer := range l.timers {
		timer.Stop()
	}
	l.cancelGrace(context.Canceled)
}

// on does to event what the table says. It may be called from any goroutine and never blocks. why is the cause of
// a stop, sig the signal where the event is one.
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
	case reload, reopen, callHook:
		if j := (job{act, sig}); !slices.Contains(l.pending, j) {
			l.pending = append(l.pending, j)
		}
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// beginStop ends the contexts in the order of the stop. l.mu is held.
func (l *life) beginStop(why error) {
	wasReady := l.status.Phase != Starting
	l.stopRequestedAt = time.Now()
	l.status.Phase, l.status.Since = Stopping, l.stopRequestedAt
	l.status.StopBy = monotonic.Now() + l.plan.wholeStop()
	l.requestStop(why)
	l.timers = append(l.timers, time.AfterFunc(time.Until(deadline(l.stopRequestedAt, l.plan.stopTimeout)), l.expireGrace))
	if l.state != nil || l.manager != nil {
		go l.publish() // the hook that runs may take its time, and who asked wants to know that it was heard
	}
	if wasReady && l.plan.stopDelay > 0 && l.liveBodies > 0 {
		l.timers = append(l.timers, time.AfterFunc(l.plan.stopDelay, func() { l.cancel(why) }))
		return
	}
	l.cancel(why)
}

// forceQuitAfter is how long after the first stop signal another one is a person who insists and not the same wish twice.
const forceQuitAfter = time.Second

// quit ends the process at once, for somebody insists. l.mu is held for good: nothing happens to this life any more.
func (l *life) quit() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if l.plan.onForceQuit != nil {
			l.plan.onForceQuit()
		}
		l.removeState()
		_, _ = l.lock.Release()
		l.log.Warn("another stop signal: quitting at once")
	}()
	select { // a disk that hangs may be why somebody insists
	case <-done:
	case <-time.After(200 * time.Millisecond):
	}
	l.plan.env.exit(1)
}

// serve does what signals ask for until a stop is asked for.
func (l *life) serve() {
	if !l.confirmReady() || !l.enter(Starting, Ready) {
		return
	}
	close(l.readyCh)
	l.publish()
	tellReadyFD(l.log, l.readyFD)
	l.finishStart()
	if l.mode.isProcess() {
		fdstore.CloseUnclaimed(l.log)
	}
	l.log.Info("ready", "pid", os.Getpid(), "took", time.Since(l.began).Round(time.Microsecond))
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

// next takes the next job, if there is one and no stop was asked for.
func (l *life) next() (j job, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.status.Phase == Stopping || len(l.pending) == 0 {
		return j, false
	}
	j, l.pending = l.pending[0], l.pending[1:]
	return j, true
}

// enter goes from one phase to the next, unless a stop was asked for meanwhile. To say so is up to the caller.
func (l *life) enter(from, to Phase) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status.enter(from, to)
}

func (l *life) handle(j job) {
	switch j.action {
	case reload:
		if l.enter(Ready, Reloading) {
			l.publish() // where no hook does
			l.reload()
		}
	case reopen:
		l.reopen()
	case callHook:
		l.callSignalHook(j.signal)
		l.publish() // it runs no more
	}
}

// grace is what is left for stragglers when a budget is used up.
func grace(budget time.Duration) time.Duration { return min(budget/4, 5*time.Second) }
