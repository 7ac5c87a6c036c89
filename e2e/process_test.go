package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// errand is a call that runs in its own goroutine and blocks until a daemon has done something.
type errand struct {
	t      *testing.T
	cancel context.CancelCauseFunc
	waits  chan struct{} // closed when the call begins to wait
	done   chan struct{} // closed when the call has returned
	err    error         // the result
}

func goOff(t *testing.T, do func(context.Context) error) *errand {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	e := &errand{t: t, cancel: cancel, waits: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(e.done)
		e.err = do(&watchedContext{Context: ctx, watched: e.waits})
	}()
	t.Cleanup(func() {
		cancel(nil)
		<-e.done
	})
	return e
}

// sendOff does the same as goOff, but returns only when the call waits for the daemon. By then, the
// call has done all its reads and has sent all its signals.
func sendOff(t *testing.T, do func(context.Context) error) *errand {
	t.Helper()
	e := goOff(t, do)
	select {
	case <-e.waits:
	case <-e.done:
	case <-time.After(proctest.Patience):
		t.Fatal("it neither waits nor returns")
	}
	return e
}

// requireWaits requires that the errand has not returned.
func (e *errand) requireWaits() {
	e.t.Helper()
	select {
	case <-e.done:
		e.t.Fatalf("it does not wait, but has returned: %v", e.err)
	default:
	}
}

// wait waits for the errand and returns its result.
func (e *errand) wait() error {
	e.t.Helper()
	select {
	case <-e.done:
	case <-time.After(proctest.Patience):
		e.t.Fatal("it does not return")
	}
	return e.err
}

// watchedContext reports when a goroutine begins to wait for its end.
type watchedContext struct {
	context.Context
	once    sync.Once
	watched chan struct{}
}

func (c *watchedContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.watched) })
	return c.Context.Done()
}

// mustFind calls Find. The test closes the result at its end.
func mustFind(t *testing.T, path string) *lifecycle.Process {
	t.Helper()
	found, err := lifecycle.Find(path)
	require.NoError(t, err)
	t.Cleanup(func() { found.Close() })
	return found
}

// ended returns a context that has ended.
func ended(t *testing.T, cause error) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	return ctx
}

var errEnough = errors.New("enough")

func requireRuns(t *testing.T, p *proctest.Process) {
	t.Helper()
	select {
	case <-p.Done:
		t.Fatalf("pid %d %v has ended: %v; it wrote:\n%s", p.PID(), p.Cmd.Args, p.Cmd.ProcessState, p.Out)
	default:
	}
}

// replace replaces the file at path by another file.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", content, 0o644))
	require.NoError(t, os.Rename(path+".new", path))
}

func TestStopReturnsWhenTheDaemonHasEnded(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startDaemon(t, "stop=until:"+gate)
	found, f := mustFind(t, path), openForReading(t, path)
	stop := sendOff(t, found.Stop)
	p.Await("OnStop")
	stop.requireWaits()
	proctest.Touch(t, gate)
	require.NoError(t, stop.wait())
	requireFree(t, f)
	require.ErrorIs(t, found.Signal(syscall.Signal(0)), lifecycle.ErrNotRunning)
	requireExited(t, p, 0)
	requireBalanced(t, p)
	requireNothingLeft(t, path)
	require.NoError(t, found.Stop(ended(t, errEnough)), "the process is gone, and Stop does not wait")
}

func TestStopWaitsForAStopThatAnotherProcessRequested(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"TERM", "fn has returned"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			gate, last := filepath.Join(t.TempDir(), "gate"), filepath.Join(t.TempDir(), "last")
			p, path := startDaemon(t, "stop=until:"+gate, "run=until:"+last)
			found := mustFind(t, path)
			if how == "TERM" {
				p.Signal(syscall.SIGTERM)
				p.Await("OnStop")
			}
			proctest.Touch(t, last)
			p.Await("OnStop")
			stop := sendOff(t, found.Stop)
			stop.requireWaits()
			proctest.Touch(t, gate)
			require.NoError(t, stop.wait())
			requireExited(t, p, 0)
			requireBalanced(t, p)
		})
	}
}

