package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/statefile"
	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/sys/ossignal"
	"example.com/lifecycle/internal/sys/safefile"
)

// Ensure returns the running, ready daemon that the options describe. If none is running, Ensure
// starts one, detached. If another caller is already starting it, Ensure waits for that start. Any
// number of callers may call Ensure at once, in any number of processes: only one daemon starts. If
// the caller that starts it dies, the next caller starts it. [Args] sets the arguments of the
// daemon. With these arguments, the main of the daemon must call Run or Main with the same PID
// file. If this process was itself started as the daemon and has not called Run yet, Ensure returns
// an error at once.
//
// Ensure blocks until the daemon is ready. If the start by this caller fails, Ensure returns its
// error. If ctx ends first, Ensure returns the cause of ctx. Ensure first undoes a start by this
// caller, but not a start by another caller. This may take some seconds. The StartTimeout in opts
// limits the time until the main of the daemon calls Run. From then on, the options in that main
// apply. If the daemon dies during its start, the error contains its last output. It contains no
// exit code, because the daemon is not a child of the caller. Ensure handles no signals: if a
// signal ends the caller during the start, the start is undone too. The caller must close the
// [Process].
func Ensure(ctx context.Context, opts ...Option) (*Process, error) {
	for {
		plan, err := newPlan(nil, opts)
		if err != nil {
			return nil, err
		}
		p, err := plan.find()
		if errors.Is(err, ErrNotRunning) {
			_, err = launch{plan: plan}.run(ctx)
			if err == nil || errors.Is(err, ErrAlreadyRunning) {
				continue // find returns the new daemon
			}
			return nil, err
		}
		if err == nil {
			if err = p.settled(ctx); err == nil {
				return p, nil
			}
			p.Close()
		}
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("lifecycle: waiting for a daemon at %s: %w", plan.pidFile, context.Cause(ctx))
		case errors.Is(err, ErrNotRunning): // the daemon, or its launcher, is gone: try to start
		case errors.Is(err, pidfile.ErrNoPID):
			time.Sleep(lookAgain)
		default:
			return nil, err
		}
	}
}

// settled returns nil when the daemon is ready. It waits for the end of a daemon that is stopping.
// If the daemon has ended, it returns ErrNotRunning.
func (p *Process) settled(ctx context.Context) error {
	err := p.WaitReady(ctx)
	if !errors.Is(err, errStops) {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		return err
	}
	return &NotRunningError{PIDFile: p.pidFile}
}

// find returns the daemon that holds the PID file of the plan.
func (p *plan) find() (*Process, error) {
	if p.noPIDFile != nil {
		return nil, p.noPIDFile
	}
	return Find(p.pidFile)
}

// Stop asks the daemon to stop, with TERM, and blocks until it is gone; see [Process.Wait]. If the
// daemon reports that it is already stopping, Stop sends no second TERM, because a second TERM
// could end the process at once. Stop returns nil if the daemon ended cleanly, or was already gone.
// If its end failed, the error describes the failure, and wraps a [*HookError] if a hook failed.
// Stop does not signal a process that no longer holds the PID file. It returns an error if that
// process still runs 2 s later. If the daemon was a supervisor and was killed, Stop ends the
// processes that it has left. The error names processes that Stop cannot end. Inside the daemon
// itself, Stop returns an error at once, because it would wait for its own end; use [Life.Stop]
// there.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.checkOther(); err != nil {
		return err
	}
	end := p.followEnd()
	defer end.close()
	// A suspended process handles TERM only after CONT.
	signals := []os.Signal{syscall.SIGTERM, ossignal.Continue}
	if end.stops {
		signals = signals[1:]
	}
	if err := p.end(ctx, signals...); err != nil {
		return err
	}
	err := end.result()
	failed := new(endError)
	if err != nil && !(errors.As(err, &failed) && failed.died) {
		return err
	}
	if failed.doing == upgradeHook { // TERM ends a supervisor while it executes its next program
		err = nil
	}
	return cmp.Or(p.endRemains(ctx, 0), err)
}

