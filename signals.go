package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/sys/ossignal"
	"example.com/lifecycle/internal/sys/worker"
)

// event is a signal or request to which a life reacts.
type event int

const (
	stopSignal   event = iota // TERM or INT
	hangup                    // HUP, or Life.Reload
	terminalGone              // HUP, and the controlling terminal has hung up
	reopenSignal              // USR1
	ownSignal                 // a signal with an OnSignal function
	stopRequest               // a body returned, the BaseContext ended, …
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
	callHook         // call the OnSignal function, as soon as the life is Ready
)

// dispatch defines how a life reacts to every event in every phase. An action that waits for Ready
// runs once for any number of events. So one or more HUPs during the start cause one reload after
// the start. One or more HUPs during a reload cause one more reload.
var dispatch = [...][events]action{
	Starting:  {stopSignal: stop, hangup: reload, terminalGone: stop, reopenSignal: reopen, ownSignal: callHook, stopRequest: stop},
	Ready:     {stopSignal: stop, hangup: reload, terminalGone: stop, reopenSignal: reopen, ownSignal: callHook, stopRequest: stop},
	Reloading: {stopSignal: stop, hangup: reload, terminalGone: stop, reopenSignal: reopen, ownSignal: callHook, stopRequest: stop},
	Stopping:  {stopSignal: forceQuit, hangup: drop, terminalGone: drop, reopenSignal: drop, ownSignal: drop, stopRequest: drop},
	Exited:    {stopSignal: drop, hangup: drop, terminalGone: drop, reopenSignal: drop, ownSignal: drop, stopRequest: drop},
}

// StopSignalError is the [context.Cause] of a stop by a signal. It wraps context.Canceled, so a
// body may return it without failing the life.
type StopSignalError struct{ Signal os.Signal }

func (e *StopSignalError) Error() string { return "lifecycle: stopped by signal: " + e.Signal.String() }

func (e *StopSignalError) Unwrap() error { return context.Canceled }

// OnSignal sets a function for a signal. A nil f ignores the signal. f runs only while the life is
// Ready and never concurrently with a hook. Signals that arrive before f can run cause one call.
// The context of f ends when ReloadTimeout expires or a stop is requested. The life logs an error
// or panic of f. sig must not be TERM, INT, HUP or USR1, because the life handles these. It must
// not be KILL or STOP, because no program can handle these. A later OnSignal for the same signal
// replaces the earlier one. By default, every other signal has its usual effect in a Go program;
// see package os/signal.
func OnSignal(sig os.Signal, f func(ctx context.Context) error) Option {
	return option(func(c *plan) {
		switch sig {
		case nil, syscall.SIGKILL, ossignal.Stop:
			c.refuse("OnSignal(%v): cannot be caught", sig)
			return
		case syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, ossignal.User1:
			c.refuse("OnSignal(%v): lifecycle handles this signal itself (TERM and INT stop, HUP reloads, USR1 reopens the log)", sig)
			return
		}
		c.signals = slices.DeleteFunc(c.signals, func(h signalHook) bool { return h.signal == sig })
		c.signals = append(c.signals, signalHook{sig, f})
	})
}

// signalGrace is how long the signal handlers outlive the life. A signal that arrives after the
// return of Run must not change how the process ends.
const signalGrace = time.Second

// notifySignals installs the signal handlers. The signals then arrive even if the caller of the
// program ignored or blocked them.
//
// Each signal has its own channel, so many signals of one kind never hide a signal of another kind.
// The channel has room for one signal, and that one represents all later signals of its kind.
func (l *life) notifySignals() (stopSignals func()) {
	hungUp := l.terminal()
	heard := []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP}
	if ossignal.User1 != nil {
		heard = append(heard, ossignal.User1)
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

// Phase is a stage of a life:
//
//	Starting → Ready ⇄ Reloading → Stopping → Exited
type Phase int

// The phases, in their order. A failed start goes from Starting to Stopping.
const (
	Starting  Phase = iota // the components and the bodies are being started
	Ready                  // all components are started, and ReadyWhen has returned nil
	Reloading              // OnCheck and OnReload run
	Stopping               // a stop was requested, or the start failed
	Exited                 // the life is over
)

var phaseNames = [...]string{"starting", "ready", "reloading", "stopping", "exited"}

// String returns the name of the phase in lower case.
func (p Phase) String() string {
	if p < 0 || int(p) >= len(phaseNames) {
		return "unknown"
	}
	return phaseNames[p]
}

// MarshalText returns the result of String.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText accepts the texts that MarshalText returns. It returns an error for any other text.
func (p *Phase) UnmarshalText(text []byte) error {
	at := slices.Index(phaseNames[:], string(text))
	if at < 0 {
		return fmt.Errorf("lifecycle: unknown phase %q", text)
	}
	*p = Phase(at)
	return nil
}

// attachToSupervisor makes l stop when its supervisor is gone.
func attachToSupervisor(l *life) {
	in := worker.Inherited()
	_ = in.RedirectCrashOutput()
	lost := in.Take()
	go func() {
		<-lost // the supervisor may end after the life, while main still runs
		time.AfterFunc(supervise.LostWorker, func() { l.plan.env.exit(1) })
		l.on(stopRequest, errSupervisorLost, nil)
	}()
}
