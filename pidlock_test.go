package lifecycle

import (
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/proctest"
)

// requireRefused requires that a start is refused with that exit code and text before anything of it has run.
func requireRefused(t *testing.T, code int, text, pidfile string, args ...string) {
	t.Helper()
	got := callVerb(t, pidfile, append(args, "run")...)
	require.Equal(t, code, got.Code, "%s%s", got.Stdout, got.Stderr)
	require.Contains(t, got.Stderr, text)
	require.NotContains(t, got.Stdout, "OnStart")
}

// requireStarts starts a daemon on that PID file and stops it.
func requireStarts(t *testing.T, pidfile string, args ...string) {
	t.Helper()
	p := proctest.Start(t, daemon, append([]string{"pidfile=" + pidfile}, args...)...)
	p.Await("msg=ready")
	proctest.RequireText(t, pidfile, fmt.Sprintln(p.PID()))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait(), "%s", p.Out)
	require.NoFileExists(t, pidfile)
}

func alreadyRunning(pid int) string { return fmt.Sprintf("daemon: already running (pid %d)\n", pid) }

func TestAlreadyRunningErrorSaysWhoAndWhere(t *testing.T) {
	for text, err := range map[string]*AlreadyRunningError{
		"lifecycle: already running (pid 4711), PID file /run/x.pid":               {PID: 4711, PIDFile: "/run/x.pid"},
		"lifecycle: already running (pid not known here), PID file /run/x.pid":     {PIDFile: "/run/x.pid"},
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
	require.Equal(t, 1, said.Count("cannot remove the PID file, nor empty it"))
	require.Equal(t, 1, callVerb(t, pidfile, "status").Code)
	requireStarts(t, pidfile)
}

// takePIDFile is how a daemon takes its PID file, without the state file.
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

func TestWhatAKilledDaemonHasLeftIsRemovedOnlyUnderTheLockAndOnlyWhereAStartWouldTakeIt(t *testing.T) {
	t.Parallel()
	stale := func(t *testing.T) (c *plan, path string) {
		path = pidFileWith(t, "4242\n")
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
			requireUntouched := untouched(t, path)
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