// endRemains calls the function endRemains if the state file is from this daemon. The daemon must
// have ended.
func (p *Process) endRemains(ctx context.Context, limit time.Duration) error {
	if s, err := lastState(p.pidFile); err != nil || s.PID != p.PID {
		return nil
	}
	_, _, err := endRemains(ctx, p.pidFile, limit)
	return err
}

// killAtOnce is the limit of endRemains that means KILL at once.
const killAtOnce = -1

// endRemains ends the processes that the worker of a killed supervisor has left. limit is the time
// until KILL. 0 means the StopTimeout of that supervisor. It returns the last status of the
// supervisor, or the zero Status if nothing is left or the next start has begun.
func endRemains(ctx context.Context, pidFile string, limit time.Duration) (last Status, ended supervise.Ended, err error) {
	last, err = lastState(pidFile)
	if err != nil || last.PIDFileLost || last.living().Surviving().IsZero() {
		return Status{}, ended, nil
	}
	info, err := os.Lstat(statePath(pidFile))
	if err != nil {
		return Status{}, ended, nil
	}
	if h, err := inspectPIDFile(pidFile); err != nil || h.Held {
		return Status{}, ended, nil
	}
	ended, err = supervise.Remains{
		Of: last.living(), Limit: limit, Margin: supervise.OrphansMargin,
		Owner: safefile.Owner(info), // who can write the file must not make root signal others
		Log:   slog.New(slog.DiscardHandler),
	}.End(ctx)
	if err != nil {
		err = addPrefix(err)
	}
	return last, ended, err
}

// ending reads the state file of one daemon until the daemon has ended. It keeps that file open, so
// it does not read the file of the next daemon.
type ending struct {
	of    *Process
	file  *statefile.Reader // nil: the state is unknown
	pid   int               // of the daemon in its own PID namespace
	stops bool              // the daemon is already stopping
}

func (p *Process) followEnd() ending {
	f, s, err := openState(p.pidFile, p.verifyAlive)
	return ending{p, f, s.PID, err == nil && s.Phase >= Stopping}
}

func (e ending) close() {
	if e.file != nil {
		e.file.Close()
	}
}

// result returns an [*endError] if the daemon failed at its end. It must be called after the daemon
// has ended. A daemon that did not die has removed or emptied its PID file.
func (e ending) result() error {
	var s Status
	var err error
	if e.file != nil {
		s, err = readStatus(e.file)
	} else if s, err = lastState(e.of.pidFile); s.PID != e.of.PID {
		return nil
	}
	if err == nil && s.Failed != nil {
		return &endError{pid: e.of.PID, cause: s.Failed.Err(), also: s.Failed.Also}
	}
	if h, err := inspectPIDFile(e.of.pidFile); err == nil && !h.Held && h.Number != 0 && h.Number == e.pid {
		return &endError{pid: e.of.PID, died: true, doing: s.Doing}
	}
	return nil
}

// endError reports that a daemon is gone, and that its end failed.
type endError struct {
	pid   int
	cause error
	also  []string
	died  bool   // it died during its stop, and cause is nil
	doing string // the hook during which it died, or ""
}

func (e *endError) Error() string {
	return fmt.Sprintf("lifecycle: pid %d stopped, but %s", e.pid, e.what())
}

func (e *endError) Unwrap() error { return e.cause }

// ExitCode returns 1. The verb that stopped the daemon does not exit with the code of the daemon.
func (e *endError) ExitCode() int { return 1 }

// what describes the failure, such as: OnStop of cache failed: cannot flush.
func (e *endError) what() string {
	switch {
	case !e.died:
		return strings.Join(append([]string{failedText(e.cause)}, e.also...), "; ")
	case e.doing != "":
		return "it died before its stop was over, in " + e.doing
	}
	return "it died before its stop was over"
}
