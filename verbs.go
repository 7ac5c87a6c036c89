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

	"example.com/lifecycle/internal/terminal"
)

// Main does what the one verb in args says and returns the exit code of the process:
//
//	os.Exit(lifecycle.Main(os.Args[1:], serve, lifecycle.OnReload(load)))
//
// It blocks until that is done: with run until the life is over, with stop until the daemon is gone. What it has to say goes to
// stderr, and the answer of status to stdout, each line after the name of the program.
//
//	run       lives in the foreground, as Run; 0, 1 or what the error carries, see ExitCode
//	stop      sends TERM and waits until the daemon is gone, sends KILL when it has not ended 2 s after what StopTimeout
//	          and the grace behind it allow; 0, 7 if none is running (0 with --oknodo), 4 if that is not permitted, 1 for any other failure
//	reload    sends HUP; 0, 7, 4, 1
//	check     runs every OnCheck in this process; 0, 6 if one fails
//	status    0 running, 1 dead and its PID file left, 3 not running, 4 unknown
//
// These are the codes of the LSB for init scripts. No verb, an unknown one or a word too many prints the usage and returns 2. start,
// restart, reopen, try-restart and force-reload are not there yet and return 3.
func Main(args []string, fn func(ctx context.Context) error, opts ...Option) (exitCode int) {
	l, err := newLife(fn, opts)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", programName(), plain(err))
		return 1
	}
	// A broken pipe on stdout or stderr must not change the exit code (os/signal, "SIGPIPE").
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	return program{l, os.Stdout, os.Stderr}.main(args)
}

// program is a program whose verbs were called.
type program struct {
	*life
	stdout, stderr io.Writer
}

type verb struct {
	name, does string
	oknodo     bool // takes --oknodo
	do         func(p program, oknodo bool) (exitCode int)
}

func verbs() []verb {
	return []verb{
		{"run", "live in the foreground until TERM or INT", false, program.runVerb},
		{"stop", "stop the running one and wait until it is gone", true, program.stopVerb},
		{"reload", "tell the running one to reload its configuration", false, program.reloadVerb},
		{"check", "say whether the configuration is good", false, program.checkVerb},
		{"status", "say whether one is running", false, program.statusVerb},
	}
}

// comingVerbs are reserved: they mean what they mean everywhere, once they are there.
var comingVerbs = []string{"start", "restart", "reopen", "try-restart", "force-reload"}

func (p program) main(args []string) (exitCode int) {
	if len(args) == 0 {
		return p.usage("which verb?")
	}
	name, rest := args[0], args[1:]
	for _, v := range verbs() {
		if v.name != name {
			continue
		}
		oknodo := false
		for _, arg := range rest {
			switch {
			case v.oknodo && arg == "--oknodo":
				oknodo = true
			case strings.HasPrefix(arg, "-"):
				return p.usage("unexpected argument %s: flags go before the verb", arg)
			default:
				return p.usage("unexpected argument %s", arg)
			}
		}
		return v.do(p, oknodo)
	}
	if slices.Contains(comingVerbs, name) {
		p.say("%s is not there yet", name)
		return 3
	}
	return p.usage("unknown verb %s", name)
}

func (p program) usage(format string, args ...any) (exitCode int) {
	p.say(format, args...)
	fmt.Fprintf(p.stderr, "usage: %s [flags] VERB\n", p.name)
	for _, v := range verbs() {
		fmt.Fprintf(p.stderr, "  %-8s %s\n", v.name, v.does)
	}
	fmt.Fprintln(p.stderr, "  stop --oknodo: none running is fine")
	return 2
}

func (p program) say(format string, args ...any) {
	fmt.Fprintf(p.stderr, "%s: %s\n", p.name, fmt.Sprintf(format, args...))
}

