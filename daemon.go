package lifecycle

import (
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
	"example.com/lifecycle/internal/readyfd"
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

// daemonArgs returns what the daemon is started with, its name first.
func (s launch) daemonArgs() []string {
	args := s.args
	if args == nil {
		args = s.plan.args
	}
	if args == nil {
		return os.Args
	}
	return append([]string{os.Args[0]}, args...)
}

// readyProcess is a detached process that is ready.
type readyProcess struct {
	pid  int
	took time.Duration
}

// launch is the start of a daemon in the background.
type launch struct {
	plan  *plan
	args  []string                      // of the daemon, without its name; nil: as the plan says
	onPID func(pid int) (finish func()) // called when the daemon has been started; nil: nothing

	// oneShot says that this process only starts the daemon. Then the daemon is its child for as long as it starts, so that
	// its exit code can be told, and a signal undoes the start before it ends this process. A caller that lives on cannot do
	// that: it would keep whatever else becomes an orphan meanwhile, and its signals are its own.
	oneShot bool
}

// run starts the daemon and waits until it is ready or has failed. It holds the lock throughout, so no other start can slip
// in, and a refusal leaves everything as it was.
func (s launch) run(parent context.Context) (*readyProcess, error) {
	p, began := s.plan, time.Now()
	if underTest() {
		return nil, errors.New("lifecycle: start: " + errUnderTest)
	}
	credentials, err := p.preflight(s.oneShot)
	if err != nil {
		return nil, err
	}
	ctx, insisted := parent, (<-chan struct{})(nil)
	var ready *readyfd.Descriptor
	if s.oneShot {
		var stopSignals func()
		ctx, insisted, stopSignals = notifyLauncherSignals(parent)
		// This process is about to end: a late signal must not change how.
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
			removeErr, emptyErr := lock.ReleaseStale(p.removeStaleState)
			warnLeftover(p.logger, "PID file", removeErr, emptyErr)
		}()
		files = append(files, lock.File())
	}
	if s.oneShot { // those of another process that lives on are its own
		for _, unclaimed := range fdstore.Unclaimed() {
			files = append(files, unclaimed.File)
		}
	}
	paths := p.logPaths()
	// Not at a reopen: to ask the user database for the default can take its time.
	if err := makeDefaultDir(paths.stdout, ".log", DefaultLogFile); err != nil {
		return nil, logFileError(paths.stdout, err)
	}
	logs, err := paths.open(credentials)
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	pid, err := handshake.Start(ctx, handshake.Spec{
		Args: s.daemonArgs(), PIDFile: p.pidFile, Stdout: logs.Stdout, Stderr: logs.Stderr, Files: files,
		Began: began, StartTimeout: p.startTimeout, Limits: p.limits(),
		OneShot: s.oneShot, Insist: insisted, OnPID: s.onPID, Tail: logs.Tail, Decode: decodeFailure,
	})
	var lives *handshake.UnkillableError
	if err == nil || errors.As(err, &lives) {
		lock.HandOff()
		if s.oneShot {
			for _, given := range fdstore.TakeUnclaimed() {
				given.File.Close()
			}
		}
	}
	if err != nil {
		return nil, startError(err)
	}
	tellReadyFD(p.logger, ready)
	return &readyProcess{pid: pid, took: time.Since(began)}, nil
}

// errInit says that the kernel would end the daemon with this process (pid_namespaces(7)).
var errInit = errors.New("lifecycle: this is process 1, and whatever it starts in the background ends with it: live in the foreground, with the verb run")

// preflight returns an error where no start can succeed. Who is about to stop a daemon for another one asks before that. Of a process that is there only for the start, the
// sockets are meant for the daemon.
func (p *plan) preflight(oneShot bool) (*credentials, error) {
	if os.Getpid() == 1 {
		return nil, errInit
	}
	if _, err := os.Executable(); err != nil {
		return nil, fmt.Errorf("lifecycle: this program cannot find itself to be started again; is /proc mounted? %w", err)
	}
	if oneShot {
		if err := listenedTooEarly(); err != nil {
			return nil, err
		}
	}
	if _, err := p.findProgram(); err != nil {
		return nil, err
	}
	return p.lookUpCredentials()
}

// notifyLauncherSignals makes a signal that would end the launcher end ctx instead: the start is undone first. insisted is closed when somebody does not want to
// wait for that, which is told from the same wish twice as in a life.
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
