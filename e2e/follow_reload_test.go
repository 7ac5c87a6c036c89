package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// scripted is a daemon whose n-th reload waits for the file DIR/n. If that file contains text, the
// reload fails with it.
var scripted = proctest.Register("scripted", func(args []string) int {
	n := 0
	reload := func(ctx context.Context) error {
		n++
		fmt.Println("reload", n, "begins")
		script := filepath.Join(args[1], strconv.Itoa(n))
		if err := behave("script", "until:"+script)(ctx); err != nil {
			return err
		}
		text, err := os.ReadFile(script)
		if err == nil && len(text) > 0 {
			err = errors.New(string(text))
		}
		return err
	}
	return lifecycle.ExitCode(lifecycle.Run(nil, lifecycle.Name("scripted"), lifecycle.PIDFile(args[0]), lifecycle.OnStart(started), lifecycle.OnReload(reload)))
})

// startScripted starts the program scripted. script sets how its n-th reload ends.
func startScripted(t *testing.T) (p *proctest.Process, path string, script func(n int, text string)) {
	t.Helper()
	path, dir := proctest.PIDPath(t), t.TempDir()
	p = proctest.Start(t, scripted, path, dir)
	p.Await("ready pid=")
	return p, path, func(n int, text string) { replace(t, filepath.Join(dir, strconv.Itoa(n)), []byte(text)) }
}

func TestReloadOfAnotherProcessReturnsTheVerdict(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args      []string
		says      string // after "lifecycle: "
		hook      string
		component string
		text      string // of the hook's error
	}{
		"success":        {args: []string{"a.reload="}},
		"nothing to do":  {},
		"OnCheck":        {[]string{"a.reload=", "b.check=error"}, "OnCheck of b: b.check failed on purpose", "OnCheck", "b", "b.check failed on purpose"},
		"OnReload":       {[]string{"a.reload=error"}, "OnReload of a: a.reload failed on purpose", "OnReload", "a", "a.reload failed on purpose"},
		"half-way":       {[]string{"a.reload=", "b.reload=", "c.reload=error", "d.reload="}, "OnReload of c: c.reload failed on purpose (applied before: a, b)", "OnReload", "c", "c.reload failed on purpose"},
		"panic":          {[]string{"a.reload=panic"}, "OnReload of a: panic: a.reload panics on purpose", "OnReload", "a", "panic: a.reload panics on purpose"},
		"too long":       {[]string{"a.reload=hang", "reloadtimeout=50ms"}, "OnReload of a: did not return in 50ms", "OnReload", "a", "did not return in 50ms"},
		"too long after": {[]string{"a.reload=", "b.reload=hang", "reloadtimeout=50ms"}, "OnReload of b: did not return in 50ms (applied before: a)", "OnReload", "b", "did not return in 50ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, path := startParts(t, tt.args...)
			found := mustFind(t, path)
			err := sendOff(t, found.Reload).wait()
			s, statusErr := found.Status()
			require.NoError(t, statusErr)
			require.Equal(t, 1, s.Reloads)
			require.Equal(t, lifecycle.Ready, s.Phase, "the reload with this verdict is over")
			if tt.says == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, "lifecycle: "+tt.says)
				require.ErrorIs(t, err, lifecycle.ErrReload)
				var h *lifecycle.HookError
				require.ErrorAs(t, err, &h)
				require.Equal(t, tt.component, h.Component)
				require.Equal(t, tt.hook, h.Hook)
				require.EqualError(t, h.Err, tt.text)
			}
			require.NoError(t, sendOff(t, found.Stop).wait())
			requireExited(t, p, 0)
		})
	}
}

// A reload that runs when Reload is called may have read the configuration before it was changed:
//
//	daemon    reload 1 begins ........ verdict 1   reload 2 begins ........ verdict 2
//	caller                    Reload ......................................... returns verdict 2
func TestReloadReturnsTheVerdictOfAReloadThatBeganAfterTheCall(t *testing.T) {
	t.Parallel()
	for _, texts := range [][2]string{{"the first fails", ""}, {"", "the second fails"}, {"the first fails", "the second fails"}} {
		t.Run(fmt.Sprintf("%q", texts), func(t *testing.T) {
			t.Parallel()
			p, path, script := startScripted(t)
			p.Signal(syscall.SIGHUP)
			p.Await("reload 1 begins")
			reload := sendOff(t, mustFind(t, path).Reload)
			script(1, texts[0])
			p.Await("reload 2 begins")
			reload.requireWaits()
			script(2, texts[1])
			requireVerdict(t, reload.wait(), texts[1])
		})
	}
}

// requireVerdict requires this verdict of the program scripted.
func requireVerdict(t *testing.T, err error, text string) {
	t.Helper()
	if text == "" {
		require.NoError(t, err)
		return
	}
	require.ErrorIs(t, err, lifecycle.ErrReload)
	require.EqualError(t, err, "lifecycle: OnReload of scripted: "+text)
}

func TestReloadRequestsDuringAReloadGetTheVerdictOfTheNextOne(t *testing.T) {
	t.Parallel()
	p, path, script := startScripted(t)
	p.Signal(syscall.SIGHUP)
	p.Await("reload 1 begins")
	var reloads []*errand
	for range 20 {
		reloads = append(reloads, sendOff(t, mustFind(t, path).Reload))
	}
	script(1, "")
	p.Await("reload 2 begins")
	for _, reload := range reloads {
		reload.requireWaits()
	}
	script(2, "the second fails")
	for _, reload := range reloads {
		requireVerdict(t, reload.wait(), "the second fails")
	}
	s, err := mustFind(t, path).Status()
	require.NoError(t, err)
	require.Equal(t, 2, s.Reloads)
}

