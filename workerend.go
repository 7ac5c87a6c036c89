package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/ossignal"
)

// end is how it has ended.
func (w *workerProcess) end() end {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	e := end{at: time.Now(), Exit: Exit{At: time.Now(), PID: w.PID, Error: w.error}}
	if w.why != nil {
		e.Why = w.why.Error()
	}
	if !w.readyAt.IsZero() {
		e.readyFor = e.at.Sub(w.readyAt)
	}
	switch status, ok := sysStatus(w.how); {
	case w.how == nil:
		e.Code = -1
	case ok && status.Signaled():
		e.Code, e.Signal = -1, ossignal.Name(status.Signal())
	default:
		e.Code = w.how.ExitCode()
	}
	switch {
	case w.failed != nil:
		e.Error = program{life: &life{config: w.of.of}}.text(w.failed.Err())
	case e.Error == "" && e.Code != 0:
		if words := handshake.LastLines(w.Words()); len(words) > 0 {
			e.Error = words[0]
		}
	}
	return e
}

func sysStatus(state *os.ProcessState) (status syscall.WaitStatus, ok bool) {
	if state == nil {
		return status, false
	}
	status, ok = state.Sys().(syscall.WaitStatus)
	return status, ok
}

// whyNotReady says why the first worker is not ready, of which nothing is left.
func (s *supervisor) whyNotReady(w *workerProcess, left int) error {
	s.mu.Lock()
	failed, said, why := w.failed, w.error, w.why
	s.mu.Unlock()
	switch {
	case failed != nil:
		return failed.Err()
	case said != "":
		return errors.New(said)
	case why != nil:
		return why
	}
	died := &handshake.ExitError{How: handshake.ExitText(w.how), Lines: handshake.LastLines(w.Words())}
	if len(died.Lines) == 0 && w.logs != nil {
		died.Lines = handshake.LastLines(w.logs.Tail())
	}
	if left > 0 && s.of.program != nil {
		return fmt.Errorf("%w\n  | (%s: %w)", died, filepath.Base(s.of.program[0]), errForksAway)
	}
	return died
}

// result is what a worker has come to that was to stop, and has ended so.
func (w *workerProcess) result(e end) error {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	status, _ := sysStatus(w.how)
	switch {
	case w.failed != nil:
		return w.failed.Err()
	case e.Code == 0, !w.felled && status.Signaled() && status.Signal() == syscall.SIGTERM: // ours, or that of systemd to all in the unit
		return nil
	case w.felled:
		return fmt.Errorf("%w: the worker (pid %d) was killed after %s", ErrStopTimeout, w.PID, console.FormatLimit(w.of.of.wholeStop()+workerMargin))
	case e.Code > 0:
		return WithExitCode(fmt.Errorf("lifecycle: the worker ended with %s", e.text()), e.Code)
	}
	return fmt.Errorf("lifecycle: the worker ended with %s", e.text())
}

// workersError is what a hook of a parent returns that has failed in the worker, or with it: that hook is not to be named for it.
type workersError struct{ error }

func ofWorker(err error) error {
	if err == nil {
		return nil
	}
	return workersError{err}
}

// Exit is how a worker has ended.
type Exit struct {
	At     time.Time `json:"at"`
	PID    int       `json:"pid"`
	Code   int       `json:"code"`             // -1: by a signal
	Signal string    `json:"signal,omitempty"` // SIGSEGV
	Error  string    `json:"error,omitempty"`  // what it said last
	Why    string    `json:"why,omitempty"`    // why its parent has ended it
}

// text is for people: exit 1 "db: connection refused".
func (e *Exit) text() string {
	text := fmt.Sprintf("exit %d", e.Code)
	switch {
	case e.Signal != "":
		text = "signal " + e.Signal
	case e.Code < 0:
		text = "it does not end"
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
