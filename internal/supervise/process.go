package supervise

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"example.com/lifecycle/internal/cgroup"
	"example.com/lifecycle/internal/ossignal"
)

// state is where a worker is between its start and its end.
type state int

const (
	staged      state = iota // forked, and has not executed its program
	starting                 // runs, and is not ready
	ready                    // has said that it is ready, or has lived long enough
	reloading                // has said that it reloads
	stopping                 // has said that it stops, by itself
	terminating              // was sent TERM
	aborting                 // was sent ABRT and writes its trace
	killing                  // was sent KILL
	gone                     // has ended, or does not end even by KILL
	states
)

// event is what can happen to a worker.
type event int

const (
	executed        event = iota // its program was executed
	saidReady                    // READY=1, or it has lived long enough
	saidReloading                // RELOADING=1
	saidStopping                 // STOPPING=1
	stopRequested                // the supervisor stops
	deadlineExpired              // of the state
	watchdogExpired              // no sign of life, or WATCHDOG=trigger
	notExecuted                  // its program cannot be executed
	exited                       // it has ended
	events
)

// transitions says which state follows. In a state that a table row does not name for an event, the event changes
// nothing: stay.
var transitions = [states][events]state{
	staged:      {executed: starting, saidReady: stay, stopRequested: killing, deadlineExpired: killing, notExecuted: killing, exited: gone},
	starting:    {saidReady: ready, saidStopping: stopping, stopRequested: terminating, deadlineExpired: terminating, watchdogExpired: aborting, exited: gone},
	ready:       {saidReloading: reloading, saidStopping: stopping, stopRequested: terminating, watchdogExpired: aborting, exited: gone},
	reloading:   {saidReady: ready, saidStopping: stopping, stopRequested: terminating, watchdogExpired: aborting, exited: gone},
	stopping:    {stopRequested: terminating, deadlineExpired: killing, exited: gone},
	terminating: {deadlineExpired: killing, exited: gone},
	aborting:    {deadlineExpired: killing, exited: gone},
	killing:     {deadlineExpired: gone, exited: gone},
	gone:        {},
}

// stay is the zero state, which no event leads to.
const stay = staged

// child is the started process; see [worker.Process].
type child interface {
	Executed(ctx context.Context) error
	Signal(sig os.Signal) error
	Wait() (*os.ProcessState, error)
	Output() string
	Final()
	Close()
}

// process is one worker from its start to its end. Supervisor.mu guards what changes.
type process struct {
	child
	PID   int
	of    *Supervisor
	group *cgroup.Group // which it was started in; nil: that of this process
	ready chan struct{} // closed when the worker is ready for the first time
	gone  chan struct{} // closed in the state gone
	since func() string // what was written to the log since its start

	inTime context.Context // ends when its program must have been executed
	giveUp context.CancelCauseFunc

	state     state
	readyAt   time.Time
	why       error            // why the supervisor ends it, unless for a stop
	exit      *os.ProcessState // nil: it has not ended, or how cannot be told
	wasKilled bool             // it was sent KILL
	told      bool             // result has returned what it came to

	usesNotify bool // it has sent a message
	report     report
	failure    json.RawMessage // why it ends, as a worker of this library says
	failed     string          // the same from a worker that knows X_LIFECYCLE_ERROR only

	deadline time.Time // of the state; zero: none
	timer    *time.Timer
	stopBy   time.Time // the end of its stop, whatever it asks for; zero: it does not stop
	staleLog bool      // the log was reopened before the worker was ready

	watchdog   *time.Timer // nil: nobody watches
	signOfLife time.Time   // when the next one is due
}

