package lifecycle

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/detach"
	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/procattr"
)

// Detach places the life in the background: Run starts the program again as a process of its own, without a terminal, in a session of
// which it is not the leader, and returns nil when that is ready. The detached process gets to Run as well, and lives the life there;
// [InDaemon] tells the two apart. Where it does not become ready, Run returns what the start came to: the error of the hook that failed,
// with its text and exit code, the last words of a process that died, [ErrStartTimeout]; then nothing is left of it. A launcher that is
// interrupted or killed before it has heard undoes the start; a second TERM or INT more than a second after the first kills what is left of it.
// Process 1 of a PID namespace, with which everything in it ends, detaches nothing: that is an error.
//
// The program's main runs in the launcher up to Run and in the detached process; inits of packages that are initialised before this one
// run once more between the two. The detached process starts in the directory of the launcher and goes to "/" in Run, unless WorkDir says
// otherwise, so that main still finds what it was given by a relative path. By default, Run stays in the foreground; the
// verb start and Ensure detach by themselves.
func Detach() Option {
	return option(func(c *plan) {
		c.detach = true
		c.processOnly("Detach", true)
	})
}

// Args sets what the detached process is started with, behind its name. By default, the arguments of this process.
func Args(args ...string) Option {
	return option(func(c *plan) {
		c.args = slices.Clone(args)
		c.processOnly("Args", true)
	})
}

// InDaemon says whether this process is a detached one, or the worker of one that supervises it. It is false in the launcher and in any other.
func InDaemon() bool {
	note := supervisorNote()
	return detach.Inherited() != nil || note != nil && note.Detached
}

// notUnderTest are the options that a test binary must not have: those of a program that is started again, which would run its tests, and those
// that give up what the other tests need.
var notUnderTest = map[string]string{
	"Detach": errUnderTest, "LogFile": errUnderTest, "ErrorLogFile": errUnderTest,
	"User":      "under go test it would change the user of all tests; use Embedded or package lifecycletest, or build the program",
	"Supervise": errUnderTest, "Program": errUnderTest,
	"Chroot": "under go test it would change the root directory of all tests; use Embedded or package lifecycletest, or build the program",
}

// refuseUnderTest refuses those.
func (c *plan) refuseUnderTest() {
	for _, option := range c.processOptions {
		if why, refused := notUnderTest[option]; refused && underTest() {
			c.refuse("%s: %s", option, why)
		}
	}
}

const errUnderTest = "under go test it would start the test binary again; use Embedded or package lifecycletest, or build the program"

// underTest says whether this is a test, and not a program that a test binary was started as.
func underTest() bool { return flag.Lookup("test.v") != nil && flag.Parsed() }

// runPlaced is run in the place where the life is to be.
func (l *life) runPlaced() error {
	switch {
	case l.plan.embedded:
		return l.run()
	case l.plan.isWorker():
		l.becomeWorker()
		return l.run()
	case l.plan.policy != nil && supervisorNote() != nil: // it would become a parent of its own
		return fmt.Errorf("lifecycle: the parent of this process has the PID file %q, but this process is to have %q: both must be told the same",
			supervisorNote().PIDFile, l.plan.pidFile)
	}
	l.launcher = handshake.Inherited()
	if l.launcher == nil && l.plan.detach && !InDaemon() {
		_, err := l.launch(l.plan.base, true)
		return err
	}
	if l.plan.supervises() {
		l.becomeParent()
	}
	err := l.run()
	if l.launcher != nil {
		l.launcher.Fail(newFailure(err, context.Cause(l.stopCtx)))
	}
	return err
}

// warnOfCaller logs what this daemon has from whoever started it, and could not be reset.
func (l *life) warnOfCaller() {
	if l.launcher == nil {
		return
	}
	if kept := procattr.Kept(); len(kept) > 0 {
		l.log.Warn("the daemon keeps what its caller has: start it from elsewhere, such as by a service manager", "kept", strings.Join(kept, ", "))
	}
}

// detached says whether the life is that of a detached process, be it the first one in it or not.
func (l *life) detached() bool { return !l.plan.embedded && InDaemon() }

// detachedArgs is what the detached process is started with, its name first.
func (c *plan) detachedArgs() []string {
	if c.args != nil {
		return append([]string{os.Args[0]}, c.args...)
	}
	return os.Args
}

