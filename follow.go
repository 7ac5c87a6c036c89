package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"example.com/lifecycle/internal/monotonic"
	"example.com/lifecycle/internal/ossignal"
	"example.com/lifecycle/internal/pidfile"
)

// Status returns what the daemon says that it is doing. The error wraps [ErrNotRunning] where the daemon is gone; any other says why it cannot
// be told what a daemon does that runs. It tries for 100 ms to read the state file.
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
	s.PID = p.PID // from another PID namespace it is another one
	return s, err
}

// WaitReady blocks until the daemon is ready. It returns nil then, at once where it is reloading, and an error where it stops, is
// gone ([ErrNotRunning]), cannot say what it does, or where ctx ends before, with its cause.
func (p *Process) WaitReady(ctx context.Context) error {
	return p.follow(ctx, "it to be ready", func(s Status) (enough bool, err error) {
		switch s.Phase {
		case Ready, Reloading:
			return true, nil
		case Starting:
			return false, nil
		}
		return true, fmt.Errorf("lifecycle: pid %d %w", p.PID, errStops)
	})
}

// errStops says that a daemon is stopping, and so will not be ready.
var errStops = errors.New("is stopping")

// Reload asks the daemon to reload, with HUP, and blocks until there is a verdict of a reload that began after that. It returns nil where that
// has succeeded, and an error that wraps [ErrReload] where it has failed, the daemon has stopped or died instead, or was stopping already. The error
// wraps [ErrNotRunning] where the daemon is gone, and the cause of ctx where that ends first.
func (p *Process) Reload(ctx context.Context) error {
	if s, err := p.Status(); err == nil && s.Phase == Stopping {
		return stopsInstead()
	}
	asked := monotonic.Now()
	if err := p.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	err := p.follow(ctx, "the verdict of its reload", func(s Status) (enough bool, err error) {
		v := s.LastReload
		switch {
		case v != nil && v.Began >= asked:
			return true, v.reloadErr()
		case s.Phase == Stopping:
			return true, stopsInstead()
		}
		return false, nil
	})
	if errors.Is(err, ErrNotRunning) {
		return &reloadError{cause: err}
	}
	return err
}

// Reopen asks the daemon to reopen its log, with USR1, and blocks until it has. The errors are like those of Reload, but none
// wraps ErrReload.
func (p *Process) Reopen(ctx context.Context) error {
	_, err := p.reopen(ctx)
	return err
}

// reopen says which log it was, "" if the daemon has none of its own.
func (p *Process) reopen(ctx context.Context) (log string, err error) {
	if ossignal.User1 == nil {
		return "", fmt.Errorf("lifecycle: reopen: %w", errors.ErrUnsupported)
	}
	asked := monotonic.Now()
	if err := p.Signal(ossignal.User1); err != nil {
		return "", err
	}
	err = p.follow(ctx, "it to reopen its log", func(s Status) (enough bool, err error) {
		v := s.LastReopen
		log = s.LogFile
		switch {
		case v != nil && v.Began >= asked:
			return true, v.Err()
		case s.Phase == Stopping:
			return true, fmt.Errorf("lifecycle: pid %d is stopping and does not reopen its log", p.PID)
		}
		return false, nil
	})
	return log, err
}

const (
	// patienceForSilence is how long a daemon that runs may not say what it does before that is not waited for any more.
	patienceForSilence = 2 * time.Second
	// longestPause is how long after a look at the state there is another one, at most.
	longestPause = 20 * time.Millisecond
	// looksAtOnce is how many come without a pause: most reloads take less time than the shortest sleep, which is about 1 ms.
	looksAtOnce = 5
)

// follow reads what the daemon says about itself again and again, until enough says that this is enough or the daemon is gone.
func (p *Process) follow(ctx context.Context, what string, enough func(Status) (bool, error)) error {
	heard, doing := time.Now(), ""
	pause := time.Millisecond
	for looks := 1; ; looks++ {
		// Both before the look: after a pause of this process, the look may be older than the news.
		over, silent := ctx.Err(), time.Since(heard) > patienceForSilence
		s, err := p.Status()
		switch {
		case errors.Is(err, ErrNotRunning):
			return &waitError{what: what, pid: p.PID, cause: err}
		case err != nil && silent:
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

// waitError says for what it was waited in vain.
type waitError struct {
	what  string
	pid   int
	doing string // what the daemon did instead, "" if it did not say
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