// handle changes the state as the table says, and reports whether it changed. Supervisor.mu is held.
func (p *process) handle(e event) (changed bool) {
	next := transitions[p.state][e]
	if next == stay {
		return false
	}
	from := p.state
	p.state = next
	switch next {
	case starting:
		if p.of.spec.Program != nil {
			time.AfterFunc(p.of.spec.Policy.Settle, p.settle)
		}
	case ready:
		p.becameReady()
	case stopping:
		p.setStopDeadline(p.of.stopLimit())
		p.of.pending.finish(ErrStopping)
	case terminating:
		if e == deadlineExpired {
			p.why = &NotReadyError{Timeout: p.of.spec.StartTimeout}
		}
		p.setStopDeadline(p.of.stopLimit())
		p.send(syscall.SIGTERM)
	case aborting:
		p.setStopDeadline(traceMargin)
		p.send(syscall.SIGABRT)
		why := p.why
		p.of.mu.After(func() { p.of.spec.Log.Error("the worker hangs", "worker", p.PID, "why", why) })
	case killing:
		p.killed(from, e)
	case gone:
		p.over(e)
	}
	return true
}

// killed kills the worker, which is in that state. A worker that is still staged has nothing to lose and may be suspended:
// Executed kills it. Supervisor.mu is held.
func (p *process) killed(from state, e event) {
	p.setDeadline(killMargin)
	p.told = from == staged // it never was the worker
	switch {
	case from != staged:
		p.wasKilled = true
		p.why = cmp.Or(p.why, errStopHangs)
		p.send(syscall.SIGKILL)
	case e == deadlineExpired:
		p.why = &NotReadyError{Timeout: p.of.spec.StartTimeout}
		p.of.mu.After(func() { p.giveUp(p.why) })
	case e == stopRequested:
		p.of.mu.After(func() { p.giveUp(ErrStopping) })
	}
}

// over frees what the worker had. Supervisor.mu is held.
func (p *process) over(e event) {
	p.timer.Stop()
	if p.watchdog != nil {
		p.watchdog.Stop()
	}
	p.of.pending.fail(p)
	p.of.mu.After(p.Close)
	if e == deadlineExpired {
		p.of.mu.After(func() {
			p.of.spec.Log.Error("the worker does not end, not even by KILL", "worker", p.PID)
		})
	}
	close(p.gone)
}

// stops reports whether the worker is to end or ends by itself. Supervisor.mu is held.
func (p *process) stops() bool { return p.state >= stopping }

// isUp reports whether the worker serves: it has been ready and does not end. Supervisor.mu is held.
func (p *process) isUp() bool { return p.state == ready || p.state == reloading }

func (p *process) hasEnded() bool { return isClosed(p.gone) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// settle counts a program that says nothing as ready, since it lives.
func (p *process) settle() {
	p.of.mu.Lock()
	settled := !p.usesNotify && p.state == starting && p.handle(saidReady)
	if settled {
		p.of.emit(Said{Up: true})
	}
	p.of.mu.Unlock()
	if settled {
		p.of.deliver()
	}
}

// becameReady notes that the worker is ready, or ready again after a reload. Supervisor.mu is held.
func (p *process) becameReady() {
	if !p.readyAt.IsZero() {
		return
	}
	p.readyAt = time.Now()
	p.deadline = time.Time{}
	p.timer.Stop()
	p.resetWatchdog()
	if p.staleLog {
		p.of.mu.After(func() { _ = p.pass(ossignal.User1) })
	}
	close(p.ready)
	go debug.FreeOSMemory() // what the start took; the supervisor may have nothing to do for months
}

// send sends a signal, also to a suspended worker. Supervisor.mu is held.
func (p *process) send(sig os.Signal) {
	p.of.mu.After(func() {
		_ = p.Signal(sig)
		_ = p.Signal(ossignal.Continue)
	})
}

// awaitExit waits for the end of the worker.
func (p *process) awaitExit() {
	exit, err := p.Wait()
	p.of.server.Barrier(WorkerMargin) // its last messages may not have been read
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	p.exit = exit
	p.why = cmp.Or(p.why, err)
	p.handle(exited)
}
