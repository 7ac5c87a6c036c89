package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/engine"
	"example.com/lifecycle/internal/terminal"
)

// Main does what the one verb in args says and returns the exit code of the process:
//
//	os.Exit(lifecycle.Main(os.Args[1:], serve, lifecycle.OnReload(load)))
//
// It blocks until that is done: with run until the life is over, with stop until the daemon is gone. What it has to say goes to
// stderr, and the answer of status to stdout, each line after the name of the program.
//
//	start     starts it in the background and waits until it is ready; 0, 1 if one is running (0 with --oknodo) or it failed, or what
//	          the error of the start carries, see ExitCode
//	run       lives in the foreground, as Run; 0, 1 or what the error carries
//	stop      sends TERM and waits until the daemon is gone, sends KILL when it has not ended 2 s after what StopTimeout
//	          and the grace behind it allow; 0, 7 if none is running (0 with --oknodo), 4 if that is not permitted, 1 for any other failure
//	reload    sends HUP and waits for the verdict, ReloadTimeout at most; 0, 1 if it was rejected or there is none, 3 if there is nothing to reload, 7, 4
//	restart   runs every OnCheck in this process, stops the running one, if there is one, and starts; as start, 6 if a check
//	          fails, and then the old one runs on
//	reopen    sends USR1 and waits until the log is reopened; 0, where there is no log file too, 1 if that failed, 7, 4
//	check     runs every OnCheck in this process; 0, 6 if one fails
//	status    0 running, 1 dead and its PID file left, 3 not running, 4 unknown; with --json as a JSON object; with --ready 0 if it is
//	          ready and 150 if not, for probes
//
//	try-restart   restart if one is running, else 0
//	force-reload  reload if a component has an OnReload, else try-restart
//
// These are the codes of the LSB for init scripts. No verb, an unknown one or a word too many prints the usage and returns 2. In a
// detached process Main lives the life, whatever the verb was.
func Main(args []string, fn func(ctx context.Context) error, opts ...Option) (exitCode int) {
	l, err := newLife(fn, opts)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", programName(), trimPrefix(err))
		return 1
	}
	if !l.plan.embedded {
		// A broken pipe on stdout or stderr must not change the exit code (os/signal, "SIGPIPE").
		broken := make(chan os.Signal, 1)
		signal.Notify(broken, syscall.SIGPIPE)
		defer signal.Stop(broken)
	}
	return program{life: l, stdout: os.Stdout, stderr: os.Stderr}.main(args)
}

// program is a program whose verbs were called.
type program struct {
	life           *life
	verb           []string // and its flags, as given
	stdout, stderr io.Writer
}

type verb struct {
	name, does string
	flags      []verbFlag
	do         func(p program, given flags) (exitCode int)
}

type verbFlag struct{ name, does string }

// takes says whether arg may stand behind the verb.
func (v verb) takes(arg string) bool {
	return slices.ContainsFunc(v.flags, func(f verbFlag) bool { return f.name == arg })
}

type flags map[string]bool

func verbs() []verb {
	return []verb{
		{
			"start", "start it in the background, and say when it is ready",
			[]verbFlag{{"--oknodo", "the same, and fine if it runs already"}},
			program.startVerb,
		},
		{"run", "run it in the foreground, until Ctrl-C or TERM", nil, program.runVerb},
		{
			"stop", "stop it, and wait until it is gone",
			[]verbFlag{{"--oknodo", "the same, and fine if it does not run"}},
			program.stopVerb,
		},
		{"restart", "check the configuration, stop it, start it again", nil, program.restartVerb},
		{"reload", "have it read its configuration again", nil, program.reloadVerb},
		{"reopen", "have it open its log again, after a rotation", nil, program.reopenVerb},
		{"check", "say whether the configuration is good", nil, program.checkVerb},
		{
			"status", "say whether it runs, and what it does",
			[]verbFlag{{"--json", "the same as JSON"}, {"--ready", "the same, with exit code 0 if it is ready, else 150"}},
			program.statusVerb,
		},
		{"try-restart", "restart it if it runs", nil, program.tryRestartVerb},
		{"force-reload", "reload it if it can do so, else restart it if it runs", nil, program.forceReloadVerb},
	}
}

func (p program) main(args []string) (exitCode int) {
	if InDaemon() || supervisorNote() != nil { // whatever verb has started it
		return p.runVerb(nil)
	}
	if len(args) == 0 {
		return p.usage("which verb?")
	}
	p.verb = args
	name, rest := args[0], args[1:]
	for _, v := range verbs() {
		if v.name != name {
			continue
		}
		given := flags{}
		for _, arg := range rest {
			switch {
			case v.takes(arg):
				given[arg] = true
			case strings.HasPrefix(arg, "-"):
				return p.usage("unexpected argument %s: flags go before the verb", arg)
			default:
				return p.usage("unexpected argument %s", arg)
			}
		}
		return v.do(p, given)
	}
	return p.usage("unknown verb %s", name)
}

