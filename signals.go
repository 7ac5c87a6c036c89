package lifecycle

import (
	"context"
	"os"
	"slices"
	"syscall"
	"time"

	"example.com/lifecycle/internal/ossignal"
)

// event is what can happen to a life.
type event int

const (
	stopSignal   event = iota // TERM or INT
	hangup                    // HUP, or Life.Reload
	terminalGone              // HUP, and the controlling terminal has hung up
	reopenSignal              // USR1
	ownSignal                 // a signal that OnSignal was given for
	stopRequest               // a body returned, the BaseContext ended, …
	events
)

// action is what a life does about an event.
type action int

const (
	drop      action = iota
	stop             // begin to stop
	forceQuit        // quit at once if the first stop signal is more than a second old
	reload           // one reload, as soon as the life is Ready
	reopen           // reopen the log, as soon as the life is Ready
	callHook         // call the OnSignal function, as soon as the life is Ready
)

// dispatch is the whole of what a life does about what happens to it. What is done as soon as the life is Ready is done
// once however often it was asked for: so a HUP during a start makes one reload right after it, and any number of HUPs during a reload make
// one more.
var dispatch = [...][events]action{
	Starting:  {stopSignal: stop, hangup: reload, terminalGone: stop, reopenSignal: reopen, ownSignal: callHook, stopRequest: stop},
	Ready:     {stopSignal: stop, hangup: reload, terminalGone: stop, reopenSignal: reopen, ownSignal: callHook, stopRequest: stop},
	Reloading: {stopSignal: stop, hangup: reload, terminalGone: stop, reopenSignal: reopen, ownSignal: callHook, stopRequest: stop},
	Stopping:  {stopSignal: forceQuit, hangup: drop, terminalGone: drop, reopenSignal: drop, ownSignal: drop, stopRequest: drop},
	Exited:    {stopSignal: drop, hangup: drop, terminalGone: drop, reopenSignal: drop, ownSignal: drop, stopRequest: drop},
}

// StopSignalError is the cause of a stop by signal. It wraps context.Canceled, so a body may return it.
type StopSignalError struct{ Signal os.Signal }

func (e *StopSignalError) Error() string { return "lifecycle: stopped by signal: " + e.Signal.String() }

func (e *StopSignalError) Unwrap() error { return context.Canceled }

// OnSignal calls f once the signal has come; a nil f ignores it. f is never called beside a hook, only while the life is Ready, and once for
// any number of signals that came before it could be. Its context ends after ReloadTimeout and when a stop is asked for; an error
// or panic is logged. TERM, INT, HUP and USR1 have their meaning and are refused, KILL and STOP cannot be caught. Of two
// for the same signal the last wins. By default, every other signal does what it does in any Go program.
func OnSignal(sig os.Signal, f func(ctx context.Context) error) Option {
	return option(func(c *plan) {
		switch sig {
		case nil, syscall.SIGKILL, ossignal.Stop:
			c.refuse("OnSignal(%v): cannot be caught", sig)
			return
		case syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, ossignal.User1:
			c.refuse("OnSignal(%v): the life uses it itself (TERM and INT stop, HUP reloads, USR1 reopens the log)", sig)
			return
		}
		c.signals = slices.DeleteFunc(c.signals, func(h signalHook) bool { return h.signal == sig })
		c.signals = append(c.signals, signalHook{sig, f})
	})
}

// signalGrace is how long the handlers outlive the life, so that a signal which comes between the end of Run and that of the process does not
// end it in another way than was decided.
const signalGrace = time.Second

// notifySignals installs the handlers. Whatever ignored or blocked these signals before, they arrive from now on.
//
// Each signal has a channel of its own with room for one: a flood of one never hides another, and one that is in the
// channel already stands for all that came since.
func (l *life) notifySignals() (deafen func()) {
	hungUp := l.terminal()
	heard := []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}
	if ossignal.User1 != nil {
		heard = append(heard, ossignal.User1)
	}
	// Go ends a program that writes to a broken stdout or stderr, unless it has asked for SIGPIPE (os/signal). It is heard and not
	// ignored, because programs that we start would inherit that.
	unheard := []os.Signal{syscall.SIGPIPE}
	for _, h := range l.plan.signals {
		unheard = slices.DeleteFunc(unheard, func(sig os.Signal) bool { return sig == h.signal })
		if h.f == nil {
			unheard = append(unheard, h.signal)
		} else {
			heard = append(heard, h.signal)
		}
	}
	var stops []func()
	for _, sig := range heard {
		c := make(chan os.Signal, 1)
		stops = append(stops, l.plan.env.notify(c, sig))
		go l.watchSignal(c, hungUp)
	}
	for _, sig := range unheard {
		stops = append(stops, l.plan.env.notify(make(chan os.Signal, 1), sig))
	}
	return func() {
		close(l.done)
		time.AfterFunc(signalGrace, func() {
			for _, stop := range stops {
				stop()
			}
		})
	}
}

func (l *life) watchSignal(c <-chan os.Signal, hungUp func() bool) {
	for {
		select {
		case <-l.done:
			return
		case sig := <-c:
			l.onSignal(sig, hungUp)
		}
	}
}

func (l *life) onSignal(sig os.Signal, hungUp func() bool) {
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT:
		l.on(stopSignal, &StopSignalError{sig}, sig)
	case syscall.SIGHUP:
		if hungUp() {
			l.on(terminalGone, &StopSignalError{sig}, sig)
		} else {
			l.on(hangup, nil, sig)
		}
	case ossignal.User1:
		l.on(reopenSignal, nil, sig)
	default:
		l.on(ownSignal, nil, sig)
	}
}

// signalHook is the place of what OnSignal was given for sig, -1 if there is none.
func (l *life) signalHook(sig os.Signal) int {
	return slices.IndexFunc(l.plan.signals, func(h signalHook) bool { return h.signal == sig })
}

func (l *life) callSignalHook(sig os.Signal) {
	at := l.signalHook(sig)
	i := l.interruptible(context.DeadlineExceeded)
	defer i.cancel()
	if err := i.do(l.plan.name, "OnSignal("+sig.String()+")", l.plan.signals[at].f); err != nil {
		l.log.Error("a function given to OnSignal failed", "signal", sig.String(), "err", trimPrefix(err))
	}
}

// terminal returns what tells whether the terminal has hung up. That is for a supervisor to know, which sends its worker a
// HUP for a reload only.
func (l *life) terminal() (hungUp func() bool) {
	if l.mode.kind == modeWorker {
		return func() bool { return false }
	}
	return l.plan.env.terminal()
}