func (p program) runVerb(bool) (exitCode int) {
	p.onStopping = func(reason error) {
		var by *StopSignalError
		if errors.As(reason, &by) && by.Signal == syscall.SIGINT && terminal.Is(os.Stderr) {
			p.say("stopping; Ctrl-C again to quit at once")
		}
	}
	err := p.run()
	p.sayErrors(err)
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
		p.say("already running (pid %d)", running.PID)
	case errors.As(err, &several):
		for _, err := range several.errs {
			p.sayErrors(err)
		}
	case !p.ready:
		p.say("start failed: %s", p.text(err))
	default:
		p.say("%s", p.text(err))
	}
}

// text is an error as people read it: without our name, and with that of the component where it is not the program's.
func (p program) text(err error) string {
	var h *HookError
	var late *overrun
	switch {
	case errors.As(err, &late) && errors.As(err, &h):
		return fmt.Sprintf("%s of %s %v", h.Hook, h.Component, h.Err)
	case errors.As(err, &h) && h.Component != p.name:
		return fmt.Sprintf("%s: %v", h.Component, h.Err)
	case errors.As(err, &h):
		err = h.Err
	}
	return plain(err)
}

func (p program) stopVerb(oknodo bool) (exitCode int) {
	daemon, err := Find(p.pidFile)
	if err != nil {
		if errors.Is(err, ErrNotRunning) && oknodo {
			p.sayNotRunning()
			return 0
		}
		return p.fail("stop", err)
	}
	defer daemon.Close()
	begun := time.Now()
	allowed := p.stopTimeout + grace(p.stopTimeout) + 2*time.Second
	ctx, cancel := context.WithTimeout(context.Background(), allowed)
	defer cancel()
	err = daemon.Stop(ctx)
	switch {
	case err == nil:
		p.say("stopped (pid %d, %s)", daemon.PID, tookText(time.Since(begun)))
		return 0
	case !errors.Is(err, context.DeadlineExceeded):
		return p.fail("stop", err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	switch err := daemon.Kill(ctx); {
	case errors.Is(err, context.DeadlineExceeded):
		p.say("still running after KILL (pid %d)", daemon.PID)
		return 1
	case err != nil:
		return p.fail("stop", err)
	}
	p.say("killed (pid %d): still running after %s", daemon.PID, tookText(allowed))
	return 0
}

func (p program) reloadVerb(bool) (exitCode int) {
	daemon, err := Find(p.pidFile)
	if err == nil {
		defer daemon.Close()
		err = daemon.Signal(syscall.SIGHUP)
	}
	if err != nil {
		return p.fail("reload", err)
	}
	p.say("sent HUP to pid %d; its log tells what became of it", daemon.PID)
	return 0
}

func (p program) checkVerb(bool) (exitCode int) {
	i := p.interruptible(ErrReload)
	defer i.cancel()
	for _, h := range p.hooks {
		if err := i.do(h.Name, "OnCheck", h.OnCheck); err != nil {
			p.say("check failed: %s", p.text(err))
			return 6
		}
	}
	p.say("check passed")
	return 0
}

func (p program) statusVerb(bool) (exitCode int) {
	daemon, err := Find(p.pidFile)
	var gone *NotRunningError
	var text string
	switch {
	case err == nil:
		defer daemon.Close()
		text = fmt.Sprintf("running (pid %d)", daemon.PID)
	case errors.Is(err, errElsewhere):
		text = "running (in another PID namespace)"
	case errors.As(err, &gone) && gone.Stale:
		text, exitCode = fmt.Sprintf("dead: pid %d left %s", gone.PID, p.pidFile), 1
	case errors.As(err, &gone):
		text, exitCode = fmt.Sprintf("not running (nobody holds %s)", p.pidFile), 3
	default:
		text, exitCode = "unknown: "+p.text(err), 4
	}
	fmt.Fprintf(p.stdout, "%s: %s\n", p.name, text)
	return exitCode
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

func (p program) sayNotRunning() { p.say("not running (nobody holds %s)", p.pidFile) }

// tookText is a duration for people: 38 ms, 1.2 s, 3m12s.
func tookText(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
