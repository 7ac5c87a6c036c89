package supervise

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/sys/ossignal"
)

// Exit describes how a worker ended.
type Exit struct {
	At     time.Time `json:"at"`
	PID    int       `json:"pid"`
	Code   int       `json:"code"`
	Signal string    `json:"signal,omitempty"`
	Error  string    `json:"error,omitempty"`
	Why    string    `json:"why,omitempty"`
}

// Text describes the exit in a message, such as: exit 1 "db: connection refused".
func (e Exit) Text() string {
	text := fmt.Sprintf("exit %d", e.Code)
	switch {
	case e.Signal != "":
		text = "signal " + e.Signal
	case e.Code < 0:
		text = "no exit status"
	}
	if e.Why != "" {
		text += ", " + e.Why
	}
	if e.Error != "" {
		line, _, _ := strings.Cut(e.Error, "\n")
		text += fmt.Sprintf(" %q", line)
	}
	return text
}

// NotReadyError reports that a worker was not ready in time.
type NotReadyError struct {
	Timeout time.Duration
	Last    error // the last error of Spec.Ready; nil: none
}

func (e *NotReadyError) Error() string {
	text := "not ready after " + console.FormatLimit(e.Timeout)
	if e.Last != nil {
		text += ": " + e.Last.Error()
	}
	return text
}

// KilledError reports that a worker did not stop in time and was killed.
type KilledError struct {
	PID   int
	After time.Duration
}

func (e *KilledError) Error() string {
	return fmt.Sprintf("the worker (pid %d) was killed after %s", e.PID, console.FormatLimit(e.After))
}

// ExitError reports that a worker ended its stop with an error.
type ExitError struct{ Exit Exit }

func (e *ExitError) Error() string { return "the worker ended with " + e.Exit.Text() }

// ExitCode returns the exit code of the worker, or 1 if a signal ended it.
func (e *ExitError) ExitCode() int {
	if e.Exit.Code > 0 {
		return e.Exit.Code
	}
	return 1
}

// GaveUpError reports why no further worker is started.
type GaveUpError struct {
	Why  string
	Exit Exit

	final bool // the exit code is one of Policy.Permanent
}

func (e *GaveUpError) Error() string { return "gave up: " + e.Why + "; last: " + e.Exit.Text() }

// ExitCode returns the exit code of the worker if that code is permanent, else 1.
func (e *GaveUpError) ExitCode() int {
	if e.final {
		return e.Exit.Code
	}
	return 1
}

// forksAway is the error of a supervised program that exited with 0 and left processes.
const forksAway = "it left processes behind: a supervised program must stay in the foreground"

// end returns how the worker ended.
func (p *process) end() end {
	p.of.mu.Lock()
	e := end{at: time.Now(), Exit: Exit{At: time.Now(), PID: p.PID, Error: p.failed}}
	if p.why != nil {
		e.Why = p.why.Error()
	}
	if !p.readyAt.IsZero() {
		e.readyFor = e.at.Sub(p.readyAt)
	}
	exit, failure := p.exit, p.failure
	e.asked = p.again
	p.of.mu.Unlock()
	switch status, ok := waitStatus(exit); {
	case exit == nil:
		e.Code = -1
	case ok && status.Signaled():
		e.Code, e.Signal = -1, ossignal.Name(status.Signal())
	default:
		e.Code = exit.ExitCode()
	}
	switch {
	case failure != nil:
		e.Error = p.of.spec.Text(p.of.spec.Decode(failure))
	case e.Error == "" && e.Code != 0:
		if lines := handshake.LastLines(p.Output()); len(lines) > 0 {
			e.Error = lines[0]
		}
	}
	return e
}

func waitStatus(state *os.ProcessState) (status syscall.WaitStatus, ok bool) {
	if state == nil {
		return status, false
	}
	status, ok = state.Sys().(syscall.WaitStatus)
	return status, ok
}

// whyNotReady returns why the first worker is not ready. The worker has ended, or the supervisor
// cannot end it. logged is the text that the worker wrote to the log. left is the number of
// processes that it left behind.
func (s *Supervisor) whyNotReady(p *process, logged string, left int) error {
	s.mu.Lock()
	failure, failed, why, exit, endErr := p.failure, p.failed, p.why, p.exit, p.endError()
	s.mu.Unlock()
	switch {
	case endErr != nil:
		return endErr
	case failure != nil:
		return s.spec.Decode(failure)
	case failed != "":
		return errors.New(failed)
	case why != nil:
		return why
	}
	lines := handshake.LastLines(p.Output())
	if len(lines) == 0 {
		lines = handshake.LastLines(logged)
	}
	died := handshake.Died(exit, lines)
	if left > 0 && exit != nil && exit.Success() && s.spec.Program != nil {
		return fmt.Errorf("%w\n  | (%s: %s)", died, filepath.Base(s.spec.Args[0]), forksAway)
	}
	return died
}

// result returns the result of a stopped worker to its first caller, and nil to later callers. If
// TERM or StopSignal ended the worker, the stop is clean. The sender was the supervisor, or a
// service manager that signals all processes of the service.
func (p *process) result(e end) error {
	p.of.mu.Lock()
	again, failure, killed, endErr := p.told, p.failure, p.wasKilled, p.endError()
	status, _ := waitStatus(p.exit)
	p.told = true
	p.of.mu.Unlock()
	switch {
	case again:
		return nil
	case endErr != nil:
		return endErr
	case failure != nil:
		return p.of.spec.Decode(failure)
	case !killed && status.Signaled() && (status.Signal() == syscall.SIGTERM || status.Signal() == p.of.spec.Policy.StopSignal):
		return nil
	case !killed && slices.Contains(p.of.spec.Policy.Clean, e.Code):
		return nil
	case killed:
		return &KilledError{PID: p.PID, After: p.of.stopLimit()}
	}
	return &ExitError{e.Exit}
}
