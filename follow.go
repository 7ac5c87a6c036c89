package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/statefile"
	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/origin"
	"example.com/lifecycle/internal/sys/ossignal"
	"example.com/lifecycle/internal/sys/safefile"
)

// Status returns the state that the daemon publishes. It tries for 100 ms to read the state file.
// The error wraps [ErrNotRunning] if the daemon is gone. Any other error explains why the state of
// a running daemon could not be read.
func (p *Process) Status() (Status, error) {
	var gone error
	s, err := readState(p.pidFile, func() (pidfile.Holder, error) {
		h, err := p.verifyAlive()
		gone = p.gone(err)
		return h, gone
	})
	if gone != nil {
		return Status{}, gone
	}
	s.PID = p.PID // in another PID namespace the daemon has another PID
	return s, err
}

// WaitReady blocks until the daemon is ready. It returns nil at once if the daemon is ready or
// reloading. It returns an error if the daemon stops, is gone ([ErrNotRunning]) or cannot report
// its state. If ctx ends first, the error wraps the cause of ctx. A daemon cannot wait for itself:
// in the daemon before Run, and in a hook, WaitReady returns an error at once.
func (p *Process) WaitReady(ctx context.Context) error {
	return p.follow(ctx, "it to be ready", func(s Status) (enough bool, err error) {
		switch s.Phase {
		case Ready, Reloading:
			return true, nil
		case Starting:
			err := p.waitsForItself(ctx)
			return err != nil, err
		}
		return true, fmt.Errorf("lifecycle: pid %d %w", p.PID, errStops)
	})
}

// errBeforeRun reports that a process that was started as the daemon waits for the daemon. Without
// this error, the wait would last until the StartTimeout of its launcher.
var errBeforeRun = errors.New("lifecycle: this process was started as the daemon, but waits for the daemon " +
	"before it calls Run: set Args so that the main of the daemon calls Run or Main")

// waitsForItself returns an error if the caller would wait for itself. The caller is then part of
// the daemon, and has not called Run or runs in a hook.
func (p *Process) waitsForItself(ctx context.Context) error {
	if !p.isOurs() {
		return nil
	}
	switch l := running.Load(); {
	case l == nil:
		return errBeforeRun
	case l.hookThatRuns(ctx) != "" || insideHook():
		return fmt.Errorf("lifecycle: pid %d: %w", p.PID, errWaitsForItself)
	}
	return nil
}

// isOurs reports whether this process is the daemon, or the worker of the daemon.
func (p *Process) isOurs() bool {
	return p.PID == os.Getpid() || supervisorNote() != nil && p.PID == os.Getppid()
}

// insideHook reports whether the caller runs in the goroutine of a hook.
func insideHook() bool {
	callers := make([]uintptr, 256)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	for more := true; more; {
		var frame runtime.Frame
		if frame, more = frames.Next(); strings.Contains(frame.Function, ".(*life).do.func") {
			return true
		}
	}
	return false
}

// errStops reports that a daemon is stopping and will not be ready.
var errStops = errors.New("is stopping")

// Reload asks the daemon to reload, with HUP, and blocks until it has the verdict of a reload that
// began after the signal. It returns nil if that reload succeeded, or if a supervised program (see
// [Program]) reports no result. The error wraps [ErrReload] if the reload failed. It also wraps
// ErrReload if the daemon is stopping, or has ended before the verdict. The error wraps
// [ErrNotRunning] if the daemon is gone. If ctx ends first, the error wraps the cause of ctx.
func (p *Process) Reload(ctx context.Context) error {
	_, err := p.reload(ctx)
	return err
}

// reload also returns a note if the daemon cannot know the result of the reload.
func (p *Process) reload(ctx context.Context) (note string, err error) {
	before, err := p.Status()
	if err == nil && before.Phase >= Stopping {
		return "", stopsInstead()
	}
	if err := p.waitsForItself(ctx); err != nil {
		return "", err
	}
	asked, again := monotonic.Now(), p.sendAgain(before, syscall.SIGHUP)
	if err := p.Signal(syscall.SIGHUP); err != nil {
		return "", err
	}
	err = p.follow(ctx, "the verdict of its reload", func(s Status) (enough bool, err error) {
		v := s.LastReload
		switch {
		case v != nil && v.Began >= asked:
			note = v.Note
			return true, v.reloadErr()
		case s.Phase >= Stopping:
			return true, stopsInstead()
		}
		err = again(s)
		return err != nil, err
	})
	if errors.Is(err, ErrNotRunning) {
		return "", &reloadError{cause: err}
	}
	return note, err
}

// Reopen asks the daemon to reopen its log, with USR1, and blocks until that is done. It returns
// the same errors as [Process.Reload], except that none wraps ErrReload.
func (p *Process) Reopen(ctx context.Context) error {
	_, err := p.reopen(ctx)
	return err
}

