package lifecycle

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/proc"
)

func (p program) stopVerb(given flags) (exitCode int) {
	daemon, err := p.life.plan.find()
	if err != nil {
		if errors.Is(err, ErrNotRunning) && given["oknodo"] {
			if !p.quiet {
				p.sayNotRunning()
			}
			return 0
		}
		return p.fail("stop", err)
	}
	defer daemon.Close()
	return p.stopDaemon("stop", daemon)
}

// stopDaemon stops the daemon for that verb, and kills it if the stop takes too long. It also
// removes the PID file of a killed daemon, if it may.
func (p program) stopDaemon(verb string, daemon *Process) (exitCode int) {
	begun, again := time.Now(), ""
	if s, err := daemon.Status(); err == nil && verb == "stop" {
		again = s.againText()
	}
	held, _ := inspectPIDFile(p.life.plan.pidFile) // a state file counts only if it has this owner
	ctx, overdue := context.WithCancelCause(context.Background())
	defer overdue(nil)
	go p.watchStop(ctx, daemon, overdue)
	err := p.withProgress("stop", daemon, func() error { return daemon.Stop(ctx) })
	switch {
	case err == nil:
		if info, err := os.Lstat(p.life.plan.pidFile); err == nil && info.Size() == 0 {
			// The daemon could not remove the file, so it emptied the file.
			p.life.plan.releaseStale()
		}
		s, err := readStateOnce(statePath(p.life.plan.pidFile), held.Owner)
		if err == nil && s.PID == daemon.PID && s.Left != "" {
			p.say("stopped (pid %d, %s), but %s%s", daemon.PID, console.FormatElapsed(time.Since(begun)), console.SanitizeInline(s.Left), again)
			return 1
		}
		p.report("stopped (pid %d, %s)%s", daemon.PID, console.FormatElapsed(time.Since(begun)), again)
		return 0
	case !errors.Is(err, ErrStopTimeout):
		return p.fail(verb, err)
	}
	what, where, worker, workerID := "", "", 0, ""
	if s, err := daemon.Status(); err == nil {
		worker, workerID = s.Worker, s.WorkerID
		what = strings.TrimPrefix(console.SanitizeInline(s.Doing)+" ", " ")
		if s.LogFile != "" {
			where = ", stack in " + bytetext.Escape(s.LogFile)
		}
	}
	limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = p.withProgress("end", daemon, func() error { return daemon.Kill(limited) })
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		p.say("still running after KILL (pid %d)", daemon.PID)
		return 1
	case err != nil:
		return p.fail(verb, err)
	}
	if worker != 0 {
		// The worker ends by itself. Until then it holds what the next worker needs.
		supervise.AwaitExit(limited, worker)
		if workerID != "" && proc.Identity(worker) == workerID {
			p.say("killed (pid %d), but its worker (pid %d) still runs", daemon.PID, worker)
			return 1
		}
	}
	p.life.plan.releaseStale()
	p.say("killed (pid %d): %sstill running after %s%s%s", daemon.PID, what, console.FormatElapsed(time.Since(begun)), where, again)
	return 0
}

// watchStop calls overdue when the stop has exceeded the time that the daemon reports for it. If
// the daemon reports none, the limit is the stop time of the options given here.
func (p program) watchStop(ctx context.Context, daemon *Process, overdue context.CancelCauseFunc) {
	begun := monotonic.Now()
	deadline := begun + p.life.plan.wholeStop()
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		s, err := daemon.Status()
		known := err == nil && s.Phase == Stopping
		if known {
			deadline = max(s.StopBy, begun)
		}
		left := deadline + handshake.StopMargin - monotonic.Now()
		if left <= 0 {
			overdue(ErrStopTimeout)
			return
		}
		if !known {
			left = min(left, pause)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(left):
		}
	}
}