func TestStopOfADaemonThatWasSuspendedWorks(t *testing.T) {
	t.Parallel()
	t.Run("while it was ready", func(t *testing.T) {
		t.Parallel()
		p, path := startDaemon(t)
		p.Signal(syscall.SIGSTOP)
		require.NoError(t, sendOff(t, mustFind(t, path).Stop).wait())
		requireExited(t, p, 0)
		requireBalanced(t, p)
	})
	t.Run("in the middle of its drain", func(t *testing.T) {
		t.Parallel()
		gate := filepath.Join(t.TempDir(), "gate")
		p, path := startDaemon(t, "stop=until:"+gate)
		p.Signal(syscall.SIGTERM)
		p.Await("OnStop")
		p.Signal(syscall.SIGSTOP)
		stop := sendOff(t, mustFind(t, path).Stop)
		stop.requireWaits()
		proctest.Touch(t, gate)
		require.NoError(t, stop.wait())
		requireExited(t, p, 0)
		requireBalanced(t, p)
	})
}

func TestTheEndOfTheContextEndsTheStopAndNotTheDrain(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startDaemon(t, "stop=until:"+gate)
	found := mustFind(t, path)
	stop := sendOff(t, found.Stop)
	p.Await("OnStop")
	stop.requireWaits()
	stop.cancel(errEnough)
	err := stop.wait()
	require.ErrorIs(t, err, errEnough)
	require.EqualError(t, err, fmt.Sprintf("lifecycle: waiting for pid %d to end: enough", p.PID()))

	requireRuns(t, p)
	proctest.Touch(t, gate)
	require.NoError(t, sendOff(t, found.Stop).wait(), "a later Stop waits again")
	requireExited(t, p, 0)
	requireBalanced(t, p)
}

// stuckStop is a daemon that cannot end without KILL. Its OnStop hangs, and the log to which it
// would report this hangs too.
var stuckStop = proctest.Register("stuck stop", func(args []string) int {
	return lifecycle.ExitCode(lifecycle.Run(nil, lifecycle.Name("daemon"), lifecycle.PIDFile(args[0]), lifecycle.StopTimeout(100*time.Millisecond),
		lifecycle.OnStart(behave("OnStart", "")), lifecycle.OnStop(behave("OnStop", "hang")),
		lifecycle.Logger(slog.New(stuckHandler{slog.NewTextHandler(os.Stdout, nil), "was abandoned"}))))
})

// The test uses one verb as a clock. The daemon of that verb reports no limits. Therefore the verb
// kills the daemon after the limit in its own options. The other verbs have the same options.
// Therefore their own limit has also passed when the daemon is killed.
func TestTheVerbStopWaitsUntilTheDeadlineOfTheDaemon(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	slow, slowPath := startDaemon(t, "stop=until:"+gate, "stoptimeout=1m")
	silentPath, stuckPath := proctest.PIDPath(t), proctest.PIDPath(t)
	silent, stuck := proctest.Start(t, holding, "deaf", silentPath), proctest.Start(t, stuckStop, stuckPath)
	silent.Await("holds it")
	stuck.Await("msg=ready")

	patient := proctest.Start(t, daemon, "pidfile="+slowPath, "stoptimeout=1ms", "stop")
	slow.Await("OnStop")
	killsSilent := proctest.Start(t, daemon, "pidfile="+silentPath, "stoptimeout=1ms", "stop")
	killsStuck := proctest.Start(t, daemon, "pidfile="+stuckPath, "stoptimeout=1m", "stop")
	stuck.Await("the log hangs")
	require.Equal(t, 1, killsSilent.Wait())
	requireRuns(t, patient)
	require.Regexp(t, fmt.Sprintf(`^daemon: killed \(pid %d\): still running after \d+(\.\d)? s\n$`, silent.PID()), killsSilent.Out)
	require.Equal(t, -1, silent.Wait())

	require.Equal(t, 1, killsStuck.Wait())
	require.Regexp(t, fmt.Sprintf(`^daemon: killed \(pid %d\): OnStop of daemon still running after \d+(\.\d)? s\n$`, stuck.PID()), killsStuck.Out)
	require.Equal(t, -1, stuck.Wait())
	require.Equal(t, syscall.SIGKILL, stuck.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	requireNothingLeft(t, stuckPath)
	requireStarts(t, stuckPath)

	requireRuns(t, patient)
	proctest.Touch(t, gate)
	require.Equal(t, 0, patient.Wait(), "%s", patient.Out)
	require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, \d+(\.\d)? s\)\n$`, slow.PID()), patient.Out)
	requireExited(t, slow, 0)
	requireBalanced(t, slow)
}
