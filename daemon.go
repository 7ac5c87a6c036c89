package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/sys/keeper"
	"example.com/lifecycle/internal/sys/readyfd"
	"example.com/lifecycle/internal/sys/safefile"
	"example.com/lifecycle/internal/sys/startup"
)

// Detach moves the life to the background. This process is then the launcher: Run starts the
// program again as a detached process, and returns nil when the detached process is ready. The
// detached process has no terminal and does not lead its session. It calls Run too, and there Run
// runs the life. [InDaemon] reports whether this process is the detached one.
//
// If the detached process does not become ready, Run leaves nothing of it behind and returns the
// reason: the error of the hook that failed, with its text and exit code; the last output of a
// process that died; or [ErrStartTimeout]. If a signal ends the launcher before it knows the
// result, the start is undone. A second TERM or INT, more than a second after the first one, kills
// a detached process that has not ended yet. In process 1 of a PID namespace, Run returns an error,
// because every process in the namespace ends with process 1.
//
// The program's main runs up to Run in the launcher, and again in the detached process. Between
// these two, a short-lived process runs only the init functions of the packages that are
// initialised before this package. The detached process gets the current environment of the
// launcher. It starts in the directory in which the launcher was started, even after os.Chdir, so
// its main finds files by the same relative paths. Run changes the directory to "/", or to WorkDir.
// [Main] ignores this option, because its verb decides. By default, Run stays in the foreground;
// the verb start and Ensure detach without this option.
func Detach() Option {
	return option(func(c *plan) {
		c.detach = true
		c.processOnly("Detach", true)
	})
}

// Args sets the arguments of the detached process, without the program name. By default, the
// detached process gets the arguments with which this process was started, even if the program has
// changed os.Args.
func Args(args ...string) Option {
	return option(func(c *plan) {
		c.args = slices.Clone(args)
		c.processOnly("Args", true)
	})
}

// notUnderTest contains the options that are refused in a test binary, and why. Some of them would
// start the test binary again, and its tests would run twice. The others would change the user or
// the root directory of all tests.
var notUnderTest = map[string]string{
	"Detach": errUnderTest, "LogFile": errUnderTest, "ErrorLogFile": errUnderTest,
	"User":      "not possible under go test, because it would change the user of all tests: use Embedded or package lifecycletest, or build the program",
	"Supervise": errUnderTest, "Program": errUnderTest,
	"Chroot": "not possible under go test, because it would change the root directory of all tests: use Embedded or package lifecycletest, or build the program",
}

// refuseUnderTest refuses the options in notUnderTest if this is a test.
func (p *plan) refuseUnderTest() {
	for _, option := range p.processOptions {
		if why, refused := notUnderTest[option]; refused && underTest() {
			p.refuse("%s: %s", option, why)
		}
	}
}

const errUnderTest = "not possible under go test, because it would start the test binary again: use Embedded or package lifecycletest, or build the program"

// commandLine is package state because a program may replace flag.CommandLine.
var commandLine = flag.CommandLine

// underTest reports whether this process runs tests. It returns false if a test executes its own
// binary as another program: that process has not parsed the flags of go test.
func underTest() bool { return commandLine.Lookup("test.v") != nil && commandLine.Parsed() }

// daemonArgs returns the arguments of the daemon, with its name first.
func (s launch) daemonArgs() []string {
	args := s.args
	if args == nil {
		args = s.plan.args
	}
	if args == nil {
		return startup.Args()
	}
	return append(startup.Args()[:1], args...)
}

// readyProcess describes a detached process that is ready.
type readyProcess struct {
	pid  int
	took time.Duration
}

// launch starts a daemon in the background.
type launch struct {
	plan  *plan
	args  []string                      // of the daemon, without its name; nil: from the plan
	dir   string                        // in which the daemon starts; "": the one of this process
	onPID func(pid int) (finish func()) // called when the daemon was started; may be nil

	// oneShot is set if this process only starts the daemon. Then the daemon is a child of this
	// process during its start, so this process knows its exit code. A signal then undoes the start
	// before this process ends. A caller that continues to run can do neither: it would adopt all
	// other orphans too, and it handles its signals itself.
	oneShot bool
}

// keeper returns the service manager that has started this launcher and keeps its daemon. It
// returns none for a process that continues to run, because the manager keeps that process and not
// the daemon.
func (s launch) keeper() keeper.Manager {
	if !s.oneShot {
		return keeper.Manager{}
	}
	m, _ := keeper.Systemd()
	return m
}

