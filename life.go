package lifecycle

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Phase is where a life is in its course:
//
//	Starting → Ready ⇄ Reloading → Stopping → Exited
type Phase int

// The phases, in the order of a life.
const (
	Starting  Phase = iota // the components are being started
	Ready                  // all is started, and ReadyWhen satisfied
	Reloading              // OnCheck and OnReload run
	Stopping               // a stop was asked for, or the start failed
	Exited                 // the life is over
)

var phaseNames = [...]string{"starting", "ready", "reloading", "stopping", "exited"}

// String is the name in lower case.
func (p Phase) String() string {
	if p < 0 || int(p) >= len(phaseNames) {
		return "unknown"
	}
	return phaseNames[p]
}

// life is one life from the first signal handler to the release of the PID file.
//
// Its course, in run, is one goroutine's: so hooks never run beside each other. Everything that can happen to it, from
// whatever goroutine, comes in by on, which notes what is to be done and never blocks.
type life struct {
	*config
	log  *slog.Logger
	lock *pidLock
	born time.Time

	asked  context.Context // ends as soon as a stop is asked for; the cause says why
	ask    context.CancelCauseFunc
	ctx    context.Context // of the bodies and of OnStart: ends when they are to return, later than asked by StopDelay
	cancel context.CancelCauseFunc
	over   chan struct{} // closed when the life is over

	started []*Hooks // the components that were started, in order
	bodies  []*body
	stuck   error // of an OnReload that was abandoned
	ready   bool  // it has been

	saidStopping bool

	mu        sync.Mutex
	phase     Phase
	askedAt   time.Time // when the stop was asked for
	signalled time.Time // when the first stop signal came
	pending   []job
	alive     int           // bodies that have not returned
	wake      chan struct{} // there may be something pending
}

// job is what a signal asked for, to be done once by the course of the life.
type job struct {
	action action
	signal os.Signal // of callHook
}

func newLife(fn func(context.Context) error, opts []Option) (*life, error) {
	c, err := newConfig(fn, opts)
	if err != nil {
		return nil, err
	}
	l := &life{config: c, log: c.logger, over: make(chan struct{}), wake: make(chan struct{}, 1)}
	values := context.WithoutCancel(c.base)
	l.asked, l.ask = context.WithCancelCause(values)
	l.ctx, l.cancel = context.WithCancelCause(values)
	return l, nil
}

// run is the course of the life. Handlers first, PID second: a TERM sent the moment the PID can be read must find them.
func (l *life) run() error {
	l.born = time.Now()
	if !running.CompareAndSwap(nil, l) {
		return &AlreadyRunningError{PID: os.Getpid(), PIDFile: l.pidFile, here: true}
	}
	defer running.CompareAndSwap(l, nil)
	deafen := l.listen()
	defer deafen()

	if l.pidFile != "" {
		if err := l.takePIDFile(); err != nil {
			return err
		}
		defer l.lock.release()
	}
	baseEnded := func() { l.on(stopRequest, context.Cause(l.base), nil) }
	defer context.AfterFunc(l.base, baseEnded)()
	if l.base.Err() != nil {
		baseEnded() // now, and not as soon as its goroutine gets its turn
	}

	failure := l.start()
	if failure == nil {
		l.serve()
	}
	return l.stop(failure)
}

func (l *life) takePIDFile() error {
	looking.Lock()
	defer looking.Unlock()
	lock, err := lockPIDFile(l.pidFile, l.pidFileMode, l.log)
	l.mu.Lock() // somebody may insist already
	defer l.mu.Unlock()
	l.lock = lock
	return err
}

// on does to event what the table says. It may be called from any goroutine and never blocks. why is the cause of
// a stop, sig the signal where the event is one.
func (l *life) on(e event, why error, sig os.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch act := dispatch[l.phase][e]; act {
	case drop:
	case stop:
		if e == stopSignal {
			l.signalled = time.Now()
		}
		l.beginStop(why)
	case insist:
		if l.signalled.IsZero() {
			l.signalled = time.Now()
		} else if time.Since(l.signalled) > insistAfter {
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
	wasReady := l.phase != Starting
	l.phase = Stopping
	l.askedAt = time.Now()
	l.ask(why)
	if wasReady && l.stopDelay > 0 && l.alive > 0 {
		time.AfterFunc(l.stopDelay, func() { l.cancel(why) })
		return
	}
	l.cancel(why)
}

// insistAfter is how long after the first stop signal another one is a person who insists and not the same wish twice.
const insistAfter = time.Second

// quit ends the process at once, for somebody insists. l.mu is held for good: nothing happens to this life any more.
func (l *life) quit() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.lock.letGo()
		l.log.Warn("another stop signal: quitting at once")
	}()
	select { // a disk that hangs may be why somebody insists
	case <-done:
	case <-time.After(200 * time.Millisecond):
	}
	l.host.exit(1)
}

// serve does what signals ask for until a stop is asked for.
func (l *life) serve() {
	if !l.enter(Starting, Ready) {
		return
	}
	l.ready = true
	l.log.Info("ready", "pid", os.Getpid(), "took", time.Since(l.born).Round(time.Microsecond))
	l.startPeriodic()
	for {
		for j, ok := l.next(); ok; j, ok = l.next() {
			l.handle(j)
			l.lock.check()
		}
		select {
		case <-l.asked.Done():
			return
		case <-l.wake:
		}
	}
}

// next takes the next job, if there is one and no stop was asked for.
func (l *life) next() (j job, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase == Stopping || len(l.pending) == 0 {
		return j, false
	}
	j, l.pending = l.pending[0], l.pending[1:]
	return j, true
}

// enter goes from one phase to the next, unless a stop was asked for meanwhile.
func (l *life) enter(from, to Phase) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase != from {
		return false
	}
	l.phase = to
	return true
}

func (l *life) handle(j job) {
	switch j.action {
	case reload:
		if l.enter(Ready, Reloading) {
			l.reload()
			l.enter(Reloading, Ready)
		}
	case reopen:
		l.log.Info("nothing to reopen: the log is where stderr is")
	case callHook:
		l.callSignalHook(j.signal)
	}
}

// grace is what is left for stragglers when a budget is used up.
func grace(budget time.Duration) time.Duration { return min(budget/4, 5*time.Second) }
