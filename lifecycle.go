// Package lifecycle turns a Go main into a Unix daemon: one instance, a start that reports when the
// daemon is ready, a clean stop, and a reload.
//
//	func main() {
//		os.Exit(lifecycle.Main(os.Args[1:], serve,
//			lifecycle.OnStart(listen),
//			lifecycle.OnReload(loadConfig),
//			lifecycle.OnStop(drain)))
//	}
//
// Four words have a meaning of their own in this package:
//
//   - A body is a function that runs while the daemon is up: the fn passed to [Run], or the Run of
//     a component. When a body returns, the daemon stops.
//   - A component is a set of hooks for one part of the program, for example its database. See
//     [Hooks].
//   - A verdict is the result of a start or a reload: success, or the error that explains the
//     failure.
//   - A phase is a stage in the run of a daemon: starting, ready, reloading, stopping or exited.
//     See [Phase].
//
// A life is one run of the daemon: it begins when [Run] is called and ends when Run returns. There
// are four ways to use the package:
//
//   - [Run] runs the life of this process.
//   - [Main] adds verbs for the command line: start, stop, restart, reload, status and others.
//   - [Find] returns a daemon that another process runs. [Ensure] does the same, and starts the
//     daemon if none is running.
//   - [From] returns the life to which a hook or a body belongs.
//
// Package [example.com/lifecycle/lifecycletest] runs a life inside a test.
//
// # What it promises
//
//  1. One instance. While a daemon runs, every other start with the same PID file fails with an
//     [*AlreadyRunningError]. The lock on the file decides, not the number in it.
//  2. Order. Components start in the order given and stop in reverse order. The life asks a
//     component to stop only after the bodies of all later components have returned. Hooks never
//     run concurrently. OnStop asks a component to stop, and OnExit frees its resources. Both run
//     exactly once for every started component, unless a second stop signal ends the process at
//     once.
//  3. A start means ready. A detached start ([Detach], the verb start, [Ensure]) blocks until the
//     daemon is ready or has failed, and returns the reason of a failure. A failed start leaves
//     nothing behind: the started components are stopped and the PID file is removed.
//  4. A failed reload does not end the daemon. The component that failed keeps its old
//     configuration. The caller that requested the reload gets the verdict.
//  5. Time is bounded. A hook that exceeds [StartTimeout], [ReloadTimeout] or [StopTimeout] is
//     abandoned. The log names it and shows the stack of its goroutine. During a stop, the
//     remaining hooks still run.
//  6. A panic or runtime.Goexit in a hook or body becomes the error of that hook or body. A panic
//     in a goroutine that the program starts itself is a crash. The kernel then releases the lock,
//     and the next start reuses the stale PID file.
//  7. A verb signals a process only after the kernel has confirmed that this process holds the
//     lock.
//
// # Signals
//
//	TERM, INT   stop; another one, more than 1 s later, ends the process at once with exit code 1
//	HUP         reload; stop if the controlling terminal has hung up, unless under nohup(1)
//	USR1        reopen the log of a detached process
//	USR2        with [Supervise]: replace the program by the one on disk; see [Process.Upgrade]
//	PIPE        no effect: a write to a broken stdout or stderr returns EPIPE
//	others      as in any Go program, or the function passed to [OnSignal]
//
// The signals work even if the caller of the program ignored or blocked them. TERM, INT and the
// loss of the terminal take effect at any time. Any other signal that arrives during the start
// takes effect after the start. Several signals of the same kind count as one until the life
// handles them.
//
// # systemd and containers
//
// A service manager should use the verb run. The process then stays in the foreground, logs to
// stderr, and exits with a code that gives the reason; see [ExitCode].
//
// If NOTIFY_SOCKET is set, the life notifies the manager of every phase and of the reason for a
// failure (sd_notify(3), Type=notify, Type=notify-reload). The status line shows the running hook,
// or the text of [Life.SetStatus]. If WATCHDOG_USEC is set, the life also reports that the process
// is healthy; see [Watchdog]. Processes that the daemon starts do not inherit these variables. If
// the life cannot connect to the manager, it runs without a manager. If the manager does not read
// its socket, each message waits for at most half a second. Lines for the journal carry a priority
// and no timestamp; see [StderrHandler].
//
// READY_FD is the number of an inherited pipe or socket, as s6, dinit and OpenRC use it. When the
// daemon is ready, the life writes a newline to it and closes it. With the verb start, the launcher
// does this.
//
// # Sockets
//
// Listen and ListenPacket of package [example.com/lifecycle/socket] return the sockets that a
// systemd socket unit, or a manager that keeps sockets, passes to this process. They bind a new
// socket if there is none. A manager with a descriptor store (FileDescriptorStoreMax=) keeps the
// sockets that they bind, so a restart or a crash refuses no connection. A unix socket leaves no
// dead file behind. A process never takes the path of a socket at which another process listens.
//
// # Supervision
//
// With [Supervise], a small supervisor process starts a worker and restarts it after a crash. The
// worker runs fn in a process of the same binary. With [Program], the worker is a supervised
// program instead: an executable file that need not use this library. The supervisor holds the PID
// file, so the PID of the daemon does not change. The supervisor also keeps the sockets that
// socket.Listen opened. [RestartPolicy] defines how long the supervisor waits before a restart and
// when it gives up. The supervisor talks to its worker as systemd talks to a service
// (sd_notify(3)), so the same program runs under both. Under systemd, a supervisor is not needed:
// systemd restarts the program itself. Supervision works on Linux only.
//
// # Platforms
//
// Linux has every feature. On macOS and the BSDs, the PID file carries the flock(2) lock but not
// the two record locks that identify the holder on Linux. On these systems, the PID in a locked
// file identifies the holder. On Windows, a program runs in the foreground without a PID file,
// socket.Listen only binds, and Umask has no effect. Everything else that needs Unix returns
// errors.ErrUnsupported.
//
// # What it does not do
//
//   - It cannot prevent a second daemon after the PID file was deleted while the first one runs. It
//     cannot prevent one either if the file system of the PID file does not share its locks among
//     all hosts.
//   - It cannot end a goroutine. An abandoned hook runs on until the process ends.
//   - A stop ends the daemon but, without a supervisor, not the processes that the daemon started.
//   - It installs no service and rotates no log.
package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/sys/safefile"
	"example.com/lifecycle/internal/sys/startup"
)

