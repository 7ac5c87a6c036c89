// Package lifecycle turns a Go main into a well-behaved Unix daemon: one instance, a start that tells the truth, a clean
// stop, a reload.
//
//	func main() {
//		os.Exit(lifecycle.Main(os.Args[1:], serve,
//			lifecycle.OnStart(listen),
//			lifecycle.OnReload(loadConfig),
//			lifecycle.OnStop(drain)))
//	}
//
// [Run] lives the life of one process; [Main] puts verbs in front of it: start, stop, restart, reload, status and others; [Find] sees it from
// outside and [From] from inside; package lifecycletest runs it in a test. What they promise:
//
//  1. One instance. While a daemon lives, every other start with the same PID file is refused with an
//     [*AlreadyRunningError]. The lock on the file decides, not the number in it.
//  2. Order. Components start in the order given and stop in reverse; their hooks never run beside each other. OnStop asks and
//     OnExit frees, and both run exactly once for every component that was started, whatever asked for the stop.
//  3. Start means ready. A detached start ([Detach], the verb start, [Ensure]) returns when the daemon is ready, or says why it is not; a
//     failed start leaves nothing: what was started is stopped and the PID file is gone.
//  4. A reload that fails keeps the old configuration of whoever refused, and the life goes on. Whoever asked for it gets the verdict.
//  5. Time is bounded. A hook that overruns [StartTimeout], [ReloadTimeout] or [StopTimeout] is abandoned and named, with the stack of its
//     goroutine, and the others still have their turn.
//  6. A panic or runtime.Goexit in a hook or body is an error like any other. One in a goroutine of your own is a crash; then
//     the lock is free and the next start takes the stale file over.
//  7. No verb signals a process that it has not asked the kernel about: is this the one that holds the lock?
//
// # Signals
//
//	TERM, INT   stop; another one more than a second later ends the process at once with exit code 1
//	HUP         reload; a stop if the controlling terminal has hung up, unless under nohup(1)
//	USR1        reopen the log of a detached process
//	PIPE        nothing: a write to a broken stdout or stderr fails with EPIPE
//	others      as in any Go program, or what [OnSignal] was given
//
// They work also where the caller ignored or blocked them. TERM, INT and the end of the terminal are obeyed at any time; any other signal
// that comes during the start is acted on right after it, and any number of the same count as one.
//
// # systemd and containers
//
// The verb run is what they want: it stays in the foreground, logs to stderr and exits with a code that says why; see [ExitCode]. Where
// NOTIFY_SOCKET is set, the manager is told of every phase, of what goes on and of why a start failed (sd_notify(3); Type=notify, Type=notify-reload), and
// where WATCHDOG_USEC is, that all is well; see [Watchdog]. What the daemon starts does not get these variables. A manager that cannot be reached is no
// reason not to live; one that reads nothing is waited for half a second for each message. Journal lines carry a priority and no timestamp; see
// [StderrHandler].
//
// READY_FD is the number of an inherited pipe or socket to which a newline is written when all is ready, as s6, dinit and OpenRC want it; then it is closed. With
// the verb start it is the launcher's.
//
// # Sockets
//
// Listen and ListenPacket of package [example.com/lifecycle/socket] return the sockets that a systemd
// socket unit, or a manager that keeps them, has for this process, and bind new ones where there are none.
// A manager with a descriptor store (FileDescriptorStoreMax=) keeps what they bind, so that a restart or a
// crash refuses no connection. The file of a unix socket is neither left dead nor taken from a process
// that listens.
//
// # Supervision
//
// With [Supervise], a small parent starts the program again when it has crashed; with [Program], any other program. The parent has the PID file, so the PID stays the same,
// and keeps what socket.Listen has opened; [RestartPolicy] says when it waits and when it gives up. It is to its worker what systemd is to a service, so one program
// runs under both; where systemd is, one who restarts is enough. Only Linux has it.
//
// # Platforms
//
// Linux is the home. On macOS and the BSDs the PID file has the lock but neither mark nor name, so the number in the held file says who holds it. On
// Windows programs run in the foreground without a PID file, socket.Listen only binds, Umask does nothing, and what else needs a Unix answers errors.ErrUnsupported.
//
// # What it does not do
//
// It does not keep a daemon from being started twice when somebody deletes its PID file, or when that is on a file system whose
// locks do not reach all starters. It cannot end a goroutine: an abandoned hook runs on until the process ends. It ends the daemon and not what that has
// started, unless it supervises. It installs no service, rotates no log, and replaces no program while it runs: a restart ends the old process before
// it starts the new one.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"example.com/lifecycle/internal/handshake"
)

