package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/filelock"
	"example.com/lifecycle/internal/monotonic"
	"example.com/lifecycle/internal/proctest"
)

// parts is a daemon of several components, in the order in which its arguments name them first:
//
//	parts pidfile=PATH [name=NAME] [reloadtimeout=D] [COMPONENT.HOOK=behaviour …] [verb]
//
// The hooks are check, start, reload and stop; see behave. Without verb it is Run, and says at its end whether a HUP came.
var parts = proctest.Register("parts", func(args []string) int {
	opts := []lifecycle.Option{lifecycle.Name("parts"), lifecycle.Version("1.2")}
	var components []*lifecycle.Hooks
	component := func(name string) *lifecycle.Hooks {
		for _, h := range components {
			if h.Name == name {
				return h
			}
		}
		components = append(components, &lifecycle.Hooks{Name: name})
		return components[len(components)-1]
	}
	var verbArgs []string
	for _, arg := range args {
		key, value, found := strings.Cut(arg, "=")
		name, hook, _ := strings.Cut(key, ".")
		switch f := behave(key, value); {
		case !found:
			verbArgs = append(verbArgs, arg)
		case key == "pidfile":
			opts = append(opts, lifecycle.PIDFile(value))
		case key == "reloadtimeout":
			d, _ := time.ParseDuration(value)
			opts = append(opts, lifecycle.ReloadTimeout(d))
		case hook == "check":
			component(name).OnCheck = f
		case hook == "start":
			component(name).OnStart = f
		case hook == "reload":
			component(name).OnReload = f
		case hook == "stop":
			component(name).OnStop = f
		}
	}
	for _, h := range components {
		opts = append(opts, lifecycle.With(*h))
	}
	fn := func(ctx context.Context) error {
		lifecycle.From(ctx).SetStatus("3 clients")
		<-ctx.Done()
		return nil
	}
	if len(verbArgs) > 0 {
		return lifecycle.Main(verbArgs, fn, opts...)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	err := lifecycle.Run(fn, opts...)
	if len(hup) > 0 {
		fmt.Println("a HUP came")
	}
	return lifecycle.ExitCode(err)
})

// startParts starts the program parts on its own PID file, and waits until it is ready.
func startParts(t *testing.T, args ...string) (p *proctest.Process, pidfile string) {
	t.Helper()
	pidfile = proctest.PIDPath(t)
	p = proctest.Start(t, parts, append([]string{"pidfile=" + pidfile, "first.start="}, args...)...)
	p.Await("ready pid=")
	return p, pidfile
}

// Row C9.
func TestWhomTheStateFileNamesIsNotSignalled(t *testing.T) {
	t.Parallel()
	bystander, bystandersPath := startDaemon(t)
	record, err := os.ReadFile(proctest.StatePath(bystandersPath))
	require.NoError(t, err)

	p, path := startDaemon(t)
	found := mustFind(t, path)
	replace(t, proctest.StatePath(path), record)
	_, err = found.Status()
	require.ErrorContains(t, err, fmt.Sprintf("it is of pid %d, not of pid %d", bystander.PID(), p.PID()))
	require.ErrorIs(t, found.Reload(ended(t, errEnough)), errEnough)
	p.Await("msg=reloaded")
	require.ErrorIs(t, found.Reopen(ended(t, errEnough)), errEnough)
	p.Await("nothing to reopen")
	require.NoError(t, sendOff(t, found.Kill).wait())
	require.Equal(t, -1, p.Wait())

	require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "stop"))
	require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "reload"))
	require.Equal(t, proctest.Result{Stdout: fmt.Sprintf("daemon: dead: pid %d left %s\n", p.PID(), path), Code: 1}, callVerb(t, path, "status"))
	requireLives(t, bystander)
	require.Zero(t, bystander.Out.Count("nothing to reopen"))
}

func TestReopenReturnsWhenItIsDone(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	found := mustFind(t, path)
	s, err := found.Status()
	require.NoError(t, err)
	require.Nil(t, s.LastReopen)
	for range 3 {
		asked := monotonic.Now()
		require.NoError(t, sendOff(t, found.Reopen).wait())
		s, err := found.Status()
		require.NoError(t, err)
		require.NotNil(t, s.LastReopen)
		require.GreaterOrEqual(t, s.LastReopen.Began, asked)
		require.LessOrEqual(t, s.LastReopen.Began, monotonic.Now())
		require.NoError(t, s.LastReopen.Err())
		require.Zero(t, s.Reloads)
	}
	p.Await("nothing to reopen", 3)
	requireLives(t, p)
	require.ErrorIs(t, found.Reopen(t.Context()), lifecycle.ErrNotRunning)
}

