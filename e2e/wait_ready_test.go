package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/filelock"
	"example.com/lifecycle/internal/sys/monotonic"
)

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
	require.NoError(t, found.WaitReady(ended(t, errEnough)), "WaitReady returns at once")
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

func TestWaitReadyReportsThatTheDaemonWillNotBeReady(t *testing.T) {
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

func TestStatusShowsTheRunningHook(t *testing.T) {
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
	require.Equal(t, ready, s.Since, "a reload does not change the time of ready")
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
	require.GreaterOrEqual(t, s.StopBy, stopAsked+25*time.Second, "StopTimeout of 20 s and its grace")
	require.LessOrEqual(t, s.StopBy, monotonic.Now()+25*time.Second)
	require.Equal(t, ready, s.Ready)
	proctest.Touch(t, drain)
	requireExited(t, p, 0)
	_, err := found.Status()
	require.ErrorIs(t, err, lifecycle.ErrNotRunning)
}

func TestAClosedProcessDoesNotWait(t *testing.T) {
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

// inward is a daemon whose fn finds itself and reports the results.
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

func TestADaemonCanFindItselfAndIsStillFoundByOthers(t *testing.T) {
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
		require.True(t, state.Owned, "the daemon has lost the owner lock: if it opens and closes its PID file, the kernel drops the lock")
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

func TestADaemonWithoutAStateFileIsNotAwaitedForLong(t *testing.T) {
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
