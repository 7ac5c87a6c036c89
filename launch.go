package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/pidfile"
)

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
	if err := l.preflight(oneShot); err != nil {
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
	if l.pidFile != "" {
		var err error
		if lock, err = l.acquireLockForChild(); err != nil {
			return nil, err
		}
		l.noteUnmarked(lock)
		defer func() {
			removeErr, emptyErr := lock.ReleaseStale(l.removeStaleState)
			l.warnLeftover("PID file", removeErr, emptyErr)
		}()
		files = append(files, lock.File())
	}
	if oneShot { // those of another process that lives on are its own
		for _, unclaimed := range fdstore.Unclaimed() {
			files = append(files, unclaimed.File)
		}
	}
	l.needLog()
	// Not at a reopen: to ask the user database for the default can take its time.
	err := makeDefaultDir(l.logFile, ".log", DefaultLogFile)
	if err != nil {
		return nil, logFileError(l.logFile, err)
	}
	logs, err := l.openLogs()
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	spec := handshake.Spec{
		Args: l.detachedArgs(), PIDFile: l.pidFile, Stdout: logs.Stdout, Stderr: logs.Stderr, Files: files,
		Began: l.began, StartTimeout: l.startTimeout, Limits: l.limits(),
		OneShot: oneShot, Insist: insisted, OnPID: l.onLaunched, Tail: logs.Tail, Decode: decodeFailure,
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
func (c *config) preflight(oneShot bool) error {
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
