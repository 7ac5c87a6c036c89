package supervise

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/cgroup"
	"example.com/lifecycle/internal/sys/worker"
)

// state is the state of a worker between its start and its end.
type state int

const (
	staged      state = iota // forked, but has not executed its program
	starting                 // runs, but is not ready
	ready                    // reported ready, or has lived long enough
	reloading                // reported a reload
	stopping                 // reported that it is stopping
	draining                 // another worker replaces it, and it finishes its work
	terminating              // got TERM or StopSignal
	aborting                 // got ABRT and writes its trace
	killing                  // got KILL
	gone                     // has ended, or cannot be ended; see EndError
	states
)

// event is an event that can change the state of a worker.
type event int

const (
	executed        event = iota // the program was executed
	saidReady                    // see reportedReady
	saidReloading                // RELOADING=1
	saidStopping                 // STOPPING=1
	replaced                     // another worker replaces it
	stopRequested                // the supervisor ends the worker
	deadlineExpired              // of the state
	watchdogExpired              // no sign of life, or WATCHDOG=trigger
	notExecuted                  // the program cannot be executed
	notPermitted                 // the supervisor may not signal the worker
	exited                       // the worker has ended
	events
)

// transitions is the table of states and events. If a row does not name an event, the state stays.
var transitions = [states][events]state{
	// A message of the worker may arrive before the result of execve(2). Such a message proves that
	// the program was executed, because the stage sends no message.
	staged: {
		executed: starting, saidReady: ready, saidStopping: stopping, replaced: killing, stopRequested: killing,
		deadlineExpired: killing, watchdogExpired: aborting, notExecuted: killing, exited: gone,
	},
	starting: {
		saidReady: ready, saidStopping: stopping, replaced: terminating, stopRequested: terminating,
		deadlineExpired: terminating, watchdogExpired: aborting, notPermitted: killing, exited: gone,
	},
	ready: {
		saidReloading: reloading, saidStopping: stopping, replaced: draining, stopRequested: terminating,
		watchdogExpired: aborting, exited: gone,
	},
	reloading: {
		saidReady: ready, saidStopping: stopping, replaced: draining, stopRequested: terminating,
		watchdogExpired: aborting, exited: gone,
	},
	stopping:    {stopRequested: terminating, deadlineExpired: killing, exited: gone},
	draining:    {stopRequested: terminating, deadlineExpired: killing, notPermitted: killing, exited: gone},
	terminating: {deadlineExpired: killing, notPermitted: killing, exited: gone},
	aborting:    {deadlineExpired: killing, notPermitted: killing, exited: gone},
	killing:     {deadlineExpired: gone, notPermitted: gone, exited: gone},
	gone:        {},
}

// stay means that the state does not change. No event leads to the zero state.
const stay = staged

// child is the started process; see [worker.Process].
type child interface {
	Executed(ctx context.Context) error
	Signal(sig os.Signal) error
	Wait() (*os.ProcessState, error)
	Output() string
	Hello() <-chan Hello
	AskAdopt(ctx context.Context, state json.RawMessage) error
	Replace() error
	NotLast() error
	Freeze() (worker.State, []*os.File, error)
	Thaw()
	Final()
	Close()
}

// process is one worker from its start to its end. Supervisor.mu guards the fields that change.
type process struct {
	child
	PID    int
	began  time.Duration // CLOCK_BOOTTIME just before the fork; 0: unknown
	marked Marked        // see forked
	of     *Supervisor
	group  *cgroup.Group // of the worker; nil: the group of this process
	ready  chan struct{} // closed when the worker is ready for the first time
	gone   chan struct{} // closed in the state gone
	ended  chan struct{} // closed when it has ended

	promoted chan struct{} // closed when it becomes the current worker after an upgrade
	replaced chan struct{} // closed when it is not the current worker any more
	finished chan struct{} // closed when it has ended as another worker, with all that it left behind
	since    func() string // returns the text written to the log since its start

	invocation string // see worker.InvocationVariable

	inTime context.Context // ends when the start must no longer wait for execve
	giveUp context.CancelCauseFunc

	successor bool // of another worker
	state     state
	readyAt   time.Time
	why       error            // why the supervisor ends the worker; nil: a stop, or it does not
	exit      *os.ProcessState // nil: not ended, or unknown
	wasKilled bool             // it was sent KILL
	refusal   error            // why it could not be signalled
	told      bool             // result has returned the result of this worker
	again     bool             // Restart or Upgrade ends it

	probe      bool          // see UpgradeSpec.Probe
	drains     bool          // another worker has replaced it, and awaitDrained waits for its end
	drainLimit time.Duration // how long it may then take
	orphans    orphans

	stored []*os.File // by a candidate: removed again if it does not become the current worker

	suspended bool // reportSuspension has logged the suspension; only the reaping goroutine uses this

	usesNotify bool  // it has sent a message
	confirming bool  // Spec.Ready is being called
	notReady   error // the last result of Spec.Ready
	report     report
	failure    json.RawMessage // why the worker ends; from a worker of this binary
	failed     string          // why the worker ends; from X_LIFECYCLE_ERROR

	deadline time.Time // of the state; zero: none
	timer    *time.Timer
	stopBy   time.Time // the latest end of the stop; zero: no stop
	staleLog bool      // the log was reopened before the worker was ready

	watchdog   *time.Timer // nil: not watched
	signOfLife time.Time   // when the next watchdog ping is due
}

