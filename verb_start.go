package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/execve"
	"example.com/lifecycle/internal/sys/origin"
	"example.com/lifecycle/internal/sys/proc"
	"example.com/lifecycle/internal/sys/safefile"
	"example.com/lifecycle/internal/sys/startup"
)

func (p program) startVerb(given flags) (exitCode int) {
	return p.startDetached(nil, "", given["oknodo"])
}

// startDetached starts the daemon in the background and prints the result. If args is nil, the
// daemon gets the arguments of the option Args or of this call. If dir is "", the daemon starts in
// the directory of this call.
func (p program) startDetached(args []string, dir string, oknodo bool) (exitCode int) {
	plan := p.life.plan
	if args == nil {
		args = plan.args
	}
	if args == nil {
		args = p.startArgs()
	}
	started, err := launch{plan: plan, oneShot: true, args: args, dir: dir, onPID: p.showStartProgress}.run(plan.base)
	if err == nil {
		log := ""
		paths, _ := plan.logPaths() // no error: the start used them
		if path := cmp.Or(paths.stdout, paths.stderr); path != "" {
			log = ", log " + bytetext.Escape(path)
		}
		p.report("ready (pid %d, %s)%s", started.pid, console.FormatElapsed(started.took), log)
		return 0
	}
	var running *AlreadyRunningError
	fine := oknodo && errors.As(err, &running) && !running.lost
	if !fine || !p.quiet {
		p.sayFailedStart(err)
	}
	if fine {
		return 0
	}
	return ExitCode(err)
}

// sayFailedStart prints why the start failed. The next lines show the stack of a panic and the path
// of the log.
func (p program) sayFailedStart(err error) {
	var killed *handshake.KilledError
	var launched *launchError
	if errors.As(err, &launched) {
		err = launched.error
		if !errors.As(err, new(*StopSignalError)) { // the user knows why an interrupted start failed
			defer func() { fmt.Fprintf(p.stderr, "  log: %s\n", console.SanitizeInline(launched.log)) }()
		}
	}
	switch {
	case errors.As(err, &killed):
		p.say("start failed: %s; killed", p.text(killed.Err))
	case errors.Is(err, ErrStartTimeout):
		p.say("start failed: %s; stopped, nothing left", p.text(err))
	default:
		p.sayErrors(err)
	}
	var panicked *PanicError
	if errors.As(err, &panicked) {
		for line := range strings.Lines(string(panicked.Stack)) {
			fmt.Fprintf(p.stderr, "  | %s\n", console.SanitizeLine(strings.TrimSuffix(line, "\n")))
		}
	}
}

// startArgs returns the arguments of this process with run in place of its verb. ps then shows the
// verb run, and not start or restart.
func (p program) startArgs() []string {
	args, _ := origin.WithVerb(startup.Args()[1:], p.verb, "run")
	return args
}

func (p program) restartVerb(flags) (exitCode int) {
	daemon, err := p.life.plan.find()
	switch {
	case errors.Is(err, ErrNotRunning) && p.namesNothing():
		p.say("restart: nothing to start: no daemon runs, and this call names no program")
		return 1
	case errors.Is(err, ErrNotRunning):
		return p.replace("restart", nil, origin.Origin{})
	case err != nil:
		return p.fail("restart", err)
	}
	return p.restart("restart", daemon)
}

func (p program) tryRestartVerb(flags) (exitCode int) {
	daemon, err := p.life.plan.find()
	if errors.Is(err, ErrNotRunning) {
		if !p.quiet {
			p.sayNotRunning()
		}
		return 0
	}
	if err != nil {
		return p.fail("try-restart", err)
	}
	return p.restart("try-restart", daemon)
}

// restart replaces daemon with a new process. It first makes sure that a verb can start the daemon
// again. It closes daemon.
func (p program) restart(verb string, daemon *Process) (exitCode int) {
	defer daemon.Close()
	s, err := daemon.keeper()
	switch {
	case errors.Is(err, ErrNotRunning): // the daemon has just ended
	case err != nil:
		p.say("%s refused: it is unknown what started pid %d (%s): use the verbs stop and start", verb, daemon.PID, console.SanitizeInline(p.text(err)))
		return 3
	// A stop of the whole daemon would end a verb that the worker has started. Nothing would then
	// start the daemon again.
	case s.Supervised && (s.KeptBy == keptProcess1 || proc.Descends(daemon.PID)):
		return p.restartWorker(verb, daemon)
	case s.KeptBy != keptDetached:
		p.say("%s refused: %s", verb, s.restartText())
		return 3
	}
	like, err := p.likeRunning(daemon)
	if err != nil {
		return p.fail(verb, err)
	}
	return p.replace(verb, daemon, like)
}