func TestReloadDuringTheStartWaitsUntilItIsReady(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"", "error"} {
		gate, path := filepath.Join(t.TempDir(), "gate"), proctest.PIDPath(t)
		p := proctest.Start(t, parts, "pidfile="+path, "a.start=until:"+gate, "a.reload="+how)
		p.Await("a.start")
		reload := sendOff(t, mustFind(t, path).Reload)
		reload.requireWaits()
		require.Zero(t, p.Out.Count("a.reload"))
		proctest.Touch(t, gate)
		if err := reload.wait(); how == "" {
			require.NoError(t, err)
		} else {
			require.EqualError(t, err, "lifecycle: OnReload of a: a.reload failed on purpose")
		}
		p.Await("a.reload done")
		require.Less(t, p.Out.Index("ready pid="), p.Out.Index("a.reload"))
		require.Equal(t, 1, linesOf(p, "a.reload"))
	}
}

func TestReloadOfAStoppingDaemonFailsAtOnceWithoutASignal(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startParts(t, "a.reload=", "a.stop=until:"+gate)
	p.Signal(syscall.SIGTERM)
	p.Await("a.stop")
	err := mustFind(t, path).Reload(ended(t, errEnough))
	require.ErrorIs(t, err, lifecycle.ErrReload)
	require.NotErrorIs(t, err, errEnough)
	require.ErrorContains(t, err, "not reloaded: the daemon is stopping")
	requireRuns(t, p)
	proctest.Touch(t, gate)
	requireExited(t, p, 0)
	require.Zero(t, linesOf(p, "a HUP came"))
	require.Zero(t, linesOf(p, "a.reload"))
}

func TestReloadFailsIfTheDaemonIsStopped(t *testing.T) {
	t.Parallel()
	for name, heeds := range map[string]bool{"heeds its context": true, "does not": false} {
		t.Run("whose OnReload "+name, func(t *testing.T) {
			t.Parallel()
			gate := filepath.Join(t.TempDir(), "gate")
			does := map[bool]string{true: "wait", false: "until:" + gate}[heeds]
			p, path := startDaemon(t, "reload="+does, "stop=until:"+gate)
			reload := sendOff(t, mustFind(t, path).Reload)
			p.Await("OnReload")
			reload.requireWaits()
			p.Signal(syscall.SIGTERM)
			err := reload.wait()
			require.ErrorIs(t, err, lifecycle.ErrReload)
			require.NotErrorIs(t, err, lifecycle.ErrNotRunning)
			proctest.Touch(t, gate)
			requireExited(t, p, 0)
			requireBalanced(t, p)
			if !heeds && p.Out.Count("was abandoned") == 0 {
				require.ErrorContains(t, err, "not reloaded: the daemon is stopping", "OnReload still runs, and no other reload can have had a verdict")
			}
		})
	}
}

// The stop is over before the caller can read the state.
func TestReloadFailsIfTheDaemonHasStopped(t *testing.T) {
	t.Parallel()
	for range 10 {
		p, path := startDaemon(t, "reload=wait")
		reload := sendOff(t, mustFind(t, path).Reload)
		p.Await("OnReload")
		p.Signal(syscall.SIGTERM)
		require.ErrorIs(t, reload.wait(), lifecycle.ErrReload)
		requireExited(t, p, 0)
		requireBalanced(t, p)
	}
}

func TestReloadFailsIfTheStartOfTheDaemonFails(t *testing.T) {
	t.Parallel()
	gate, path := filepath.Join(t.TempDir(), "gate"), proctest.PIDPath(t)
	p := proctest.Start(t, parts, "pidfile="+path, "a.start=until:"+gate, "a.stop=until:"+gate+"2", "b.start=error", "b.reload=")
	p.Await("a.start")
	reload := sendOff(t, mustFind(t, path).Reload)
	proctest.Touch(t, gate)
	require.ErrorIs(t, reload.wait(), lifecycle.ErrReload)
	proctest.Touch(t, gate+"2")
	requireExited(t, p, 1)
	require.Zero(t, p.Out.Count("b.reload"))
}

func TestReloadReportsThatTheDaemonDied(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t, "reload=hang")
	found := mustFind(t, path)
	reload := sendOff(t, found.Reload)
	p.Await("OnReload")
	reload.requireWaits()
	p.Signal(syscall.SIGKILL)
	err := reload.wait()
	require.ErrorIs(t, err, lifecycle.ErrNotRunning)
	require.ErrorContains(t, err, fmt.Sprintf("lifecycle: pid %d: waiting for the verdict of its reload: ", p.PID()))
	require.ErrorIs(t, found.Reload(t.Context()), lifecycle.ErrNotRunning, "the daemon was gone before")
}

func TestTheEndOfTheContextEndsTheWaitOfAReloadAndNamesTheRunningHook(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startDaemon(t, "reload=until:"+gate)
	p.Signal(syscall.SIGHUP)
	p.Await("OnReload")
	found := mustFind(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err := found.Reload(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, lifecycle.ErrReload)
	require.EqualError(t, err, fmt.Sprintf("lifecycle: pid %d: waiting for the verdict of its reload, "+
		"OnReload of daemon is still running: context deadline exceeded", p.PID()))

	proctest.Touch(t, gate)
	p.Await("msg=reloaded", 2)
	require.NoError(t, sendOff(t, found.Reload).wait(), "the other process was not signalled")
	require.NoError(t, sendOff(t, found.Stop).wait())
	requireExited(t, p, 0)
	requireBalanced(t, p)
}
