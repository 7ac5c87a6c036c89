package lifecycle

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/startup"
)

func (p program) startVerb(given flags) (exitCode int) {
	return p.startDetached(given["oknodo"])
}

// startDetached starts the daemon in the background and prints the result.
func (p program) startDetached(oknodo bool) (exitCode int) {
	plan := p.life.plan
	args := plan.args
	if args == nil {
		args = p.startArgs()
	}
	started, err := launch{plan: plan, oneShot: true, args: args, onPID: p.showStartProgress}.run(plan.base)
	if err == nil {
		log := ""
		paths, _ := plan.logPaths() // the start has used them
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

// sayFailedStart prints why the start failed, and below that the stack of a panic.
func (p program) sayFailedStart(err error) {
	var killed *handshake.KilledError
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

// startArgs returns the arguments of this process with start in place of its verb, so ps shows what
// runs and not the verb that started it.
func (p program) startArgs() []string {
	given := startup.Args()[1:]
	if at := len(given) - len(p.verb); at >= 0 && slices.Equal(given[at:], p.verb) {
		return append(slices.Clone(given[:at]), "start")
	}
	return given
}

func (p program) restartVerb(flags) (exitCode int) {
	daemon, err := p.life.plan.find()
	if err != nil && !errors.Is(err, ErrNotRunning) {
		return p.fail("restart", err)
	}
	return p.restart(daemon)
}

// restart replaces daemon with a new process, or starts one if daemon is nil. It closes daemon.
func (p program) restart(daemon *Process) (exitCode int) {
	if daemon != nil {
		defer daemon.Close()
	}
	credentials, err := p.life.plan.preflight(true)
	if err != nil {
		p.sayFailedStart(err)
		return ExitCode(err)
	}
	if daemon != nil { // stop the daemon only if the start can succeed
		if err := p.life.plan.checkPaths(credentials); err != nil {
			return p.fail("restart", err)
		}
	}
	if code := p.check(); code != 0 {
		return code
	}
	if daemon != nil {
		if code := p.stopDaemon("restart", daemon); code != 0 {
			return code
		}
	}
	return p.startDetached(false)
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
	return p.restart(daemon)
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