// readyProcess is a detached process that is ready.
type readyProcess struct {
	pid  int
	took time.Duration
}

// launch starts the detached process and waits for what comes of it. It holds the lock until that is settled, so that there is no gap and a
// refusal leaves everything as it was.
//
// Where this process is there only for the start, that one is its child for as long as it starts, so that its exit code can be told, and a signal undoes
// the start before it ends this one. A caller that lives on has better not do that: what else becomes an orphan meanwhile would be its child as well,
// for good, and its signals are its own.
func (l *life) launch(parent context.Context, oneShot bool) (*readyProcess, error) {
	l.began = time.Now()
	if underTest() {
		return nil, errors.New("lifecycle: start: " + errUnderTest)
	}
	if err := l.plan.preflight(oneShot); err != nil {
		return nil, err
	}
	ctx, insisted := parent, (<-chan struct{})(nil)
	if oneShot {
		var deafen func()
		ctx, insisted, deafen = notifyLauncherSignals(parent)
		defer func() { time.AfterFunc(signalGrace, deafen) }() // this process is about to end: a late signal must not change how
		l.findReadyFD()
		defer l.readyFD.Close()
	}

	var lock *pidfile.Lock
	var files []*os.File
	if l.plan.pidFile != "" {
		var err error
		if lock, err = l.plan.acquireLockForChild(); err != nil {
			return nil, err
		}
		l.noteUnmarked(lock)
		defer func() {
			removeErr, emptyErr := lock.ReleaseStale(l.plan.removeStaleState)
			l.warnLeftover("PID file", removeErr, emptyErr)
		}()
		files = append(files, lock.File())
	}
	if oneShot { // those of another process that lives on are its own
		for _, unclaimed := range fdstore.Unclaimed() {
			files = append(files, unclaimed.File)
		}
	}
	l.plan.needLog()
	// Not at a reopen: to ask the user database for the default can take its time.
	err := makeDefaultDir(l.plan.logFile, ".log", DefaultLogFile)
	if err != nil {
		return nil, logFileError(l.plan.logFile, err)
	}
	logs, err := l.plan.openLogs()
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	spec := handshake.Spec{
		Args: l.plan.detachedArgs(), PIDFile: l.plan.pidFile, Stdout: logs.Stdout, Stderr: logs.Stderr, Files: files,
		Began: l.began, StartTimeout: l.plan.startTimeout, Limits: l.plan.limits(),
		OneShot: oneShot, Insist: insisted, OnPID: l.plan.onLaunched, Tail: logs.Tail, Decode: decodeFailure,
	}
	pid, err := handshake.Start(ctx, spec)
	var lives *handshake.UnkillableError
	if err == nil || errors.As(err, &lives) {
		lock.HandOff()
		if oneShot {
			for _, given := range fdstore.TakeUnclaimed() {
				given.File.Close()
			}
		}
	}
	if err != nil {
		return nil, startError(err)
	}
	l.tellReadyFD()
	return &readyProcess{pid: pid, took: time.Since(l.began)}, nil
}

// errInit says that the kernel would end the daemon with this process (pid_namespaces(7)).
var errInit = errors.New("lifecycle: this is process 1, and whatever it starts in the background ends with it: live in the foreground, with the verb run")

// preflight returns an error where no start can succeed. Who is about to stop a daemon for another one asks before that. Of a process that is there only for the start, the
// sockets are meant for the daemon.
func (c *plan) preflight(oneShot bool) error {
	if os.Getpid() == 1 {
		return errInit
	}
	if _, err := os.Executable(); err != nil {
		return fmt.Errorf("lifecycle: this program cannot find itself to be started again; is /proc mounted? %w", err)
	}
	if oneShot {
		if err := listenedTooEarly(); err != nil {
			return err
		}
	}
	if _, err := c.findProgram(); err != nil {
		return err
	}
	return c.lookUpCredentials()
}

// notifyLauncherSignals makes a signal that would end the launcher end ctx instead: the start is undone first. insisted is closed when somebody does not want to
// wait for that, which is told from the same wish twice as in a life.
func notifyLauncherSignals(parent context.Context) (ctx context.Context, insisted <-chan struct{}, deafen func()) {
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
