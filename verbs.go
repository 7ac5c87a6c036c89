package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"example.com/lifecycle/internal/cmdline"
	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/terminal"
)

// Main executes the one verb in args and returns the exit code for the process:
//
//	os.Exit(lifecycle.Main(os.Args[1:], serve, lifecycle.OnReload(load)))
//
// Main blocks until the verb is done: run until the life is over, stop until the daemon is gone.
// Messages go to stderr, and the answer of status to stdout. Each message begins with the name of
// the program. The codes below are exit codes.
//
//	start     starts the daemon in the background and waits until it is ready.
//	          Codes: 0; 1 if a daemon is running (0 with --oknodo) or if the start failed, unless the
//	          error of the start carries another code, see ExitCode
//	run       runs the life in the foreground, like Run.
//	          Codes: 0; 1 or the code that the error carries
//	stop      sends TERM and waits until the daemon is gone. Main sends KILL if the daemon has not
//	          ended 2 s after StopTimeout and its grace period. If the daemon was a supervisor that has been
//	          killed, stop ends the processes that it has left.
//	          Codes: 0; 1 if the daemon is gone but its end failed or it had to be killed; 4 if the
//	          caller may not stop it; 7 if no daemon is running (0 with --oknodo); 1 for any other
//	          failure
//	reload    sends HUP and waits for the verdict, at most ReloadTimeout.
//	          Codes: 0; 1 if the reload was rejected or there is no verdict; 3 if the program has
//	          nothing to reload; 4 and 7 as for stop
//	restart   runs every OnCheck in this process, stops the running daemon, if any, and starts a new
//	          one. The new daemon gets the arguments and the directory of the old one, unless this
//	          call has flags of its own. A supervisor restarts its worker instead if it is process 1,
//	          or if the call comes from a descendant of the supervisor.
//	          Codes: as for start; 6 if a check failed: the old daemon then runs on; 3 if the
//	          daemon runs in the foreground or a service manager keeps it
//	upgrade   sends USR2 to a supervisor and waits until a worker of the program on disk has replaced
//	          the old worker. The old worker then finishes its work in progress.
//	          Codes: 0; 1 if the new program was refused: the old one then serves as before; 3 if the
//	          daemon has no supervisor; 4 and 7 as for stop
//	reopen    sends USR1 and waits until the log is reopened.
//	          Codes: 0, even if there is no log file; 1 if reopening failed; 4 and 7 as for stop
//	check     runs every OnCheck in this process.
//	          Codes: 0; 6 if a check failed
//	status    prints the state of the daemon, with --json as a JSON object.
//	          Codes: 0 running; 1 dead, and its PID file is left; 3 not running; 4 unknown. With --ready,
//	          for probes: 0 if the daemon is ready, else 150
//
//	try-restart   restarts a running daemon. Codes: as for restart; 0 if no daemon is running
//	force-reload  is reload if a component has an OnReload, else try-restart
//	help          prints the usage to stdout, as --help and -h do. Code: 0
//	version       prints the Version to stdout, as --version does; only with that option. Code: 0
//
// All of these verbs except run, help and version take --quiet. With --quiet, a verb prints errors
// only. In a crontab, "start --oknodo --quiet" then causes a mail only if there is an error. The
// exit codes are those of the LSB for init scripts. Without a verb, with an unknown verb or flag,
// or with an extra argument, Main prints the usage to stderr and returns 2. In a detached process,
// Main runs the life for any verb.
func Main(args []string, fn func(ctx context.Context) error, opts ...Option) (exitCode int) {
	l, err := newLife(fn, append(slices.Clone(opts), notDetached))
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", programName(), trimPrefix(err))
		return 1
	}
	if !l.plan.embedded {
		// A broken pipe on stdout or stderr must not change the exit code (os/signal, "SIGPIPE").
		broken := make(chan os.Signal, 1)
		signal.Notify(broken, syscall.SIGPIPE)
		defer signal.Stop(broken)
		defer fdstore.Abandon() // main may have opened sockets
	}
	return program{life: l, stdout: os.Stdout, stderr: os.Stderr}.main(args)
}

// notDetached undoes [Detach]: the verb decides whether the life is in the background.
var notDetached = option(func(p *plan) { p.detach = false })

// program is the state of one call of Main.
type program struct {
	life           *life
	verb           []string // with its flags, as given
	quiet          bool     // --quiet was given
	stdout, stderr io.Writer
}

// verb is a verb with its function.
type verb struct {
	cmdline.Verb
	do func(p program, given flags) (exitCode int)
}

// flags contains the names of the flags that were given, without dashes.
type flags map[string]bool

// verbs is the only table of the verbs and their flags. The usage prints its texts.
func verbs() []verb {
	quiet := cmdline.Flag{Name: "quiet", Short: "print errors only"}
	row := func(name, short string, do func(program, flags) int, flags ...cmdline.Flag) verb {
		return verb{cmdline.Verb{Name: name, Short: short, Flags: flags}, do}
	}
	return []verb{
		row("start", "start in the background and wait until the daemon is ready", program.startVerb,
			cmdline.Flag{Name: "oknodo", Short: "the same, and exit 0 if the daemon runs already"}, quiet),
		row("run", "run in the foreground until Ctrl-C or TERM", program.runVerb),
		row("stop", "stop the daemon and wait until it has ended", program.stopVerb,
			cmdline.Flag{Name: "oknodo", Short: "the same, and exit 0 if no daemon runs"}, quiet),
		row("restart", "check the configuration, stop the daemon, start it again", program.restartVerb, quiet),
		row("upgrade", "replace the program by the one on disk, without a pause", program.upgradeVerb, quiet),
		row("reload", "let the daemon read its configuration again", program.reloadVerb, quiet),
		row("reopen", "let the daemon reopen its log after a rotation", program.reopenVerb, quiet),
		row("check", "check the configuration", program.checkVerb, quiet),
		row("status", "print whether the daemon runs and what it does", program.statusVerb,
			cmdline.Flag{Name: "json", Short: "print the same as JSON"},
			cmdline.Flag{Name: "ready", Short: "print the same, and exit 0 if the daemon is ready, else 150"}, quiet),
		row("try-restart", "restart the daemon if it runs", program.tryRestartVerb, quiet),
		row("force-reload", "reload the daemon if possible, else restart it if it runs", program.forceReloadVerb, quiet),
	}
}

