package lifecycle

import (
	"cmp"
	"errors"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/ossignal"
)

// mustBeDoneIn limits what the worker does just now: it starts or stops. supervisor.mu is held.
func (w *workerProcess) mustBeDoneIn(d time.Duration) {
	w.due = time.Now().Add(d)
	w.limit.Reset(d)
}

// mustStopIn limits its stop. supervisor.mu is held.
func (w *workerProcess) mustStopIn(d time.Duration) {
	if w.last.IsZero() {
		w.last = time.Now().Add(maxExtension * (w.of.of.wholeStop() + workerMargin))
	}
	w.mustBeDoneIn(d)
}

// maxExtension is how many times as long as it should a stop takes at most whose worker asks for more time.
const maxExtension = 10

// extend gives it the time for which it asks, in microseconds, and never less than it has (sd_notify(3)). A stop ends all the same. supervisor.mu is held.
func (w *workerProcess) extend(usec string) {
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n < 0 || n > byItself.Microseconds() || w.due.IsZero() || w.felled {
		return
	}
	asks := time.Duration(n)*time.Microsecond + workerMargin
	if !w.last.IsZero() {
		asks = min(asks, time.Until(w.last))
	}
	if asks > time.Until(w.due) {
		w.mustBeDoneIn(asks)
	}
}

// ask asks the worker to end, which has so long to do so, unless that is asked already. supervisor.mu is held.
func (w *workerProcess) ask(limit time.Duration, why error) {
	if w.asked || w.hasEnded() {
		return
	}
	w.asked, w.why = true, why
	w.mustStopIn(limit)
	if w.isStage { // it has nothing to lose, and may be stopped
		w.of.mu.After(func() { w.giveUp(cmp.Or(why, error(errStopsInstead))) })
		return
	}
	w.send(syscall.SIGTERM)
}

// kills ends the worker at once. supervisor.mu is held.
func (w *workerProcess) kills() {
	w.asked, w.felled = true, true
	w.send(syscall.SIGKILL)
	w.mustBeDoneIn(killedMargin)
}

// killedMargin is how long the end of a process may take that was killed.
const killedMargin = 2 * time.Second

// send sends a signal, also to one that is suspended. supervisor.mu is held.
func (w *workerProcess) send(sig os.Signal) {
	w.of.mu.After(func() {
		_ = w.Signal(sig)
		_ = w.Signal(ossignal.Continue)
	})
}

// overdue ends a worker whose time is over: first with TERM, then with KILL.
func (w *workerProcess) overdue() {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	switch {
	case w.hasEnded(), w.due.IsZero(), time.Now().Before(w.due): // it was done just in time, or has got more
	case w.felled:
		w.over()
		w.of.mu.After(func() { w.of.life.log.Error("the worker does not end, not even by KILL", "worker", w.PID) })
	case w.asked || w.phase == Stopping:
		w.why = cmp.Or(w.why, errors.New("its stop does not end"))
		w.kills()
	default:
		w.ask(w.of.of.wholeStop()+workerMargin, &notReady{limit: w.of.of.startTimeout})
	}
}

// settle counts a program that says nothing as ready, for it lives.
func (w *workerProcess) settle() {
	w.of.mu.Lock()
	settled := !w.speaks && !w.asked && !w.hasEnded()
	if settled {
		w.becomesReady()
	}
	w.of.mu.Unlock()
	if settled {
		w.tellUp(func(*Status) {})
	}
}

// tellUp changes what the parent says, as long as the worker lives that is meant.
func (w *workerProcess) tellUp(change func(*Status)) {
	w.of.life.tell(func(st *Status) {
		if !w.hasEnded() {
			st.workerDown = st.workerDown && !w.isReady()
			change(st)
		}
	})
}

func (w *workerProcess) isReady() bool { return isClosed(w.ready) }

// becomesReady notes that the worker is ready. supervisor.mu is held.
func (w *workerProcess) becomesReady() {
	w.phase = Ready
	if !w.readyAt.IsZero() {
		return
	}
	w.readyAt = time.Now()
	w.due = time.Time{}
	w.limit.Stop()
	w.watchIt()
	if w.stale {
		w.of.mu.After(func() { _ = w.pass(ossignal.User1) })
	}
	close(w.ready)
	go debug.FreeOSMemory() // what the start took; the parent may have nothing to do for months
}

// watchIt begins to wait for a sign of life, or waits for the next one. supervisor.mu is held.
func (w *workerProcess) watchIt() {
	every := 2 * w.of.of.watchdog.every
	if every == 0 || w.asked {
		return
	}
	due := time.Now().Add(every)
	w.alive = due
	if w.watch != nil {
		w.watch.Stop()
	}
	w.watch = time.AfterFunc(every, func() { w.hangs(due) })
}

// hangs ends a worker that has given no sign of life until then.
func (w *workerProcess) hangs(due time.Time) {
	late := time.Since(due)
	w.of.hearAll() // it may have given one that was not read
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	switch every := w.of.of.watchdog.every; {
	case w.alive != due:
	case late > every/4: // this process stood still, and so may the other have
		w.watchIt()
	default:
		w.abort(errors.New("no sign of life for " + console.FormatLimit(2*every)))
	}
}

// abort ends a worker that hangs, with its trace. supervisor.mu is held.
func (w *workerProcess) abort(why error) {
	if w.hasEnded() || w.asked || w.phase == Stopping {
		return
	}
	w.asked, w.why = true, why
	w.mustStopIn(traceMargin)
	w.send(syscall.SIGABRT)
	w.of.mu.After(func() { w.of.life.log.Error("the worker hangs", "worker", w.PID, "why", why) })
}

// traceMargin is how long a worker has to write its trace.
const traceMargin = 5 * time.Second

// errTriggered says that a worker has found that out by itself (sd_notify(3)).
var errTriggered = errors.New("it has asked for that (WATCHDOG=trigger)")