func TestReopenDuringTheStartWaitsUntilItIsReady(t *testing.T) {
	t.Parallel()
	gate, path := filepath.Join(t.TempDir(), "gate"), proctest.PIDPath(t)
	p := proctest.Start(t, daemon, "pidfile="+path, "start=until:"+gate)
	p.Await("OnStart")
	reopen := sendOff(t, mustFind(t, path).Reopen)
	reopen.requireWaits()
	require.Zero(t, p.Out.Count("nothing to reopen"))
	proctest.Touch(t, gate)
	require.NoError(t, reopen.wait())
	p.Await("nothing to reopen")
	require.Less(t, p.Out.Index("msg=ready"), p.Out.Index("nothing to reopen"))
	requireLives(t, p)
}

func TestReopenSaysWhyItDoesNotHappen(t *testing.T) {
	t.Parallel()
	t.Run("the context ends", func(t *testing.T) {
		t.Parallel()
		gate := filepath.Join(t.TempDir(), "gate")
		p, path := startDaemon(t, "reload=until:"+gate)
		p.Signal(syscall.SIGHUP)
		p.Await("OnReload")
		reopen := sendOff(t, mustFind(t, path).Reopen)
		reopen.requireWaits()
		reopen.cancel(errEnough)
		err := reopen.wait()
		require.ErrorIs(t, err, errEnough)
		require.EqualError(t, err, fmt.Sprintf("lifecycle: pid %d: waiting for it to reopen its log, OnReload of daemon is still running: enough", p.PID()))
		proctest.Touch(t, gate)
		p.Await("nothing to reopen")
	})
	t.Run("it is stopping", func(t *testing.T) {
		t.Parallel()
		gate := filepath.Join(t.TempDir(), "gate")
		p, path := startDaemon(t, "stop=until:"+gate)
		p.Signal(syscall.SIGTERM)
		p.Await("OnStop")
		err := sendOff(t, mustFind(t, path).Reopen).wait()
		require.EqualError(t, err, fmt.Sprintf("lifecycle: pid %d is stopping and does not reopen its log", p.PID()))
		require.NotErrorIs(t, err, lifecycle.ErrReload)
		proctest.Touch(t, gate)
		requireExited(t, p, 0)
	})
	t.Run("it dies", func(t *testing.T) {
		t.Parallel()
		p, path := startDaemon(t, "reload=hang")
		p.Signal(syscall.SIGHUP)
		p.Await("OnReload")
		reopen := sendOff(t, mustFind(t, path).Reopen)
		p.Signal(syscall.SIGKILL)
		require.ErrorIs(t, reopen.wait(), lifecycle.ErrNotRunning)
	})
}

func TestWaitReadyBlocksUntilItIsReady(t *testing.T) {
	t.Parallel()
	gate, path := filepath.Join(t.TempDir(), "gate"), proctest.PIDPath(t)
	p := proctest.Start(t, daemon, "pidfile="+path, "start=until:"+gate)
	p.Await("OnStart")
	found := mustFind(t, path)
	ready := sendOff(t, found.WaitReady)
	impatient := sendOff(t, found.WaitReady)
	ready.requireWaits()
	impatient.cancel(errEnough)
	err := impatient.wait()
	require.ErrorIs(t, err, errEnough)
	require.EqualError(t, err, fmt.Sprintf("lifecycle: pid %d: waiting for it to be ready, OnStart of daemon is still running: enough", p.PID()))

	ready.requireWaits()
	proctest.Touch(t, gate)
	require.NoError(t, ready.wait())
	p.Await("msg=ready")
	require.NoError(t, found.WaitReady(ended(t, errEnough)), "at once")
}

func TestWaitReadyReturnsAtOnceDuringAReload(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t, "reload=hang")
	p.Signal(syscall.SIGHUP)
	p.Await("OnReload")
	found := mustFind(t, path)
	require.NoError(t, found.WaitReady(ended(t, errEnough)))
	s, err := found.Status()
	require.NoError(t, err)
	require.Equal(t, lifecycle.Reloading, s.Phase)
}

