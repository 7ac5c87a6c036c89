package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/keeper"
	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/proc"
)

func (p program) stopVerb(given flags) (exitCode int) {
	daemon, err := p.life.plan.find()
	if err != nil {
		if errors.Is(err, ErrNotRunning) {
			if exitCode, done := p.stopRemains(); done {
				return exitCode
			}
		}
		if errors.Is(err, ErrNotRunning) && given["oknodo"] {
			if !p.quiet {
				p.sayNotRunning()
			}
			return 0
		}
		return p.fail("stop", err)
	}
	defer daemon.Close()
	exitCode, _ = p.stopDaemon("stop", daemon)
	return exitCode
}

// stopRemains ends the processes that the worker of a killed supervisor has left. done is false if
// there are none.
func (p program) stopRemains() (exitCode int, done bool) {
	begun := time.Now()
	last, ended, err := endRemains(context.Background(), p.life.plan.pidFile, 0)
	switch {
	case last.PID == 0:
		return 0, false
	case err != nil:
		exitCode = p.fail("stop", err)
		if left := new(supervise.SurvivorsError); errors.As(err, &left) && errors.Is(left.Err, fs.ErrPermission) {
			exitCode = 4
		}
		return exitCode, true
	}
	p.life.plan.releaseStale()
	text := fmt.Sprintf("ended what pid %d left behind (%s)", last.PID, console.FormatElapsed(time.Since(begun)))
	if len(ended.Names) > 0 {
		text += ": " + console.SanitizeInline(strings.Join(ended.Names, ", "))
	}
	if len(ended.Killed) > 0 {
		text += "; killed: " + console.SanitizeInline(strings.Join(ended.Killed, ", "))
	}
	p.report("%s", text)
	return 0, true
}

// stopDaemon stops the daemon for that verb, and kills it if the stop takes too long. It also
// removes the PID file of a killed daemon, if it has the permission. gone reports whether the
// daemon has ended. If gone is true, an exit code other than 0 means that the end failed.
func (p program) stopDaemon(verb string, daemon *Process) (exitCode int, gone bool) {
	begun, again := time.Now(), ""
	if s, err := daemon.Status(); err == nil && verb == "stop" {
		again = s.againText()
	}
	held, _ := inspectPIDFile(p.life.plan.pidFile) // the state file must have this owner
	ctx, overdue := context.WithCancelCause(context.Background())
	defer overdue(nil)
	go p.watchStop(ctx, daemon, overdue)
	err := p.withProgress("stop", daemon, func() error { return daemon.Stop(ctx) })
	var failed *endError
	switch {
	case err == nil || errors.As(err, &failed):
		if info, lookErr := os.Lstat(p.life.plan.pidFile); lookErr == nil && (err == nil || info.Size() == 0) {
			// The daemon could not remove the file, so it emptied the file. Or it ended during an upgrade.
			p.life.plan.releaseStale()
		}
		stopped := fmt.Sprintf("stopped (pid %d, %s)", daemon.PID, console.FormatElapsed(time.Since(begun)))
		s, err := readStateOnce(statePath(p.life.plan.pidFile), held.Owner)
		if err == nil && s.PID == daemon.PID && s.Left != "" {
			p.say("%s, but %s%s", stopped, console.SanitizeInline(s.Left), again)
			return 1, false
		}
		if failed != nil {
			p.say("%s, but %s%s", stopped, console.SanitizeInline(failed.what()), again)
			return 1, true
		}
		p.report("%s%s", stopped, again)
		return 0, true
	case !errors.Is(err, ErrStopTimeout):
		return p.fail(verb, err), false
	}
	what, where, worker, workerID := "", "", 0, ""
	last, err := daemon.Status()
	if s := last; err == nil {
		worker, workerID = s.Worker, s.WorkerID
		what = strings.TrimPrefix(console.SanitizeInline(s.Doing)+" ", " ")
		if s.LogFile != "" {
			where = ", stack in " + bytetext.Escape(s.LogFile)
		}
	}
	limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = p.withProgress("end", daemon, func() error { return daemon.Kill(limited) })
	var left *supervise.SurvivorsError
	switch {
	case errors.As(err, &left):
		p.say("killed (pid %d), but %s", daemon.PID, console.SanitizeInline(left.Error()))
		return 1, false
	case errors.Is(err, context.DeadlineExceeded):
		p.say("still running after KILL (pid %d)", daemon.PID)
		return 1, false
	case err != nil:
		return p.fail(verb, err), false
	}
	if worker != 0 {
		// The worker ends because its supervisor is gone. Until then it holds files and sockets that the
		// next worker needs.
		supervise.AwaitExit(limited, worker)
		if workerID != "" && proc.Identity(worker) == workerID {
			p.say("killed (pid %d), but its worker (pid %d) still runs", daemon.PID, worker)
			return 1, false
		}
	}
	what += "still running after " + console.FormatElapsed(time.Since(begun))
	p.life.plan.releaseKilled(last, what)
	p.say("killed (pid %d): %s%s%s", daemon.PID, what, where, again)
	return 1, true
}

// watchStop calls overdue when the stop has exceeded its time. The daemon reports that time in
// StopBy. If it reports none, the options of this call set the time.
func (p program) watchStop(ctx context.Context, daemon *Process, overdue context.CancelCauseFunc) {
	begun := monotonic.Now()
	deadline := begun + p.life.plan.wholeStop()
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		s, err := daemon.Status()
		known := err == nil && s.Phase >= Stopping
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

// restartText returns why no verb may restart the daemon, and how to restart it instead.
func (s Status) restartText() string {
	switch s.KeptBy {
	case keptProcess1:
		return fmt.Sprintf("pid %d is process 1 of its container, so the container ends with it: restart the container", s.PID)
	case keptManager:
		command := s.managerCommand("restart")
		if command == "" {
			return fmt.Sprintf("%s manages pid %d: restart the service there", s.managerName(), s.PID)
		}
		return fmt.Sprintf("%s manages pid %d: use %s", s.managerName(), s.PID, command)
	}
	return fmt.Sprintf("pid %d runs in the foreground, and only the process that started it can start it again: restart it there", s.PID)
}

// againText returns the end of the line of a stop if a service manager may start the daemon again.
// It returns "" in a process that the manager has started itself, such as ExecStop=.
func (s Status) againText() string {
	if s.KeptBy != keptManager {
		return ""
	}
	if _, own := keeper.Systemd(); own {
		return ""
	}
	text := "; " + s.managerName() + " may start it again"
	if command := s.managerCommand("stop"); command != "" {
		text += ", use " + command
	}
	return text
}

func (s Status) managerName() string {
	if s.Manager == "" {
		return "a service manager"
	}
	return console.SanitizeInline(s.Manager)
}

// managerCommand returns the command of the manager for that verb, or "" if that command is
// unknown.
func (s Status) managerCommand(verb string) string {
	command := map[string]string{"systemd": "systemctl", "systemd --user": "systemctl --user", "supervisord": "supervisorctl"}[s.Manager]
	if command == "" || s.Unit == "" {
		return ""
	}
	unit := console.SanitizeInline(s.Unit)
	if strings.ContainsAny(unit, "\\ $&;()*?<>|\"") {
		unit = "'" + unit + "'"
	}
	return "`" + command + " " + verb + " " + unit + "`"
}