// Run lives one life of this process around fn, in the foreground unless there is a [Detach]: it installs the signal handlers, locks the PID file, calls each
// OnStart, then fn and the other bodies, and when a stop is asked for, each OnStop and OnExit in reverse. It blocks until the
// life is over and the PID file is gone.
//
// The context of fn ends when fn is to return; [context.Cause] tells why: a [*StopSignalError], [ErrBodyReturned], the cause
// of the end of the BaseContext, or the error that failed the start. A nil fn waits for that and returns nil. When fn
// returns by itself, with or without an error, the life ends.
//
// Run returns the errors of the bodies, unwrapped, joined with those of the hooks, each a [*HookError]. It returns nil where they
// returned nil or, after a stop was asked for, an error that wraps context.Canceled or one of CleanErrors. It returns an
// [*AlreadyRunningError] where another daemon holds the PID file or another Run is under way in this process, and an error that
// names the option where an option is wrong; then nothing was started.
//
// A program usually ends with os.Exit(ExitCode(err)) after it. For a second after Run has returned, the signals that the life
// hears are still ignored, so that a late one does not spoil the exit code; then they do again what they did before.
func Run(fn func(ctx context.Context) error, opts ...Option) error {
	l, err := newLife(fn, opts)
	if err != nil {
		return err
	}
	return runHere(l)
}

// newLife returns the life that the options describe. It has not begun.
func newLife(fn func(context.Context) error, opts []Option) (*life, error) {
	p, err := newPlan(fn, opts)
	if err != nil {
		return nil, err
	}
	return lifeOf(p), nil
}

// runHere runs the life as the process that this one is.
func runHere(l *life) error {
	m, err := modeOf(l.plan)
	if err != nil {
		return err
	}
	l.mode = m
	switch m.kind {
	case modeLauncher:
		_, err := launch{plan: l.plan, oneShot: true}.run(l.plan.base)
		return err
	case modeSupervisor:
		superviseIn(l)
	case modeWorker:
		attachToSupervisor(l)
	}
	if m.mayHaveLauncher() {
		l.launcher = handshake.Inherited()
	}
	err = l.run()
	if l.launcher != nil {
		l.launcher.Fail(newFailure(err, context.Cause(l.stopCtx)))
	}
	return err
}

// newPlan applies the options and completes the plan. Nobody changes a plan afterwards.
func newPlan(fn func(context.Context) error, opts []Option) (*plan, error) {
	p := defaultPlan(fn)
	for i, o := range opts {
		if o == nil {
			p.refuse("number %d is nil", i+1)
			continue
		}
		o.apply(p)
	}
	p.complete()
	if len(p.wrong) > 0 {
		return nil, errors.New("lifecycle: wrong option: " + strings.Join(p.wrong, "; "))
	}
	return p, nil
}

// complete fills in what depends on other options, and refuses what does not fit together.
func (p *plan) complete() {
	if p.name == "" || p.name == "." || p.name == ".." || strings.ContainsAny(p.name, `/\`) || hasControl(p.name) {
		p.refuse("Name(%q): must be a file name, for the PID file is named after it", p.name)
	}
	if p.ownLogger = p.logger != nil; !p.ownLogger {
		p.logger = slog.Default()
	}
	if p.stopDelay >= p.stopTimeout {
		p.refuse("StopDelay(%v): must be shorter than StopTimeout, %v, of which it is a part", p.stopDelay, p.stopTimeout)
	}
	for i := range p.hooks {
		switch {
		case i == p.loose:
			p.hooks[i].Name = p.name
		case p.hooks[i].Name == "":
			p.hooks[i].Name = fmt.Sprintf("component %d", i+1)
		}
	}
	if p.embedded {
		p.completeEmbedded()
		return
	}
	p.refuseUnderTest()
	p.completePIDFile()
	p.completeLog()
	p.completeWorkDir()
	p.completeChroot()
	p.completeSupervise()
}

func (p *plan) completePIDFile() {
	if !p.pidFileSet {
		p.pidFile = DefaultPIDFile(p.name)
	}
	if p.pidFile == "" {
		return
	}
	path, err := filepath.Abs(p.pidFile)
	switch {
	case err != nil:
		p.refuse("PIDFile(%q): %v", p.pidFile, err)
	case hasControl(path):
		p.refuse("PIDFile(%q): %q is a path with a control character", p.pidFile, path)
	}
	p.pidFile = path
}
