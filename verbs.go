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

	"example.com/lifecycle/internal/engine"
	"example.com/lifecycle/internal/monotonic"
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
//	reload    sends HUP and waits for the verdict, ReloadTimeout at most; 0, 1 if it was rejected or there is none, 3 if there is nothing to reload, 7, 4
//	check     runs every OnCheck in this process; 0, 6 if one fails
//	status    0 running, 1 dead and its PID file left, 3 not running, 4 unknown; with --json as a JSON object; with --ready 0 if it is
//	          ready and 150 if not, for probes
//
// These are the codes of the LSB for init scripts. No verb, an unknown one or a word too many prints the usage and returns 2. start,
// restart, reopen, try-restart and force-reload are not there yet and return 3.
func Main(args []string, fn func(ctx context.Context) error, opts ...Option) (exitCode int) {
	l, err := newLife(fn, opts)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", programName(), plain(err))
		return 1
	}
	if !l.embedded {
		// A broken pipe on stdout or stderr must not change the exit code (os/signal, "SIGPIPE").
		broken := make(chan os.Signal, 1)
		signal.Notify(broken, syscall.SIGPIPE)
		defer signal.Stop(broken)
	}
	return program{l, os.Stdout, os.Stderr}.main(args)
}

// program is a program whose verbs were called.
type program struct {
	*life
	stdout, stderr io.Writer
}

type verb struct {
	name, does string
	flags      []string // that may stand behind it
	do         func(p program, given flags) (exitCode int)
}

type flags map[string]bool

func verbs() []verb {
	return []verb{
		{"run", "live in the foreground until TERM or INT", nil, program.runVerb},
		{"stop", "stop the running one and wait until it is gone", []string{"--oknodo"}, program.stopVerb},
		{"reload", "tell the running one to reload its configuration", nil, program.reloadVerb},
		{"check", "say whether the configuration is good", nil, program.checkVerb},
		{"status", "say whether one is running, and what it does", []string{"--json", "--ready"}, program.statusVerb},
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
		given := flags{}
		for _, arg := range rest {
			switch {
			case slices.Contains(v.flags, arg):
				given[arg] = true
			case strings.HasPrefix(arg, "-"):
				return p.usage("unexpected argument %s: flags go before the verb", arg)
			default:
				return p.usage("unexpected argument %s", arg)
			}
		}
		return v.do(p, given)
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
	fmt.Fprint(p.stderr, `  stop --oknodo    none running is fine
  status --json    the same for programs
  status --ready   exit 150 unless it is ready
`)
	return 2
}

func (p program) say(format string, args ...any) {
	fmt.Fprintf(p.stderr, "%s: %s\n", p.name, fmt.Sprintf(format, args...))
}

func (p program) runVerb(flags) (exitCode int) {
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
		p.say("already running (pid %d)%s", running.PID, p.notReady(running))
	case errors.As(err, &several):
		for _, err := range several.errs {
			p.sayErrors(err)
		}
	case !p.wasReady():
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

func (p program) stopVerb(given flags) (exitCode int) {
	daemon, err := Find(p.pidFile)
	if err != nil {
		if errors.Is(err, ErrNotRunning) && given["--oknodo"] {
			p.sayNotRunning()
			return 0
		}
		return p.fail("stop", err)
	}
	defer daemon.Close()
	begun := time.Now()
	ctx, overdue := context.WithCancelCause(context.Background())
	defer overdue(nil)
	go p.watchStop(ctx, daemon, overdue)
	switch err := daemon.Stop(ctx); {
	case err == nil:
		p.say("stopped (pid %d, %s)", daemon.PID, tookText(time.Since(begun)))
		return 0
	case !errors.Is(err, errOverdue):
		return p.fail("stop", err)
	}
	what := ""
	if s, err := daemon.Status(); err == nil {
		what = strings.TrimPrefix(printable(s.Doing)+" ", " ")
	}
	limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	switch err := daemon.Kill(limited); {
	case errors.Is(err, context.DeadlineExceeded):
		p.say("still running after KILL (pid %d)", daemon.PID)
		return 1
	case err != nil:
		return p.fail("stop", err)
	}
	p.say("killed (pid %d): %sstill running after %s", daemon.PID, what, tookText(time.Since(begun)))
	return 0
}

// errOverdue says that a stop takes longer than it may.
var errOverdue = errors.New("the stop is overdue")

// stopMargin is how long it is waited for a daemon beyond the time by which it wants to have stopped.
const stopMargin = 2 * time.Second

// watchStop calls overdue when the time is over that the daemon says its stop has. One that says nothing has the time of the options given here.
func (p program) watchStop(ctx context.Context, daemon *Process, overdue context.CancelCauseFunc) {
	begun := monotonic.Now()
	deadline := begun + p.stopTimeout + grace(p.stopTimeout)
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		s, err := daemon.Status()
		known := err == nil && s.Phase == Stopping
		if known {
			deadline = max(s.StopBy, begun)
		}
		left := deadline + stopMargin - monotonic.Now()
		if left <= 0 {
			overdue(errOverdue)
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

func (p program) reloadVerb(flags) (exitCode int) {
	if !slices.ContainsFunc(p.hooks, func(h Hooks) bool { return h.OnReload != nil }) {
		p.say("nothing to reload: no component has an OnReload")
		return 3
	}
	daemon, err := Find(p.pidFile)
	if err != nil {
		return p.fail("reload", err)
	}
	defer daemon.Close()
	begun := time.Now()
	// The moment is for the verdict on a hook that returned at the end of its time.
	ctx, cancel := context.WithTimeout(context.Background(), p.reloadTimeout+500*time.Millisecond)
	defer cancel()
	err = daemon.Reload(ctx)
	var failed *reloadError
	var waited *waitError
	switch {
	case err == nil:
		p.say("reloaded (%s)", tookText(time.Since(begun)))
		return 0
	case errors.Is(err, context.DeadlineExceeded) && errors.As(err, &waited):
		doing := ""
		if waited.doing != "" {
			doing = ", " + printable(waited.doing) + " still running"
		}
		p.say("reload: no verdict after %s%s; see `%s status`", limitText(p.reloadTimeout), doing, p.name)
	case errors.As(err, &waited) && errors.Is(err, ErrNotRunning):
		p.say("reload: no verdict: pid %d ended before there was one", daemon.PID)
	case errors.As(err, &waited):
		p.say("reload: no verdict: %s", printable(p.text(waited.cause)))
	case errors.As(err, &failed) && len(failed.applied) > 0:
		p.say("reload failed half-way: %s; new already: %s", printable(p.text(failed.cause)), printable(strings.Join(failed.applied, ", ")))
	case errors.As(err, &failed):
		p.say("reload rejected, old configuration kept: %s", printable(p.text(failed.cause)))
	default:
		return p.fail("reload", err)
	}
	return 1
}

func (p program) checkVerb(flags) (exitCode int) {
	i := p.interruptible(ErrReload)
	defer i.cancel()
	i.ctx = context.WithValue(i.ctx, engine.Key{}, (*life)(nil)) // there is no life to which it belongs
	for _, h := range p.hooks {
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

func (p program) sayNotRunning() { p.say("not running (nobody holds %s)", p.pidFile) }
