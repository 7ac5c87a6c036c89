package lifecycle

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/filelock"
)

func TestAlreadyRunningErrorNamesPIDAndFile(t *testing.T) {
	for text, err := range map[string]*AlreadyRunningError{
		"lifecycle: already running (pid 4711), PID file /run/x.pid":               {PID: 4711, PIDFile: "/run/x.pid"},
		"lifecycle: already running (pid unknown), PID file /run/x.pid":            {PIDFile: "/run/x.pid"},
		"lifecycle: already running in this process (pid 4711): one Run at a time": {PID: 4711, here: true},
	} {
		require.EqualError(t, err, text)
		require.ErrorIs(t, err, ErrAlreadyRunning)
	}
}

// Row B13.
func TestAPIDFileThatCanNeitherBeRemovedNorEmptiedIsStale(t *testing.T) {
	t.Parallel()
	var said proctest.Lines
	pidfile := proctest.PIDPath(t)
	lock, err := takePIDFile(pidfile)
	require.NoError(t, err)
	require.NoError(t, lock.File().Close())
	l, err := newLife(nil, []Option{Embedded(), Logger(slog.New(slog.NewTextHandler(&said, nil)))})
	require.NoError(t, err)
	l.lock = lock
	l.leave()
	require.Equal(t, 1, said.Count("cannot remove or empty the PID file"))
	require.Equal(t, 1, verbHere(t, pidfile, "status").Code)
	lock, err = takePIDFile(pidfile) // as a start does it
	require.NoError(t, err)
	_, err = lock.Release()
	require.NoError(t, err)
	requireNothingLeft(t, pidfile)
}

// takePIDFile locks a PID file as a daemon does, without a state file.
func takePIDFile(path string) (*pidfile.Lock, error) {
	lock, err := pidfile.Acquire(path, 0o644)
	if err != nil {
		return nil, err
	}
	if err := lock.WritePID(); err != nil {
		_, _ = lock.Release()
		return nil, err
	}
	return lock, nil
}

func TestFilesOfAKilledDaemonAreRemovedOnlyUnderTheLockAndOnlyIfSafe(t *testing.T) {
	t.Parallel()
	stale := func(t *testing.T) (c *plan, path string) {
		path = proctest.PIDFileWith(t, "4242\n")
		c, err := newPlan(nil, []Option{PIDFile(path)})
		require.NoError(t, err)
		return c, path
	}
	for what, spoil := range map[string]func(t *testing.T, path string){
		"locked":    func(t *testing.T, path string) { held(t, path) },
		"writable":  func(t *testing.T, path string) { require.NoError(t, os.Chmod(path, 0o646)) },
		"two names": func(t *testing.T, path string) { require.NoError(t, os.Link(path, path+".other")) },
		"a link": func(t *testing.T, path string) {
			require.NoError(t, os.Rename(path, path+".other"))
			require.NoError(t, os.Symlink(path+".other", path))
		},
		"missing": func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
	} {
		t.Run(what, func(t *testing.T) {
			c, path := stale(t)
			spoil(t, path)
			requireUntouched := proctest.Untouched(t, path)
			c.releaseStale()
			requireUntouched()
		})
	}

	c, path := stale(t)
	record := recordOf(t, Status{PID: 4242})
	require.NoError(t, os.WriteFile(statePath(path), record, 0o644))
	c.releaseStale()
	requireNothingLeft(t, path)
}

// holder is an alias because tests have variables with the name pidfile.
type holder = pidfile.Holder

// held opens the file at path and locks it as another program would, until the end of the test.
func held(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	require.NoError(t, filelock.TryLock(f))
	return f
}

// requireNothingLeft requires that no file is in the directory of the PID file.
func requireNothingLeft(t *testing.T, path string) {
	t.Helper()
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Empty(t, left)
}

// holding is a process that prints each signal that it receives. If it has an argument, it holds
// that PID file as a daemon does. It writes no state file.
var holding = proctest.Register("holding", func(args []string) int {
	signals := make(chan os.Signal, 100)
	signal.Notify(signals)
	if len(args) > 0 {
		lock, err := takePIDFile(args[0])
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer runtime.KeepAlive(lock)
	}
	fmt.Println("listens")
	for sig := range signals {
		if sig != syscall.SIGURG { // the Go runtime sends SIGURG to its own process
			fmt.Println("got", sig)
		}
	}
	return 0
})

// startHolding starts a process that must not be signalled. requireUntouched requires that it
// received no signal.
func startHolding(t *testing.T, pidfile ...string) (p *proctest.Process, requireUntouched func()) {
	t.Helper()
	p = proctest.Start(t, holding, pidfile...)
	p.Await("listens")
	return p, func() {
		t.Helper()
		p.Signal(syscall.SIGUSR2) // earlier signals are printed before it
		p.Await("got user defined signal 2")
		require.Equal(t, "listens\ngot user defined signal 2\n", p.Out.String())
	}
}

// Row C9.
func TestHoldReturnsAnErrorIfTheHolderHasChanged(t *testing.T) {
	t.Parallel()
	path := proctest.PIDPath(t)
	p, requireUnsignalled := startHolding(t, path)
	bystander, requireLives := startHolding(t)
	requireUntouched := proctest.Untouched(t, path)
	for _, h := range []holder{
		{Held: true, Daemon: true, Known: true, PID: bystander.PID()}, // now of another process
		{Held: true, Daemon: true, Known: true, PID: 1<<31 - 1},       // the process has ended
	} {
		_, err := hold(path, h)
		require.ErrorIs(t, err, os.ErrProcessDone)
	}
	// No process holds the file now.
	_, err := hold(proctest.PIDPath(t), holder{Held: true, Daemon: true, Known: true, PID: p.PID()})
	require.ErrorIs(t, err, os.ErrProcessDone)
	requireUntouched()
	requireUnsignalled()
	requireLives()
}

func openForReading(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestTheErrorForAUserWithoutAHomeNamesTheOptions(t *testing.T) {
	t.Parallel()
	const path = "/nonexistent/.local/state/app/app.pid"
	failed := func(op, at string) error { return &fs.PathError{Op: op, Path: at, Err: syscall.EACCES} }
	user := fmt.Sprintf(" (user %d ", os.Geteuid())
	const options = "; set the options PIDFile and LogFile to other places)"
	require.Equal(t, user+"has no home directory"+options, hint(path, failed("mkdir", "/nonexistent")))
	require.True(t, strings.HasSuffix(hint("/proc/self/.local/state/app/app.pid", failed("mkdir", "/proc/self/.local")), options[2:]))
	require.NotContains(t, hint("/proc/self/.local/state/app/app.pid", failed("mkdir", "/proc/self/.local")), "home")
	require.NotContains(t, hint(path, failed("open", "/nonexistent")), "options")
}