// replace stops daemon, unless daemon is nil, and starts a new process with the arguments and the
// directory of like. If like is zero, replace uses those of this call. It does not stop the daemon
// if the start cannot succeed.
func (p program) replace(verb string, daemon *Process, like origin.Origin) (exitCode int) {
	err := p.life.plan.checkDetach()
	var credentials *credentials
	if err == nil {
		credentials, err = p.life.plan.preflight(true)
	}
	if err != nil {
		p.sayFailedStart(err)
		return ExitCode(err)
	}
	if daemon != nil {
		if err := p.life.plan.checkPaths(credentials); err != nil {
			return p.fail(verb, err)
		}
	}
	if code := p.check(); code != 0 {
		return code
	}
	if daemon != nil {
		if code, gone := p.stopDaemon(verb, daemon); !gone {
			return code
		}
	}
	return p.startDetached(like.Args, like.Dir, false)
}

// namesNothing reports whether this call names nothing to run: no function, no component and no
// program. Such a call can only refer to a running daemon.
func (p program) namesNothing() bool { return p.life.plan.namesNothing() }

// likeRunning makes this call use the arguments and the directory of daemon, unless the call has
// flags of its own. If the arguments of daemon differ, likeRunning executes this binary again, with
// the arguments and in the directory of daemon. It does so because main sets its options from the
// arguments. If those arguments contain no verb to replace, likeRunning returns them for the start.
// If this call needs no change, it returns the zero Origin. It does not affect the daemon.
func (p program) likeRunning(daemon *Process) (origin.Origin, error) {
	none, call := origin.Origin{}, startup.Args()[1:]
	words, _ := origin.WithVerb(call, p.verb)
	if origin.HasFlag(words) && !p.namesNothing() {
		return none, nil
	}
	ran, err := daemon.origin()
	unknown := errors.Is(err, origin.ErrNone) || errors.Is(err, errors.ErrUnsupported)
	switch {
	case errors.Is(err, ErrNotRunning):
		return none, nil
	case unknown && p.namesNothing():
		return none, fmt.Errorf("lifecycle: it is unknown which program pid %d supervises: name the program in this call too", daemon.PID)
	case unknown, err != nil && origin.Runs(daemon.PID, p.startArgs()):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("lifecycle: cannot read the arguments of pid %d: repeat its flags in this call: %w", daemon.PID, err)
	case !origin.Contains(ran.Args, words) && p.namesNothing():
		return none, fmt.Errorf("lifecycle: pid %d was not started with %s: name its program in this call too", daemon.PID, strings.Join(words, " "))
	case !origin.Contains(ran.Args, words):
		return none, nil
	}
	here := startup.Dir()
	ran.Dir = cmp.Or(ran.Dir, here)
	for _, verb := range []string{"run", "start"} {
		again, found := origin.WithVerb(ran.Args, []string{verb}, p.verb...)
		switch {
		case found && safefile.SameDir(here, ran.Dir) && slices.Equal(again, call):
			return none, nil
		case found:
			return none, executeAgain(daemon, ran.Dir, append(startup.Args()[:1], again...))
		}
	}
	return ran, nil
}

// executeAgain executes this binary again in that directory. It returns only if that fails.
func executeAgain(daemon *Process, dir string, args []string) error {
	if err := os.Chdir(dir); err != nil {
		return fmt.Errorf("lifecycle: cannot enter the directory in which pid %d was started: %w; use the verbs stop and start", daemon.PID, err)
	}
	return fmt.Errorf("lifecycle: cannot execute this program again: %w", execve.Replace(args))
}

// restartWorker restarts the worker of a supervisor that must not end. If the worker has started
// this verb, the verb ends with the worker, but the supervisor still handles the request.
func (p program) restartWorker(verb string, daemon *Process) (exitCode int) {
	if code := p.check(); code != 0 {
		return code
	}
	begun := time.Now()
	limit := p.life.plan.wholeStop() + p.life.plan.limits().Start + 2*supervise.WorkerMargin + 2*supervise.OrphansMargin + handshake.StopMargin
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var before, after Status
	err := p.withProgress("restart its worker", daemon, func() (err error) {
		before, after, err = daemon.restartWorker(ctx)
		return err
	})
	if err != nil {
		return p.fail(verb, err)
	}
	p.report("restarted (pid %d, worker %d → %d, %s)", daemon.PID, before.Worker, after.Worker, console.FormatElapsed(time.Since(begun)))
	return 0
}

// showStartProgress shows the progress of the start of that process until stop is called.
func (p program) showStartProgress(pid int) (stop func()) {
	return p.showProgress("start", pid, func() (Status, error) {
		if p.life.plan.pidFile == "" {
			return Status{}, nil
		}
		return lastState(p.life.plan.pidFile)
	})
}