func TestWaitReadySaysThatItWillNotBe(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"its start fails", "it is stopped", "it dies"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			gate, drain, path := filepath.Join(t.TempDir(), "gate"), filepath.Join(t.TempDir(), "drain"), proctest.PIDPath(t)
			p := proctest.Start(t, parts, "pidfile="+path, "a.start=", "a.stop=until:"+drain, "b.start=until:"+gate, "c.start=error")
			p.Await("b.start")
			found := mustFind(t, path)
			ready := sendOff(t, found.WaitReady)
			ready.requireWaits()
			if how == "it dies" {
				p.Signal(syscall.SIGKILL)
				require.ErrorIs(t, ready.wait(), lifecycle.ErrNotRunning)
				require.ErrorContains(t, ready.wait(), fmt.Sprintf("lifecycle: pid %d: waiting for it to be ready: lifecycle: not running", p.PID()))
				return
			}
			if how == "it is stopped" {
				p.Signal(syscall.SIGTERM)
			} else {
				proctest.Touch(t, gate)
			}
			require.EqualError(t, ready.wait(), fmt.Sprintf("lifecycle: pid %d is stopping", p.PID()))
			proctest.Touch(t, gate)
			proctest.Touch(t, drain)
			p.Wait()
			require.ErrorIs(t, found.WaitReady(t.Context()), lifecycle.ErrNotRunning)
		})
	}
}

func TestStatusTellsWhatTheDaemonDoes(t *testing.T) {
	t.Parallel()
	gate, drain, path := filepath.Join(t.TempDir(), "gate"), filepath.Join(t.TempDir(), "drain"), proctest.PIDPath(t)
	begun := time.Now()
	p := proctest.Start(t, parts, "pidfile="+path, "a.start=until:"+gate, "a.reload=", "b.reload=error", "a.stop=until:"+drain)
	p.Await("a.start")
	found := mustFind(t, path)
	status := func() lifecycle.Status {
		s, err := found.Status()
		require.NoError(t, err)
		require.Equal(t, "parts", s.Name)
		require.Equal(t, "1.2", s.Version)
		require.Equal(t, p.PID(), s.PID)
		require.Equal(t, 1, s.Format)
		require.False(t, s.Started.Before(begun.Round(0)), "%v", s.Started)
		require.False(t, s.Since.Before(s.Started.Round(0)))
		require.False(t, s.PIDFileLost)
		return s
	}
	s := status()
	require.Equal(t, lifecycle.Starting, s.Phase)
	require.Equal(t, "OnStart of a", s.Doing)
	require.True(t, s.Ready.IsZero())
	require.Zero(t, s.StopBy)

	proctest.Touch(t, gate)
	require.NoError(t, sendOff(t, found.WaitReady).wait())
	proctest.Eventually(t, func() bool { return status().Text != "" }, "what fn says")
	s = status()
	ready := s.Ready
	require.Equal(t, lifecycle.Ready, s.Phase)
	require.Equal(t, "3 clients", s.Text)
	require.Empty(t, s.Doing)
	require.False(t, ready.IsZero())
	require.Equal(t, ready, s.Since)
	require.Zero(t, s.Reloads)
	require.Nil(t, s.LastReload)

	asked := monotonic.Now()
	require.Error(t, sendOff(t, found.Reload).wait())
	s = status()
	require.Equal(t, lifecycle.Ready, s.Phase)
	require.Equal(t, ready, s.Since, "a reload does not make it ready anew")
	require.Equal(t, 1, s.Reloads)
	v := s.LastReload
	require.NotNil(t, v)
	require.GreaterOrEqual(t, v.Began, asked)
	require.Positive(t, v.Took)
	require.LessOrEqual(t, v.Began+v.Took, monotonic.Now())
	require.False(t, v.At.Before(ready))
	want := &lifecycle.Verdict{At: v.At, Began: v.Began, Took: v.Took, Component: "b", Hook: "OnReload", Error: "b.reload failed on purpose", Applied: []string{"a"}}
	require.Equal(t, want, v)

	stopAsked := monotonic.Now()
	p.Signal(syscall.SIGTERM)
	p.Await("a.stop")
	s = status()
	require.Equal(t, lifecycle.Stopping, s.Phase)
	require.Equal(t, "OnStop of a", s.Doing)
	require.GreaterOrEqual(t, s.StopBy, stopAsked+25*time.Second, "20 s, and a quarter")
	require.LessOrEqual(t, s.StopBy, monotonic.Now()+25*time.Second)
	require.Equal(t, ready, s.Ready)
	proctest.Touch(t, drain)
	requireExited(t, p, 0)
	_, err := found.Status()
	require.ErrorIs(t, err, lifecycle.ErrNotRunning)
}

func TestAClosedProcessFollowsNothing(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	found := mustFind(t, path)
	require.NoError(t, found.Close())
	for name, f := range map[string]func(context.Context) error{
		"Reload": found.Reload, "Reopen": found.Reopen, "WaitReady": found.WaitReady, "Kill": found.Kill,
		"Status": func(context.Context) error { _, err := found.Status(); return err },
	} {
		require.ErrorIs(t, f(t.Context()), os.ErrClosed, name)
	}
	requireLives(t, p)
}

