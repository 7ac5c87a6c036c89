package lifecycle

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/sys/ossignal"
)

// event is a signal or request to which a life reacts.
type event int

const (
	stopSignal    event = iota // TERM or INT
	hangup                     // HUP, or Life.Reload
	terminalGone               // HUP, and the controlling terminal has hung up
	reopenSignal               // USR1
	upgradeSignal              // USR2, in a supervisor
	ownSignal                  // a signal with an OnSignal function
	stopRequest                // a body returned, the BaseContext ended, …
	events
)

// action is the reaction of a life to an event.
type action int

const (
	drop      action = iota
	stop             // begin to stop
	forceQuit        // quit at once if the first stop signal is more than a second old
	reload           // reload once, as soon as the life is Ready
	reopen           // reopen the log, as soon as the life is Ready
	upgrade          // replace the program, as soon as the life is Ready
	callHook         // call the OnSignal function, as soon as the life is Ready
)

// dispatch defines how a life reacts to every event in every phase. An action that waits for Ready
// runs once for any number of events. So one or more HUPs during the start cause one reload after
// the start. One or more HUPs during a reload cause one more reload.
var dispatch = [...][events]action{
	Starting:  {stopSignal: stop, hangup: reload, terminalGone: stop, reopenSignal: reopen, upgradeSignal: upgrade, ownSignal: callHook, stopRequest: stop},
	Ready:     {stopSignal: stop, hangup: reload, terminalGone: stop, reopenSignal: reopen, upgradeSignal: upgrade, ownSignal: callHook, stopRequest: stop},
	Reloading: {stopSignal: stop, hangup: reload, terminalGone: stop, reopenSignal: reopen, upgradeSignal: upgrade, ownSignal: callHook, stopRequest: stop},
	Stopping:  {stopSignal: forceQuit, hangup: drop, terminalGone: drop, reopenSignal: drop, upgradeSignal: drop, ownSignal: drop, stopRequest: drop},
	Exited:    {stopSignal: drop, hangup: drop, terminalGone: drop, reopenSignal: drop, upgradeSignal: drop, ownSignal: drop, stopRequest: drop},
}

// StopSignalError is the [context.Cause] of a stop by a signal. It wraps context.Canceled, so a
// body may return it without failing the life.
type StopSignalError struct{ Signal os.Signal }

func (e *StopSignalError) Error() string { return "lifecycle: stopped by signal: " + e.Signal.String() }

func (e *StopSignalError) Unwrap() error { return context.Canceled }

// signalGrace is how long the signal handlers outlive the life. A signal that arrives after the
// return of Run must not change how the process ends.
const signalGrace = time.Second

// signalWatch holds the handlers of a life. Only the goroutine of run uses it.
type signalWatch struct {
	heard    map[os.Signal]chan os.Signal // signals with an effect, and where they arrive
	stops    map[os.Signal]func()         // remove the handler of a signal
	hungUp   func() bool                  // reports whether the terminal has hung up; nil: it has not
	paused   chan struct{}                // closed to end the watchers
	watchers sync.WaitGroup
}

// notifySignals installs the signal handlers. The signals then arrive even if the caller of the
// program ignored or blocked them.
//
// Each signal has its own channel, so many signals of one kind never hide a signal of another kind.
// The channel has room for one signal, and that one represents all later signals of its kind.
func (l *life) notifySignals() (stopSignals func()) {
	w := &l.signals
	w.hungUp, w.heard, w.stops = l.terminal(), map[os.Signal]chan os.Signal{}, map[os.Signal]func(){}
	heard := []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}
	if ossignal.User1 != nil {
		heard = append(heard, ossignal.User1)
	}
	if l.onUpgrade != nil {
		heard = append(heard, ossignal.User2)
	}
	// Go ends a program that writes to a broken stdout or stderr, unless the program handles
	// SIGPIPE (os/signal). The life handles it and does not ignore it, because child processes
	// would inherit an ignored signal.
	unheard := []os.Signal{syscall.SIGPIPE}
	for _, h := range l.plan.signals {
		unheard = slices.DeleteFunc(unheard, func(sig os.Signal) bool { return sig == h.signal })
		if h.f == nil {
			unheard = append(unheard, h.signal)
		} else {
			heard = append(heard, h.signal)
		}
	}
	for _, sig := range heard {
		w.heard[sig] = make(chan os.Signal, 1)
	}
	l.watchSignals()
	if l.handoff != nil {
		for _, c := range l.handoff.Signals {
			l.plan.env.notify(c, ossignal.User1)() // removes all its handlers
			l.handleAll(c)
		}
	}
	for _, sig := range unheard {
		w.stops[sig] = l.plan.env.notify(make(chan os.Signal, 1), sig)
	}
	return func() {
		close(l.done)
		time.AfterFunc(signalGrace, func() {
			for _, stop := range w.stops {
				stop()
			}
		})
	}
}