// reopen also returns the path of the log, or "" if the daemon has no log of its own.
func (p *Process) reopen(ctx context.Context) (log string, err error) {
	if ossignal.User1 == nil {
		return "", fmt.Errorf("lifecycle: reopen: %w", errors.ErrUnsupported)
	}
	if err := p.waitsForItself(ctx); err != nil {
		return "", err
	}
	before, _ := p.Status() // if it cannot be read, the signal may be sent once too often
	asked, again := monotonic.Now(), p.sendAgain(before, ossignal.User1)
	if err := p.Signal(ossignal.User1); err != nil {
		return "", err
	}
	err = p.follow(ctx, "it to reopen its log", func(s Status) (enough bool, err error) {
		v := s.LastReopen
		log = s.LogFile
		switch {
		case v != nil && v.Began >= asked:
			return true, v.Err()
		case s.Phase >= Stopping:
			return true, fmt.Errorf("lifecycle: pid %d is stopping and does not reopen its log", p.PID)
		}
		err = again(s)
		return err != nil, err
	})
	return log, err
}

// keeper returns the state of the daemon, with KeptBy set. It returns an error if KeptBy is
// unknown.
func (p *Process) keeper() (s Status, err error) {
	err = p.follow(context.Background(), "its state", func(now Status) (enough bool, err error) {
		s = now
		return true, nil
	})
	switch {
	case s.KeptBy == "" && s.LogFile != "": // of an earlier version; only a detached daemon has a log
		s.KeptBy = keptDetached
	case err == nil && s.KeptBy == "":
		err = errors.New("its state file does not say what started it")
	}
	if err != nil && !errors.Is(err, ErrNotRunning) {
		if _, originErr := p.origin(); originErr == nil { // only a detached daemon keeps its origin
			s.PID, s.KeptBy, err = p.PID, keptDetached, nil
		}
	}
	return s, err
}

// origin returns the arguments and the directory with which the daemon was started.
func (p *Process) origin() (origin.Origin, error) {
	o, err := origin.Of(p.PID, p.pidFile)
	if _, endErr := p.verifyAlive(); endErr != nil {
		return o, p.gone(endErr)
	}
	return o, err
}

// restartWorker makes a supervisor replace its worker, and returns the state before and after. It
// requests this by a lock on the state file. USR1 makes the supervisor check for such a lock.
func (p *Process) restartWorker(ctx context.Context) (before, after Status, err error) {
	if before, err = p.Status(); err != nil {
		return before, after, err
	}
	path := statePath(p.pidFile)
	request, err := statefile.Request(path)
	if err != nil {
		return before, after, stateFileError(path, err)
	}
	_, err = p.reopen(ctx)
	request.Close()
	if err != nil {
		return before, after, err
	}
	err = p.follow(ctx, "its new worker to be ready", func(s Status) (enough bool, err error) {
		after = s
		failed := s.LastExit != nil && s.LastExit.PID != before.Worker &&
			(before.LastExit == nil || !s.LastExit.At.Equal(before.LastExit.At))
		switch {
		case s.Phase == Stopping:
			return true, fmt.Errorf("lifecycle: pid %d %w", p.PID, errStops)
		case failed:
			return true, fmt.Errorf("lifecycle: the new worker ended: %s; the supervisor continues", s.LastExit.text())
		}
		return s.Restarts > before.Restarts && s.Worker != 0 && s.Phase == Ready, nil
	})
	return before, after, err
}

const (
	// patienceForSilence is how long follow waits for a running daemon whose state cannot be read.
	patienceForSilence = 2 * time.Second
	// longestPause is the longest delay between two reads of the state.
	longestPause = 20 * time.Millisecond
	// looksAtOnce is the number of reads without a delay. Most reloads take less time than the
	// shortest sleep, about 1 ms.
	looksAtOnce = 5
)

// follow reads the state of the daemon repeatedly, until enough returns true or the daemon is gone.
// what completes the error "waiting for …".
func (p *Process) follow(ctx context.Context, what string, enough func(Status) (bool, error)) error {
	heard, doing := time.Now(), ""
	pause := time.Millisecond
	for looks := 1; ; looks++ {
		// Both are computed before the read. So follow reads once more after the time is over, and then
		// gives up.
		over, silence := ctx.Err(), time.Since(heard)
		s, err := p.Status()
		switch {
		case errors.Is(err, ErrNotRunning):
			return &waitError{what: what, pid: p.PID, cause: err}
		case err != nil && (silence > patienceForSilence || silence > statefile.RetryTime && safefile.OutcomeOf(err).IsFinal()):
			return &waitError{what: what, pid: p.PID, cause: err}
		case err == nil:
			if ok, err := enough(s); ok {
				return err
			}
			heard, doing = time.Now(), s.Doing
		}
		if over != nil {
			return &waitError{what, p.PID, doing, context.Cause(ctx)}
		}
		if looks < looksAtOnce {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, longestPause)
		}
	}
}

// waitError is the error of a wait without a result.
type waitError struct {
	what  string
	pid   int
	doing string // the hook that still runs, or ""
	cause error
}

func (e *waitError) Error() string {
	doing := ""
	if e.doing != "" {
		doing = ", " + e.doing + " is still running"
	}
	return fmt.Sprintf("lifecycle: pid %d: waiting for %s%s: %v", e.pid, e.what, doing, e.cause)
}

func (e *waitError) Unwrap() error { return e.cause }