// Run runs one life of this process. It blocks until the life is over and the PID file is removed.
// With [Detach], Run starts the life in the background instead, and returns when that life is ready
// or has failed. Run installs the signal handlers, locks the PID file, calls each OnStart, and then
// calls fn and the other bodies. When a stop is requested, Run ends the context of fn. Then it
// stops the components in reverse order, one at a time: it ends the context of the component, calls
// OnStop, and waits for its body. Then Run waits for fn. Run does not wait earlier, because fn may
// block until an OnStop has run. Finally, Run calls each OnExit in reverse order.
//
// The context of fn ends when fn must return. [context.Cause] returns the reason: a
// [*StopSignalError], [ErrBodyReturned], the reason passed to [Life.Stop], the cause of the end of
// the BaseContext, or the error of a failed start. A nil fn waits for the end of its context and
// returns nil. When fn returns earlier, with or without an error, the life stops.
//
// Run joins the errors of the bodies, unwrapped, with the errors of the hooks. Each error of a hook
// is a [*HookError]. A nil error is no failure. After a stop is requested, an error that wraps
// context.Canceled or one of [CleanErrors] is no failure either. If there is no failure, Run
// returns nil.
//
// Run returns an [*AlreadyRunningError] if another daemon holds the PID file, or if another Run is
// active in this process. If an option is wrong, the error names the option. In both cases, Run has
// started nothing.
//
// A program usually passes the result to [ExitCode] and calls os.Exit. For one second after Run
// returns, the signals that the life handles have no effect, so that a late signal cannot change
// the exit code. After that second, they have the same effect as before Run.
func Run(fn func(ctx context.Context) error, opts ...Option) error {
	l, err := newLife(fn, opts)
	if err != nil {
		return err
	}
	return runHere(l)
}