// table returns all verbs of this program, including help and version.
func (p program) table() (t cmdline.Table) {
	for _, v := range verbs() {
		t = append(t, v.Verb)
	}
	t = append(t, cmdline.Verb{Name: cmdline.Help, Short: "print this"})
	if p.life.plan.version != "" {
		t = append(t, cmdline.Verb{Name: cmdline.Version, Short: "print the version of the program"})
	}
	return t
}

func (p program) main(args []string) (exitCode int) {
	if InDaemon() || supervisorNote() != nil { // for any verb
		return p.runVerb(nil)
	}
	name, given, err := p.table().Parse(args)
	switch {
	case err != nil:
		return p.usage(err.Error())
	case name == cmdline.Help:
		fmt.Fprint(p.stdout, p.table().Usage(p.life.plan.name))
		return 0
	case name == cmdline.Version:
		fmt.Fprintf(p.stdout, "%s %s\n", p.life.plan.name, console.SanitizeInline(p.life.plan.version))
		return 0
	}
	p.verb, p.quiet = args, given["quiet"]
	all := verbs()
	return all[slices.IndexFunc(all, func(v verb) bool { return v.Name == name })].do(p, given)
}

// usage prints the mistake in the arguments, and how to use the program.
func (p program) usage(wrong string) (exitCode int) {
	p.say("%s", wrong)
	fmt.Fprint(p.stderr, p.table().Usage(p.life.plan.name))
	return 2
}

// report prints the result of a success. It prints nothing with --quiet.
func (p program) report(format string, args ...any) {
	if !p.quiet {
		p.say(format, args...)
	}
}

// say prints an error, or a result that a person must see even with --quiet.
func (p program) say(format string, args ...any) {
	fmt.Fprintln(p.stderr, console.SanitizeMessage(p.life.plan.name+": "+fmt.Sprintf(format, args...)))
}

func (p program) runVerb(flags) (exitCode int) {
	p.life.onStopping = func(reason error) {
		var by *StopSignalError
		if errors.As(reason, &by) && by.Signal == syscall.SIGINT && terminal.Is(os.Stderr) && p.life.mode.kind != modeWorker {
			p.say("stopping; Ctrl-C again to quit at once")
		}
	}
	err := runHere(p.life)
	logged := p.life.log.Enabled(context.Background(), slog.LevelError) && !errors.Is(err, ErrAlreadyRunning)
	if !logged || terminal.Is(os.Stderr) && p.life.mode.kind != modeWorker {
		p.sayErrors(err)
	}
	return ExitCode(err)
}

// sayErrors prints each error of a life on a line of its own.
func (p program) sayErrors(err error) {
	var running *AlreadyRunningError
	var several *lifeErrors
	switch {
	case err == nil:
	case errors.As(err, &running) && running.lost:
		p.say("%s", p.text(running))
	case errors.As(err, &running) && running.PID == 0:
		p.say("already running (pid unknown)")
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

// text returns err for people: without the name of this package, and with the name of the component
// if that is not the program's name.
func (p program) text(err error) string { return errorText(p.life.plan.name, err) }

// fail prints why a verb failed and returns the LSB exit code for the error.
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

// sayNotRunning prints that no daemon runs. No verb can find a daemon that has lost its PID file.
// So if such a daemon may still run, sayNotRunning prints its PID.
func (p program) sayNotRunning() {
	p.say("not running (nobody holds %s)", bytetext.Escape(p.life.plan.pidFile))
	if s, err := lastState(p.life.plan.pidFile); err == nil && s.PIDFileLost {
		fmt.Fprintf(p.stderr, "  %s\n", lostText(s))
	}
}

// withProgress calls do. On a terminal, it shows meanwhile what the verb waits for.
func (p program) withProgress(what string, daemon *Process, do func() error) error {
	stop := p.showProgress(what, daemon.PID, daemon.Status)
	defer stop()
	return do()
}

// showProgress shows the progress of that process until stop is called. It ignores the status of
// any other process, such as the previous daemon.
func (p program) showProgress(what string, pid int, status func() (Status, error)) (stop func()) {
	if p.quiet {
		return func() {}
	}
	return console.StartProgress(p.stderr, func(elapsed time.Duration, columns int) string {
		s, err := status()
		if err != nil || s.PID != pid {
			s = Status{}
		}
		what := what
		if s.Phase >= Stopping && what == "start" { // the start failed or was interrupted
			what = "stop"
		}
		return progressText(p.life.plan.name, pid, what, s.Doing, elapsed, columns)
	})
}

// progressText returns the progress line, such as: waiting for echod (pid 12) to stop: OnStop of
// http, 2 s.
func progressText(name string, pid int, what, doing string, elapsed time.Duration, columns int) string {
	head := fmt.Sprintf("waiting for %s (pid %d) to %s: ", console.SanitizeInline(name), pid, what)
	return console.FitLine(head, console.SanitizeInline(doing), ", ", console.FormatElapsed(elapsed), columns)
}