// watchSignals installs the handlers of the signals with an effect.
func (l *life) watchSignals() {
	w := &l.signals
	paused := make(chan struct{})
	w.paused = paused
	for sig, c := range w.heard {
		if w.stops[sig] == nil {
			w.stops[sig] = l.plan.env.notify(c, sig)
		}
		w.watchers.Go(func() { l.watchSignal(c, paused) })
	}
}

// errSignalArrived reports that a signal has arrived since pauseSignals.
var errSignalArrived = errors.New("a signal has arrived")

// pauseSignals handles the signals that have arrived, and then no more until resume is called.
// Later ones wait: USR1 and USR2 in held, and the others in channels of their own. unhandled
// returns errSignalArrived if a signal waits. If a stop was requested, even by a signal that has
// just been handled, unhandled returns the cause of the stop.
func (l *life) pauseSignals() (held chan os.Signal, unhandled func() error, resume func()) {
	w := &l.signals
	held = make(chan os.Signal, 16)
	var stops []func()
	for _, sig := range []os.Signal{ossignal.User1, ossignal.User2} {
		stops = append(stops, l.plan.env.notify(held, sig))
		w.stops[sig]()
		delete(w.stops, sig)
	}
	close(w.paused)
	w.watchers.Wait()
	unhandled = func() error {
		if l.stopCtx.Err() != nil {
			return context.Cause(l.stopCtx)
		}
		waiting := len(held)
		for _, c := range w.heard {
			waiting += len(c)
		}
		if waiting > 0 {
			return errSignalArrived
		}
		return nil
	}
	return held, unhandled, func() {
		l.watchSignals()
		for _, stop := range stops {
			stop()
		}
		l.handleAll(held)
	}
}

// handleAll handles the signals in c. No other goroutine sends to c or receives from it.
func (l *life) handleAll(c chan os.Signal) {
	for len(c) > 0 {
		l.onSignal(<-c)
	}
}

func (l *life) watchSignal(c chan os.Signal, paused <-chan struct{}) {
	for {
		select {
		case <-l.done:
			return
		case <-paused:
			l.handleAll(c)
			return
		case sig := <-c:
			l.onSignal(sig)
		}
	}
}

func (l *life) onSignal(sig os.Signal) {
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT:
		l.on(stopSignal, &StopSignalError{sig}, sig)
	case syscall.SIGHUP:
		if l.signals.hungUp != nil && l.signals.hungUp() {
			l.on(terminalGone, &StopSignalError{sig}, sig)
		} else {
			l.on(hangup, nil, sig)
		}
	case ossignal.User1:
		l.on(reopenSignal, nil, sig)
	case ossignal.User2:
		if l.onUpgrade != nil {
			l.on(upgradeSignal, nil, sig)
			return
		}
		fallthrough
	default:
		l.on(ownSignal, nil, sig)
	}
}

// signalHook returns the index of the OnSignal entry for sig, or -1 if there is none.
func (l *life) signalHook(sig os.Signal) int {
	return slices.IndexFunc(l.plan.signals, func(h signalHook) bool { return h.signal == sig })
}

func (l *life) callSignalHook(sig os.Signal) {
	at := l.signalHook(sig)
	i := l.interruptible(context.DeadlineExceeded)
	defer i.cancel()
	if err := i.do(l.plan.name, "OnSignal("+sig.String()+")", l.plan.signals[at].f); err != nil {
		l.log.Error("the OnSignal function failed", "signal", sig.String(), "err", trimPrefix(err))
	}
}

// terminal returns a function that reports whether the terminal has hung up. In a worker it always
// reports false, because the supervisor watches the terminal and sends HUP only for a reload.
func (l *life) terminal() (hungUp func() bool) {
	if l.mode.kind == modeWorker {
		return func() bool { return false }
	}
	return l.plan.env.terminal()
}

// forceQuitAfter is the minimum time between two stop signals. A second signal after that time ends
// the process at once. An earlier second signal may be the same request, sent twice.
const forceQuitAfter = time.Second

// quit ends the process at once, and records that as a failure. The caller holds l.mu and quit
// never releases it, so this life handles no other event.
func (l *life) quit() {
	if l.status.Failed == nil {
		l.status.Failed = newFailure(quitError(l.status.Doing))
	}
	l.seq++
	now, turn := l.status.external(), l.seq
	done := make(chan struct{})
	go func() {
		defer close(done)
		if l.plan.onForceQuit != nil {
			l.plan.onForceQuit()
		}
		fdstore.RemoveFiles()
		l.writeState(l.state, now, turn)
		l.state.Keep()
		_, _ = l.lock.Release()
		l.log.Error("another stop signal: quitting at once")
	}()
	select { // the first stop may hang because the disk hangs
	case <-done:
	case <-time.After(200 * time.Millisecond):
	}
	l.plan.env.exit(1)
}

// quitError returns the error of a life that quits at once. doing names the running hook or the
// awaited body, or is "".
func quitError(doing string) error {
	text := "another stop signal ended it at once"
	if doing != "" {
		text += ", in " + doing
	}
	return errors.New(text)
}
