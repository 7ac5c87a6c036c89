package lifecycle

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

	"example.com/lifecycle/internal/statefile"
)

// errand is a call that blocks until a daemon has done something, in a goroutine of its own.
type errand struct {
	t      *testing.T
	cancel context.CancelCauseFunc
	waits  chan struct{} // closed when it begins to wait
	done   chan struct{} // closed when it has returned
	err    error         // what it returned
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

// sendOff is goOff, and returns when the errand waits for the daemon: what it had to look at and to send before, it has.
func sendOff(t *testing.T, do func(context.Context) error) *errand {
	t.Helper()
	e := goOff(t, do)
	select {
	case <-e.waits:
	case <-e.done:
	case <-time.After(patienceOfTests):
		t.Fatal("it neither waits nor returns")
	}
	return e
}

// requireWaits requires that it has not returned yet.
func (e *errand) requireWaits() {
	e.t.Helper()
	select {
	case <-e.done:
		e.t.Fatalf("it does not wait, but has returned: %v", e.err)
	default:
	}
}

// wait returns what it returned.
func (e *errand) wait() error {
	e.t.Helper()
	select {
	case <-e.done:
	case <-time.After(patienceOfTests):
		e.t.Fatal("it does not return")
	}
	return e.err
}

// watchedContext tells when somebody begins to wait for its end.
type watchedContext struct {
	context.Context
	once    sync.Once
	watched chan struct{}
}

func (c *watchedContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.watched) })
	return c.Context.Done()
}

// mustFind is Find. The test closes what it finds.
func mustFind(t *testing.T, path string) *Process {
	t.Helper()
	found, err := Find(path)
	require.NoError(t, err)
	t.Cleanup(func() { found.Close() })
	return found
}

// ended is a context that has.
func ended(t *testing.T, cause error) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	return ctx
}

var errEnough = errors.New("enough")

func requireRuns(t *testing.T, p *process) {
	t.Helper()
	select {
	case <-p.done:
		t.Fatalf("pid %d %v has ended: %v; it wrote:\n%s", p.pid(), p.cmd.Args, p.cmd.ProcessState, p.out)
	default:
	}
}

func TestStopReturnsWhenTheDaemonIsGoneAndNotBefore(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startDaemon(t, "stop=until:"+gate)
	found, f := mustFind(t, path), openForReading(t, path)
	stop := sendOff(t, found.Stop)
	p.await("OnStop")
	stop.requireWaits()
	touch(t, gate)
	require.NoError(t, stop.wait())
	requireFree(t, f)
	require.ErrorIs(t, found.Signal(syscall.Signal(0)), ErrNotRunning)
	requireExited(t, p, 0)
	requireBalanced(t, p)
	requireNothingLeft(t, path)
	require.NoError(t, found.Stop(ended(t, errEnough)), "it is gone, so there is nothing to wait for")
}

func TestAStopThatSomebodyElseAskedForIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"TERM", "fn has returned"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			gate, last := filepath.Join(t.TempDir(), "gate"), filepath.Join(t.TempDir(), "last")
			p, path := startDaemon(t, "stop=until:"+gate, "run=until:"+last)
			found := mustFind(t, path)
			if how == "TERM" {
				p.signal(syscall.SIGTERM)
				p.await("OnStop")
			}
			touch(t, last)
			p.await("OnStop")
			stop := sendOff(t, found.Stop)
			stop.requireWaits()
			touch(t, gate)
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
		p.signal(syscall.SIGSTOP)
		require.NoError(t, sendOff(t, mustFind(t, path).Stop).wait())
		requireExited(t, p, 0)
		requireBalanced(t, p)
	})
	t.Run("in the middle of its drain", func(t *testing.T) {
		t.Parallel()
		gate := filepath.Join(t.TempDir(), "gate")
		p, path := startDaemon(t, "stop=until:"+gate)
		p.signal(syscall.SIGTERM)
		p.await("OnStop")
		p.signal(syscall.SIGSTOP)
		stop := sendOff(t, mustFind(t, path).Stop)
		stop.requireWaits()
		touch(t, gate)
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
	p.await("OnStop")
	stop.requireWaits()
	stop.cancel(errEnough)
	err := stop.wait()
	require.ErrorIs(t, err, errEnough)
	require.EqualError(t, err, fmt.Sprintf("lifecycle: waiting for pid %d to end: enough", p.pid()))

	requireRuns(t, p)
	touch(t, gate)
	require.NoError(t, sendOff(t, found.Stop).wait(), "it can be waited for again")
	requireExited(t, p, 0)
	requireBalanced(t, p)
}

// stuckStop is a daemon that cannot end by itself: its OnStop hangs, and so does the log that is to say so.
var stuckStop = registerProgram("stuck stop", func(args []string) int {
	return ExitCode(Run(nil, Name("daemon"), PIDFile(args[0]), StopTimeout(100*time.Millisecond),
		OnStart(behave("OnStart", "")), OnStop(behave("OnStop", "hang")),
		Logger(slog.New(stuckHandler{slog.NewTextHandler(os.Stdout, nil), "was abandoned"}))))
})

// TestTheVerbStopWaits… takes one verb for a clock: when that kills its daemon, which says nothing, the time is over that the options of the
// others give.
func TestTheVerbStopWaitsAsLongAsTheDaemonSaysThatItNeedsAndNoLonger(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	slow, slowPath := startDaemon(t, "stop=until:"+gate, "stoptimeout=1m")
	silentPath, stuckPath := pidPath(t), pidPath(t)
	silent, stuck := start(t, holding, "deaf", silentPath), start(t, stuckStop, stuckPath)
	silent.await("holds it")
	stuck.await("msg=ready")

	patient := start(t, daemon, "pidfile="+slowPath, "stoptimeout=1ms", "stop")
	slow.await("OnStop")
	killsSilent := start(t, daemon, "pidfile="+silentPath, "stoptimeout=1ms", "stop")
	killsStuck := start(t, daemon, "pidfile="+stuckPath, "stoptimeout=1m", "stop")
	stuck.await("the log hangs")
	require.Equal(t, 0, killsSilent.wait())
	requireRuns(t, patient)
	require.Regexp(t, fmt.Sprintf(`^daemon: killed \(pid %d\): still running after \d+(\.\d)? s\n$`, silent.pid()), killsSilent.out)
	require.Equal(t, -1, silent.wait())

	require.Equal(t, 0, killsStuck.wait())
	require.Regexp(t, fmt.Sprintf(`^daemon: killed \(pid %d\): OnStop of daemon still running after \d+(\.\d)? s\n$`, stuck.pid()), killsStuck.out)
	require.Equal(t, -1, stuck.wait())
	require.Equal(t, syscall.SIGKILL, stuck.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	requireNothingLeft(t, stuckPath)
	requireStarts(t, stuckPath)

	requireRuns(t, patient)
	touch(t, gate)
	require.Equal(t, 0, patient.wait(), "%s", patient.out)
	require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, \d+(\.\d)? s\)\n$`, slow.pid()), patient.out)
	requireExited(t, slow, 0)
	requireBalanced(t, slow)
}

// spoilings are what can be wrong with the state file of a daemon that lives. Each is put in the place of the file that the daemon has open.
var spoilings = map[string]func(t *testing.T, statePath string){
	"missing": func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
	"damaged": func(t *testing.T, path string) { replace(t, path, make([]byte, statefile.Size)) },
	"of another process": func(t *testing.T, path string) {
		record, err := Status{Name: "daemon", PID: os.Getpid(), Phase: Stopping}.encode()
		require.NoError(t, err)
		replace(t, path, record)
	},
	"a symbolic link": func(t *testing.T, path string) {
		require.NoError(t, os.Rename(path, path+".moved"))
		require.NoError(t, os.Symlink(path+".moved", path))
	},
}

// replace puts another file in the place of the one at path.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", content, 0o644))
	require.NoError(t, os.Rename(path+".new", path))
}

func TestStopAndKillNeedNoStateFile(t *testing.T) {
	t.Parallel()
	for how, spoil := range spoilings {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p, path := startDaemon(t)
			spoil(t, statePath(path))
			require.NoError(t, sendOff(t, mustFind(t, path).Stop).wait())
			requireExited(t, p, 0)
			requireBalanced(t, p)

			p, path = startDaemon(t)
			spoil(t, statePath(path))
			stopped := callVerb(t, path, "stop")
			require.Equal(t, 0, stopped.code)
			require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, \d+(\.\d)? m?s\)\n$`, p.pid()), stopped.stderr)
			requireExited(t, p, 0)
			requireBalanced(t, p)

			p, path = startDaemon(t)
			spoil(t, statePath(path))
			require.NoError(t, sendOff(t, mustFind(t, path).Kill).wait())
			require.Equal(t, -1, p.wait())
		})
	}
}

func TestKillReturnsWhenTheDaemonIsGoneAndCallsNoHook(t *testing.T) {
	t.Parallel()
	for how, args := range map[string][]string{
		"ready":     nil,
		"suspended": nil,
		"stopping":  {"stop=hang"},
		"reloading": {"reload=hang"},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p, path := startDaemon(t, args...)
			found, f := mustFind(t, path), openForReading(t, path)
			switch how {
			case "suspended":
				p.signal(syscall.SIGSTOP)
			case "stopping":
				p.signal(syscall.SIGTERM)
				p.await("OnStop")
			case "reloading":
				p.signal(syscall.SIGHUP)
				p.await("OnReload")
			}
			require.NoError(t, sendOff(t, found.Kill).wait())
			requireFree(t, f)
			require.ErrorIs(t, found.Signal(syscall.Signal(0)), ErrNotRunning)
			require.NoError(t, sendOff(t, found.Kill).wait(), "it is gone, and that was wanted")
			require.Equal(t, -1, p.wait())
			require.Equal(t, syscall.SIGKILL, p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
			require.Zero(t, linesOf(p, "OnExit"))
			requireText(t, path, fmt.Sprintln(p.pid()))
			requireStarts(t, path)
		})
	}
}