// handle changes the state according to the table and reports whether it changed. Supervisor.mu is
// held.
func (p *process) handle(e event) (changed bool) {
	next := transitions[p.state][e]
	if next == stay {
		return false
	}
	from := p.state
	p.state = next
	switch next {
	case starting:
		if p.isProgram() && !p.of.spec.Policy.Notify {
			time.AfterFunc(p.of.spec.Policy.Settle, p.settle)
		}
	case ready:
		p.becameReady()
	case stopping:
		p.setStopDeadline(p.of.stopLimit())
		p.of.pending.of(p).finish(ErrStopping)
	case terminating:
		if e == deadlineExpired {
			p.why = cmp.Or[error](p.why, &NotReadyError{Timeout: p.of.spec.StartTimeout, Last: p.notReady})
		}
		p.terminate(from)
	case draining:
		p.setDeadline(p.drainLimit + WorkerMargin)
		p.stopBy = p.deadline
		p.of.mu.Go(p.tellReplaced)
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

// terminate asks a worker that was in state from to stop. A worker that drains keeps an earlier
// deadline. A supervised program then gets no second StopSignal, because that could make it stop at
// once. Supervisor.mu is held.
func (p *process) terminate(from state) {
	limit := p.of.stopLimit()
	if from == draining {
		limit = min(limit, time.Until(p.deadline))
		p.stopBy = time.Time{}
	}
	p.setStopDeadline(limit)
	if from != draining || !p.isProgram() {
		p.send(p.of.spec.Policy.StopSignal)
	}
}

// killed kills a worker that was in state from. It does not kill a stage itself: Executed kills the
// stage, even if the stage is suspended. Supervisor.mu is held.
func (p *process) killed(from state, e event) {
	p.setDeadline(killMargin)
	p.told = from == staged // a stage has no result
	switch {
	case from != staged || !p.isProgram() && e != notExecuted:
		p.wasKilled = true
		p.why = cmp.Or(p.why, errNotStopped)
		if from == draining {
			p.why = errNotDrained
		}
		p.of.mu.After(p.kill)
	case e == deadlineExpired:
		p.why = &NotReadyError{Timeout: p.of.spec.StartTimeout}
		p.of.mu.After(func() { p.giveUp(p.why) })
	case e == stopRequested, e == replaced:
		p.of.mu.After(func() { p.giveUp(ErrStopping) })
	}
}

// over releases the resources of the worker. Supervisor.mu is held.
func (p *process) over(e event) {
	p.timer.Stop()
	if p.watchdog != nil {
		p.watchdog.Stop()
	}
	p.of.pending.fail(p)
	p.of.mu.After(p.Close)
	if !isClosed(p.ended) {
		why := p.endError()
		if p.isCurrent() {
			p.of.emit(Stuck{Why: why.Error()})
		}
		p.of.mu.After(func() {
			p.of.spec.Log.Error("cannot end the worker", "worker", p.PID, "why", why)
			p.of.deliver()
		})
	}
	close(p.gone)
}

// errNotStopped is why a worker that stops is killed.
var errNotStopped = errors.New("it did not stop in time")

// isCurrent reports whether no other worker has replaced it, and it is no candidate.
func (p *process) isCurrent() bool { return p.of.last.Load() == p }

// isCandidate reports whether the worker has not become the current worker yet. Supervisor.mu is
// held.
func (p *process) isCandidate() bool { return !p.isCurrent() && !isClosed(p.replaced) }

// stops reports whether the worker is stopping or being ended. Supervisor.mu is held.
func (p *process) stops() bool { return p.state >= stopping }

// isUp reports whether the worker is ready or reloads. Supervisor.mu is held.
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

// awaitExit waits for the end of the worker.
func (p *process) awaitExit() {
	exit, err := p.Wait()
	p.of.server.Barrier(WorkerMargin) // the last messages may still be unread
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	p.exit = exit
	p.why = cmp.Or(p.why, err)
	close(p.ended)
	p.handle(exited)
}
