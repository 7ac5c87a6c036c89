package supervise

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"example.com/lifecycle/internal/sys/worker"
)

// UpgradeSpec describes the program that replaces the program of the worker.
type UpgradeSpec struct {
	// Path is the absolute path of the new program. For a supervised program it is "", because
	// Spec.Program returns that path.
	Path string

	NoOverlap bool // the old worker ends before the new one starts

	// Probe is for the supervisor of a supervised program. If it is set, Path is the next program of
	// the supervisor itself. That program starts as a worker, answers questions, and ends. It need not
	// become ready. The supervised program continues to run.
	Probe *Probe

	// DrainTimeout is how long the old worker may take to end after the new worker is ready. 0 means
	// StopTimeout.
	DrainTimeout time.Duration

	// Check returns an error if a worker that sent this Hello must not become the current worker. If
	// Check is nil, every worker that uses this library may become it.
	Check func(Hello) error

	// State returns the state that the new worker is asked to adopt; see worker.Process.AskAdopt. If
	// State is nil, the supervisor does not ask.
	State func() (json.RawMessage, error)
}

// Probe describes how the supervisor starts its next program in order to ask it.
type Probe struct {
	Args []string // with its name first
	Dir  string   // working directory; "": unchanged
}

// Replaced reports that a new worker is the current one, and that the old worker drains. If Old is
// 0, no old worker runs.
type Replaced struct {
	Old, New int
	Version  string // of the new worker, from its Hello
	Took     time.Duration
}

// ErrUpgrading reports that an upgrade is in progress.
var ErrUpgrading = errors.New("another upgrade is in progress")

// RestoreError reports that an upgrade with NoOverlap failed, after it had ended the old worker.
type RestoreError struct {
	Err error // why the new program failed
	Old error // why the old program does not run again; nil: it runs
}

func (e *RestoreError) Error() string {
	if e.Old == nil {
		return e.Err.Error() + "; the old program was started again"
	}
	return fmt.Sprintf("%v; the old program was started again and is not ready: %v", e.Err, e.Old)
}

func (e *RestoreError) Unwrap() []error { return []error{e.Err, e.Old} }

// operation is an upgrade in progress. Supervisor.mu guards it.
type operation struct {
	spec      UpgradeSpec
	begun     time.Time
	over      context.Context // ends with the operation
	cancel    context.CancelFunc
	candidate *process      // nil: not forked yet, or it has ended
	hello     Hello         // valid when greeted is closed
	greeted   chan struct{} // closed when the candidate has sent its Hello
	why       error         // why it fails
	held      chan struct{} // NoOverlap: closed when Run may continue; nil: not held
	old       error         // NoOverlap: why the old program does not run again
	done      Replaced
	result    chan error
}

// Upgrade replaces the worker with a worker of another program. It blocks until the new worker is
// the current one and the old worker drains. The new worker must become ready within StartLimit. If
// Upgrade returns an error, a worker of the old program serves as before, unless the error is a
// *[RestoreError] or the supervisor stops. If ctx ends, Upgrade ends the new worker and returns the
// cause. Start must have returned, and Run must run.
func (s *Supervisor) Upgrade(ctx context.Context, u UpgradeSpec) (Replaced, error) {
	if u.Path != "" {
		if err := checkProgram(u.Path); err != nil {
			return Replaced{}, err
		}
	}
	op := &operation{spec: u, begun: time.Now(), greeted: make(chan struct{}), result: make(chan error, 1)}
	op.over, op.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer op.cancel()
	if err := s.beginUpgrade(op); err != nil {
		return Replaced{}, err
	}
	select {
	case err := <-op.result:
		return op.done, err
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.refuseCandidate(op, context.Cause(ctx))
	s.mu.Unlock()
	err := <-op.result // the candidate ends within the limits of its states
	return op.done, err
}

func (s *Supervisor) beginUpgrade(op *operation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	request := upgradeRequested
	if op.spec.NoOverlap && op.spec.Probe == nil {
		request = upgradeAloneRequested
	}
	switch {
	case s.stops:
		return ErrStopping
	case s.last.Load() == nil:
		return errNoWorker
	case s.upgrade.state == frozen:
		return ErrStopping
	case s.upgrade.state != serving:
		return ErrUpgrading
	case request == upgradeAloneRequested && (s.starting || s.last.Load().state == staged):
		return errNoWorker
	}
	s.op = op
	s.upgrade.handle(request)
	return nil
}

// event handles an event of the operation. It does nothing if the operation is over. s.mu is held.
func (s *Supervisor) event(op *operation, e upgradeEvent) {
	if s.op == op && op != nil {
		s.upgrade.handle(e)
	}
}

// refuseCandidate ends the operation with the error err. s.mu is held.
func (s *Supervisor) refuseCandidate(op *operation, err error) {
	op.why = cmp.Or(op.why, err)
	s.event(op, candidateRefused)
}

// perform performs an action of the table of upgrades. s.mu is held.
func (s *Supervisor) perform(a upgradeAction) {
	op := s.op
	switch a {
	case startCandidate:
		go s.try(op)
	case askCandidate:
		go s.ask(op, op.candidate)
	case endCandidate:
		if op.candidate != nil {
			op.candidate.handle(stopRequested)
		}
	case promote:
		s.promote(op)
	case endOld:
		s.endOld(op)
	case restoreOld:
		op.release()
	case reportResult:
		s.finish(op, op.verdict())
	case endAll:
		s.stopOthers()
		if op != nil {
			s.finish(op, ErrStopping)
		}
	}
}

// finish reports the result of the operation. s.mu is held.
func (s *Supervisor) finish(op *operation, err error) {
	s.op = nil
	op.cancel()
	op.release()
	op.result <- err
}

// verdict returns why the operation has failed, or nil.
func (op *operation) verdict() error {
	if op.held == nil || op.why == nil {
		return op.why
	}
	return &RestoreError{Err: op.why, Old: op.old}
}

// release lets Run continue after NoOverlap.
func (op *operation) release() {
	if op.held != nil && !isClosed(op.held) {
		close(op.held)
	}
}

// SetPath sets the path of the program of all later workers. "" means this binary.
func (s *Supervisor) SetPath(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.path = path
}

// Hello is the first message of a worker that uses this library to its supervisor.
type Hello = worker.Hello
