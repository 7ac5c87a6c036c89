package supervise

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/lifecycle/internal/console"
)

// ask sends a ready candidate the questions that it must answer before it becomes the current
// worker.
func (s *Supervisor) ask(op *operation, p *process) {
	proven := time.NewTimer(provenAfter)
	defer proven.Stop()
	err := s.greeting(op, p)
	if err == nil && !p.isProgram() && op.spec.State != nil {
		err = askAdopt(op, p)
	}
	if err != nil && p.isEnding() {
		return // candidateGone reports the end of the candidate
	}
	if err == nil {
		select {
		case <-proven.C:
		case <-p.gone:
			return
		case <-op.over.Done():
			return
		}
	}
	s.mu.Lock()
	if err != nil {
		s.refuseCandidate(op, err)
	} else if op.spec.Probe != nil {
		op.done = Replaced{New: s.last.Load().PID, Version: op.hello.Version, Took: time.Since(op.begun)}
		s.event(op, candidateAnswered)
	} else if p.isUp() {
		s.event(op, candidateApproved)
	}
	s.mu.Unlock()
	s.deliver()
}

// isEnding reports whether a candidate that uses this library has ended or is about to end. It
// waits for a moment before it returns false.
func (p *process) isEnding() bool {
	soon := time.NewTimer(provenAfter)
	defer soon.Stop()
	select {
	case <-p.gone:
		return true
	case <-p.Hello(): // the candidate has closed its control socket
	case <-soon.C:
		return false
	}
	soon.Reset(WorkerMargin)
	select {
	case <-p.gone:
		return true
	case <-soon.C:
		return false
	}
}

// greeting waits for the Hello of a candidate and checks it.
func (s *Supervisor) greeting(op *operation, p *process) error {
	if p.isProgram() {
		return nil
	}
	if !op.isGreeted() && !op.awaitHello(p) {
		return errors.New("the new worker is ready but did not report to its supervisor: " +
			"its program uses an older release of this library, or none")
	}
	if op.spec.Check == nil {
		return nil
	}
	return op.spec.Check(op.hello)
}

// awaitHello waits for the Hello of a candidate that is ready. It returns false if there is none.
func (op *operation) awaitHello(p *process) bool {
	limit := time.NewTimer(askLimit)
	defer limit.Stop()
	select {
	case hello, ok := <-p.Hello():
		if ok {
			op.greet(hello)
		}
		return ok
	case <-limit.C:
	case <-p.gone:
	case <-op.over.Done():
	}
	return false
}

func (op *operation) greet(h Hello) {
	op.hello = h
	close(op.greeted)
}

func (op *operation) isGreeted() bool { return isClosed(op.greeted) }

// askAdopt asks the program of a candidate whether it can also continue as the supervisor.
func askAdopt(op *operation, p *process) error {
	state, err := op.spec.State()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(op.over, askLimit, errors.New("it did not answer in "+console.FormatLimit(askLimit)))
	defer cancel()
	if err := p.AskAdopt(ctx, state); err != nil {
		return fmt.Errorf("the new program cannot continue as the supervisor: %w", err)
	}
	return nil
}