// run starts the daemon and waits until it is ready or has failed. It holds the lock all the time,
// so no other start can begin, and a refused start changes nothing.
func (s launch) run(parent context.Context) (_ *readyProcess, err error) {
	p, began := s.plan, time.Now()
	if underTest() {
		return nil, errors.New("lifecycle: start: " + errUnderTest)
	}
	if err := p.checkDetach(); err != nil {
		return nil, err
	}
	ctx, insisted := parent, (<-chan struct{})(nil)
	var ready *readyfd.Descriptor
	if s.oneShot {
		var stopSignals func()
		ctx, insisted, stopSignals = notifyLauncherSignals(parent)
		// This process is about to end: a late signal must not change its exit code.
		defer func() { time.AfterFunc(signalGrace, stopSignals) }()
		ready = takeReadyFD(p.logger)
		defer ready.Close()
	}

	var lock *pidfile.Lock
	var files []*os.File
	if p.pidFile != "" {
		if lock, err = p.acquireLockForChild(); err != nil {
			return nil, err
		}
		logUnmarked(p.logger, lock)
		defer func() {
			interrupted := ctx.Err() != nil
			removeErr, emptyErr := lock.ReleaseStale(func() { p.endFailedStart(began, err, interrupted) })
			warnLeftover(p.logger, "PID file", removeErr, emptyErr)
		}()
		files = append(files, lock.File())
	}
	credentials, err := p.preflight(s.oneShot) // with the lock, so that its error is recorded
	if err != nil {
		return nil, err
	}
	if s.oneShot { // a process that continues to run keeps its sockets
		for _, unclaimed := range fdstore.Unclaimed() {
			files = append(files, unclaimed.File)
		}
	}
	paths, err := p.logPaths()
	if err != nil {
		return nil, err
	}
	// A reopen does not do this: the query for the default path may read the user database, and that
	// is slow.
	if err := makeDefaultDir(paths.stdout, ".log"); err != nil {
		return nil, logFileError(paths.stdout, err)
	}
	logs, err := paths.open(credentials)
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	warnOfModes(p.logger, logs, p.logFileMode)
	pid, err := handshake.Start(ctx, handshake.Spec{
		Args: s.daemonArgs(), Dir: cmp.Or(s.dir, startup.ChildDir()), PIDFile: p.pidFile, Stdout: logs.Stdout, Stderr: logs.Stderr, Files: files,
		Began: began, StartTimeout: p.startTimeout, Limits: p.limits(),
		Keeper:  s.keeper(),
		OneShot: s.oneShot, Insist: insisted, OnPID: s.onPID, Tail: logs.Tail, Decode: decodeError,
	})
	var lives *handshake.UnkillableError
	if err == nil || errors.As(err, &lives) {
		lock.HandOff()
		if s.oneShot {
			for _, given := range fdstore.TakeUnclaimed() {
				given.File.Close()
			}
		}
	} else if removeErr := logs.RemoveEmpty(); removeErr != nil {
		p.logger.Warn("cannot remove the empty log of the failed start", "err", removeErr)
	}
	if err != nil {
		err = startError(err)
		if log := cmp.Or(paths.stderr, paths.stdout); log != "" {
			err = &launchError{err, log}
		}
		return nil, err
	}
	tellReadyFD(p.logger, ready)
	return &readyProcess{pid: pid, took: time.Since(began)}, nil
}

// checkDetach returns an error if this process may not even lock the PID file for a daemon.
func (p *plan) checkDetach() error {
	if p.noPIDFile != nil {
		return p.noPIDFile
	}
	if os.Getpid() == 1 {
		// The kernel would end the daemon together with this process (pid_namespaces(7)).
		return errors.New("lifecycle: cannot detach from process 1: the kernel would end the daemon " +
			"together with process 1; run it in the foreground")
	}
	return p.checkShared()
}

// preflight returns an error if no start can succeed. Restart calls it before it stops the running
// daemon. If oneShot is set, it also returns an error if this process has opened sockets that the
// daemon needs.
func (p *plan) preflight(oneShot bool) (*credentials, error) {
	if _, err := os.Executable(); err != nil {
		return nil, fmt.Errorf("lifecycle: cannot find the executable of this process (is /proc mounted?): %w", err)
	}
	if oneShot {
		if err := listenedTooEarly(); err != nil {
			return nil, err
		}
	}
	if _, err := p.findProgram(); err != nil {
		return nil, err
	}
	credentials, err := p.lookUpCredentials()
	if err == nil && p.policy != nil {
		err = credentials.checkEndable(p.user)
	}
	return credentials, err
}

// notifyLauncherSignals catches the signals that would end the launcher. The first one cancels ctx,
// and the launcher undoes the start before it ends. insisted is closed on another TERM or INT, more
// than forceQuitAfter after the first one. The caller then does not wait for the daemon to end.
func notifyLauncherSignals(parent context.Context) (ctx context.Context, insisted <-chan struct{}, stopSignals func()) {
	ctx, cancel := context.WithCancelCause(parent)
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	if !underNohup {
		signal.Notify(c, syscall.SIGHUP)
	}
	if !sigintIgnored {
		signal.Notify(c, syscall.SIGINT)
	}
	done, again := make(chan struct{}), make(chan struct{})
	go func() {
		var first time.Time
		for {
			select {
			case sig := <-c:
				cancel(&StopSignalError{sig})
				switch {
				case sig == syscall.SIGHUP:
				case first.IsZero():
					first = time.Now()
				case time.Since(first) > forceQuitAfter:
					close(again)
					return
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, again, func() {
		signal.Stop(c)
		close(done)
		cancel(nil)
	}
}

// checkShared is refuseShared for files that have several names. It reads the disk, so only a start
// calls it.
func (p *plan) checkShared() error {
	found := plan{identity: p.identity, placement: p.placement}
	found.refuseShared(statePath(p.pidFile), p.defaultLog, safefile.SameFile)
	return found.wrongError()
}