// newLife returns the life that the options describe. The life has not begun.
func newLife(fn func(context.Context) error, opts []Option) (*life, error) {
	p, err := newPlan(fn, opts)
	if err != nil {
		return nil, abandon(p, err)
	}
	return lifeOf(p), nil
}

// runHere runs the life in the mode of this process.
func runHere(l *life) error {
	m, err := modeOf(l.plan)
	introduce(l.plan, m, err)
	if err != nil {
		return abandon(l.plan, err)
	}
	l.mode = m
	if m.isProcess() {
		if err := startup.FillStandard(); err != nil {
			l.log.Warn("the program has closed its stdin, stdout or stderr, and another file may take its place", "err", err)
		}
	}
	switch m.kind {
	case modeProbe:
		answerGuard()
		return nil
	case modeLauncher:
		_, err := launch{plan: l.plan, oneShot: true}.run(l.plan.base)
		return abandon(l.plan, err)
	case modeSupervisor:
		if err := superviseIn(l); err != nil {
			return abandon(l.plan, err)
		}
	case modeWorker:
		attachToSupervisor(l)
	}
	if m.mayHaveLauncher() {
		l.launcher = handshake.Inherited()
		if l.plan.detach && l.launcher == nil && InDaemon() && l.handoff == nil {
			// No launcher waits for the result of this life.
			return errors.New("lifecycle: Detach: this process is the daemon of an earlier call of Run, so it " +
				"cannot be the next one too: set Args so that the main of each daemon calls Run once")
		}
	}
	err = l.run()
	if l.launcher != nil {
		l.launcher.Fail(encodeError(l.whyNotReady(err)))
	}
	return err
}

// abandon returns err. It first removes the socket files that the program has made, because no life
// begins in this process.
func abandon(p *plan, err error) error {
	if !p.embedded {
		fdstore.Abandon()
	}
	return err
}

// newPlan applies the options and completes the plan. The plan does not change afterwards.
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
	if err := p.wrongError(); err != nil {
		return p, err
	}
	return p, nil
}

// complete sets the fields that depend on other options, and refuses options that conflict.
func (p *plan) complete() {
	if !validName(p.name) {
		p.refuse("Name(%q): must be a valid file name, because the PID file is named after it", p.name)
	}
	if p.ownLogger = p.logger != nil; !p.ownLogger {
		p.logger = slog.Default()
	}
	if p.stopTimeout > 0 && p.stopDelay >= p.stopTimeout {
		p.refuse("StopDelay(%v): must be shorter than StopTimeout (%v), which includes it", p.stopDelay, p.stopTimeout)
	}
	if p.drainTimeout < 0 {
		p.drainTimeout = p.stopTimeout
	}
	p.completeHooks()
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
	p.refuseShared(statePath(p.pidFile), p.defaultLog, safefile.SameEntry)
}

func (p *plan) completePIDFile() {
	p.noPIDFile = whyNoDefault(p.pidFile)
	if !p.pidFileSet {
		p.pidFile, p.noPIDFile = defaultPIDFile(p.name)
	}
	if p.pidFile == "" {
		return
	}
	path, err := startup.Abs(p.pidFile)
	switch {
	case err != nil:
		p.refuse("PIDFile(%q): %v", p.pidFile, err)
	case strings.Contains(path, "\x00"):
		p.refuse("PIDFile(%q): a path cannot contain a NUL byte", p.pidFile)
	}
	p.pidFile = path
}