// inward is a daemon whose fn finds itself, and says what it is told.
var inward = proctest.Register("inward", func(args []string) int {
	reloads := 0
	reload := func(context.Context) error {
		if reloads++; reloads == 2 {
			return errors.New("the second fails")
		}
		return nil
	}
	fn := func(ctx context.Context) error {
		own, err := lifecycle.Find(args[0])
		if err != nil {
			return err
		}
		defer own.Close()
		fmt.Println("WaitReady:", own.WaitReady(ctx))
		s, err := own.Status()
		fmt.Println("Status:", s.Phase, own.PID == os.Getpid(), s.PID == os.Getpid(), err)
		for range 3 {
			fmt.Println("Reload:", own.Reload(ctx))
		}
		fmt.Println("Reopen:", own.Reopen(ctx))
		s, err = own.Status()
		fmt.Println("Status:", s.Phase, s.Reloads, s.LastReopen != nil, err)
		if err := behave("fn", "until:"+args[1])(ctx); err != nil {
			return err
		}
		fmt.Println("Stop:", own.Stop(ctx))
		return ctx.Err()
	}
	return lifecycle.ExitCode(lifecycle.Run(fn, lifecycle.Name("inward"), lifecycle.PIDFile(args[0]), lifecycle.OnStart(started), lifecycle.OnReload(reload)))
})

func TestADaemonCanFollowItselfAndStaysTheOneThatIsFound(t *testing.T) {
	t.Parallel()
	path, gate := proctest.PIDPath(t), filepath.Join(t.TempDir(), "gate")
	p := proctest.Start(t, inward, path, gate)
	p.Await("Status: ready 3 true <nil>")
	for _, line := range []string{
		"WaitReady: <nil>",
		"Status: ready true true <nil>",
		"Reload: lifecycle: OnReload of inward: the second fails",
		"Reopen: <nil>",
	} {
		require.Equal(t, 1, linesOf(p, line), "%s:\n%s", line, p.Out)
	}
	require.Equal(t, 2, linesOf(p, "Reload: <nil>"), "%s", p.Out)

	found := mustFind(t, path)
	require.Equal(t, p.PID(), found.PID)
	if state, blind := mustState(t, path); !blind {
		require.True(t, state.Owned, "closing the file would have taken its name from it")
		require.Equal(t, p.PID(), state.PID)
	}
	require.NoError(t, sendOff(t, found.WaitReady).wait())
	proctest.Touch(t, gate)
	require.NoError(t, sendOff(t, found.Wait).wait())
	requireExited(t, p, 0)
	require.Equal(t, 1, linesOf(p, "Stop: lifecycle: a process cannot wait for its own end: use Life.Stop"), "%s", p.Out)
	requireNothingLeft(t, path)
}

func mustState(t *testing.T, path string) (state filelock.State, blind bool) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	state, err = filelock.Inspect(f)
	require.NoError(t, err)
	return state, state.NoMarks
}

func TestADaemonThatCannotSayWhatItDoesIsNotFollowedForLong(t *testing.T) {
	t.Parallel()
	type follower struct {
		*errand
		p    *proctest.Process
		path string
		what string // "" for Status, which follows nothing
	}
	var all []follower
	for _, spoil := range spoilings {
		p, path := startDaemon(t)
		spoil(t, proctest.StatePath(path))
		found := mustFind(t, path)
		status := func(context.Context) error { _, err := found.Status(); return err }
		all = append(all,
			follower{goOff(t, status), p, path, ""},
			follower{goOff(t, found.Reload), p, path, "waiting for the verdict of its reload: "},
			follower{goOff(t, found.Reopen), p, path, "waiting for it to reopen its log: "},
			follower{goOff(t, found.WaitReady), p, path, "waiting for it to be ready: "})
	}
	last := all[len(all)-1]
	verb := proctest.Start(t, daemon, "pidfile="+last.path, "reload")
	for _, f := range all {
		err := f.wait()
		want := "lifecycle: state file " + proctest.StatePath(f.path) + ": "
		if f.what != "" {
			want = fmt.Sprintf("lifecycle: pid %d: %s", f.p.PID(), f.what) + want
		}
		require.ErrorContains(t, err, want)
		require.NotErrorIs(t, err, lifecycle.ErrNotRunning)
		require.NotErrorIs(t, err, lifecycle.ErrReload)
		f.p.Await("msg=reloaded")
		f.p.Await("nothing to reopen")
	}
	require.Equal(t, 1, verb.Wait())
	require.Contains(t, verb.Out.String(), "daemon: reload: no verdict: state file "+proctest.StatePath(last.path)+": ")
}