func (p program) usage(format string, args ...any) (exitCode int) {
	p.say(format, args...)
	fmt.Fprintf(p.stderr, "usage: %s [flags] VERB\n", p.life.plan.name)
	for _, v := range verbs() {
		fmt.Fprintf(p.stderr, "  %-14s  %s\n", v.name, v.does)
		for _, f := range v.flags {
			fmt.Fprintf(p.stderr, "  %-14s  %s\n", v.name+" "+f.name, f.does)
		}
	}
	return 2
}

func (p program) say(format string, args ...any) {
	fmt.Fprintln(p.stderr, console.SanitizeMessage(p.life.plan.name+": "+fmt.Sprintf(format, args...)))
}

func (p program) runVerb(flags) (exitCode int) {
	p.life.onStopping = func(reason error) {
		var by *StopSignalError
		if errors.As(reason, &by) && by.Signal == syscall.SIGINT && terminal.Is(os.Stderr) {
			p.say("stopping; Ctrl-C again to quit at once")
		}
	}
	err := runHere(p.life)
	if p.life.mode.kind != modeWorker { // which says it
		p.sayErrors(err)
	}
	return ExitCode(err)
}

// sayErrors says each thing that went wrong in a life.
func (p program) sayErrors(err error) {
	var running *AlreadyRunningError
	var several *lifeErrors
	switch {
	case err == nil:
	case errors.As(err, &running) && running.PID == 0:
		p.say("already running (pid not known here)")
	case errors.As(err, &running):
		p.say("already running (pid %d)%s", running.PID, p.notReady(running))
	case errors.As(err, &several):
		for _, err := range several.errs {
			p.sayErrors(err)
		}
	case !p.life.wasReady():
		p.say("start failed: %s", p.text(err))
	default:
		p.say("%s", p.text(err))
	}
}

// text is an error as people read it: without our name, and with that of the component where it is not the program's.
func (p program) text(err error) string {
	var h *HookError
	var late *timeoutError
	switch {
	case errors.As(err, &late) && errors.As(err, &h):
		return fmt.Sprintf("%s of %s %v", h.Hook, h.Component, h.Err)
	case errors.As(err, &h) && h.Component != p.life.plan.name:
		return fmt.Sprintf("%s: %v", h.Component, h.Err)
	case errors.As(err, &h):
		err = h.Err
	}
	return trimPrefix(err)
}

func (p program) checkVerb(flags) (exitCode int) {
	i := p.life.interruptible(ErrReload)
	defer i.cancel()
	i.ctx = context.WithValue(i.ctx, engine.Key{}, (*life)(nil)) // there is no life to which it belongs
	for _, h := range p.life.plan.hooks {
		if err := i.do(h.Name, "OnCheck", h.OnCheck); err != nil {
			p.say("check failed: %s", p.text(err))
			return 6
		}
	}
	p.say("check passed")
	return 0
}

// fail says why a verb failed, and returns the exit code that the LSB has for that.
func (p program) fail(verb string, err error) (exitCode int) {
	if errors.Is(err, ErrNotRunning) {
		p.sayNotRunning()
		return 7
	}
	p.say("%s: %s", verb, p.text(err))
	if errors.Is(err, fs.ErrPermission) {
		return 4
	}
	return 1
}

// sayNotRunning says so, and what it knows of one that has lost its PID file: it runs on, and no verb finds it.
func (p program) sayNotRunning() {
	p.say("not running (nobody holds %s)", p.life.plan.pidFile)
	if s, err := lastState(p.life.plan.pidFile); err == nil && s.PIDFileLost {
		fmt.Fprintf(p.stderr, "  %s\n", lostText(s))
	}
}

// withProgress calls do, and shows meanwhile on a terminal what the verb waits for.
func (p program) withProgress(what string, daemon *Process, do func() error) error {
	stop := p.showProgress(what, daemon.PID, daemon.Status)
	defer stop()
	return do()
}

// showStartProgress shows that the verb waits for that process to start, until stop is called.
func (p program) showStartProgress(pid int) (stop func()) {
	return p.showProgress("start", pid, func() (Status, error) {
		if p.life.plan.pidFile == "" {
			return Status{}, errNoPIDFile
		}
		return lastState(p.life.plan.pidFile)
	})
}

// showProgress shows that the verb waits for that process, until stop is called. It ignores the
// status of any other process, such as the daemon before this one.
func (p program) showProgress(what string, pid int, status func() (Status, error)) (stop func()) {
	return console.StartProgress(p.stderr, func(elapsed time.Duration, columns int) string {
		s, err := status()
		if err != nil || s.PID != pid {
			s = Status{}
		}
		what := what
		if s.Phase == Stopping && what == "start" { // it has failed, or was interrupted
			what = "stop"
		}
		return progressText(p.life.plan.name, pid, what, s.Doing, elapsed, columns)
	})
}

// progressText returns the progress line: waiting for echod (pid 12) to stop: OnStop of http, 2 s.
func progressText(name string, pid int, what, doing string, elapsed time.Duration, columns int) string {
	head := fmt.Sprintf("waiting for %s (pid %d) to %s: ", console.SanitizeInline(name), pid, what)
	return console.FitLine(head, console.SanitizeInline(doing), ", ", console.FormatElapsed(elapsed), columns)
}
