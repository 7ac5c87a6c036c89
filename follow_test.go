package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/monotonic"
)

// parts is a daemon of several components, in the order in which its arguments name them first:
//
//	parts pidfile=PATH [name=NAME] [reloadtimeout=D] [COMPONENT.HOOK=behaviour …] [verb]
//
// The hooks are check, start, reload and stop; see behave. Without verb it is Run, and says at its end whether a HUP came.
var parts = registerProgram("parts", func(args []string) int {
	opts := []Option{Name("parts"), Version("1.2")}
	var components []*Hooks
	component := func(name string) *Hooks {
		for _, h := range components {
			if h.Name == name {
				return h
			}
		}
		components = append(components, &Hooks{Name: name})
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
			opts = append(opts, PIDFile(value))
		case key == "reloadtimeout":
			d, _ := time.ParseDuration(value)
			opts = append(opts, ReloadTimeout(d))
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
		opts = append(opts, With(*h))
	}
	fn := func(ctx context.Context) error {
		From(ctx).SetStatus("3 clients")
		<-ctx.Done()
		return nil
	}
	if len(verbArgs) > 0 {
		return Main(verbArgs, fn, opts...)
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	err := Run(fn, opts...)
	if len(hup) > 0 {
		fmt.Println("a HUP came")
	}
	return ExitCode(err)
})

// startParts starts the program parts on its own PID file, and waits until it is ready.
func startParts(t *testing.T, args ...string) (p *process, pidfile string) {
	t.Helper()
	pidfile = pidPath(t)
	p = start(t, parts, append([]string{"pidfile=" + pidfile, "first.start="}, args...)...)
	p.await("ready pid=")
	return p, pidfile
}

// scripted is a daemon whose n-th reload waits for the file DIR/n, and fails with what that says, if it says anything.
var scripted = registerProgram("scripted", func(args []string) int {
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
	return ExitCode(Run(nil, Name("scripted"), PIDFile(args[0]), OnStart(started), OnReload(reload)))
})

// startScripted starts the program scripted. What it calls tells its n-th reload how to end.
func startScripted(t *testing.T) (p *process, path string, script func(n int, text string)) {
	t.Helper()
	path, dir := pidPath(t), t.TempDir()
	p = start(t, scripted, path, dir)
	p.await("ready pid=")
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
			require.Equal(t, Ready, s.Phase, "the verdict of a reload that is over")
			if tt.says == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, "lifecycle: "+tt.says)
				require.ErrorIs(t, err, ErrReload)
				var h *HookError
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

// The reload that runs when Reload is called may have read the configuration before it was changed:
//
//	daemon    reload 1 begins ........ verdict 1   reload 2 begins ........ verdict 2
//	caller                    Reload ......................................... returns verdict 2
func TestReloadReturnsTheVerdictOfAReloadThatBeganAfterTheCall(t *testing.T) {
	t.Parallel()
	for _, texts := range [][2]string{{"the first fails", ""}, {"", "the second fails"}, {"the first fails", "the second fails"}} {
		t.Run(fmt.Sprintf("%q", texts), func(t *testing.T) {
			t.Parallel()
			p, path, script := startScripted(t)
			p.signal(syscall.SIGHUP)
			p.await("reload 1 begins")
			reload := sendOff(t, mustFind(t, path).Reload)
			script(1, texts[0])
			p.await("reload 2 begins")
			reload.requireWaits()
			script(2, texts[1])
			requireVerdict(t, reload.wait(), texts[1])
		})
	}
}

// requireVerdict requires that this is the verdict of the program scripted.
func requireVerdict(t *testing.T, err error, text string) {
	t.Helper()
	if text == "" {
		require.NoError(t, err)
		return
	}
	require.ErrorIs(t, err, ErrReload)
	require.EqualError(t, err, "lifecycle: OnReload of scripted: "+text)
}

func TestManyReloadsDuringOneGetTheVerdictOfTheOneThatFollows(t *testing.T) {
	t.Parallel()
	p, path, script := startScripted(t)
	p.signal(syscall.SIGHUP)
	p.await("reload 1 begins")
	var reloads []*errand
	for range 20 {
		reloads = append(reloads, sendOff(t, mustFind(t, path).Reload))
	}
	script(1, "")
	p.await("reload 2 begins")
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
		gate, path := filepath.Join(t.TempDir(), "gate"), pidPath(t)
		p := start(t, parts, "pidfile="+path, "a.start=until:"+gate, "a.reload="+how)
		p.await("a.start")
		reload := sendOff(t, mustFind(t, path).Reload)
		reload.requireWaits()
		require.Zero(t, p.out.count("a.reload"))
		touch(t, gate)
		if err := reload.wait(); how == "" {
			require.NoError(t, err)
		} else {
			require.EqualError(t, err, "lifecycle: OnReload of a: a.reload failed on purpose")
		}
		p.await("a.reload done")
		require.Less(t, p.out.index("ready pid="), p.out.index("a.reload"))
		require.Equal(t, 1, linesOf(p, "a.reload"))
	}
}

func TestReloadOfADaemonThatStopsIsAnErrorAtOnceAndNoSignal(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startParts(t, "a.reload=", "a.stop=until:"+gate)
	p.signal(syscall.SIGTERM)
	p.await("a.stop")
	err := mustFind(t, path).Reload(ended(t, errEnough))
	require.ErrorIs(t, err, ErrReload)
	require.NotErrorIs(t, err, errEnough)
	require.ErrorContains(t, err, "not reloaded, for it stops")
	requireRuns(t, p)
	touch(t, gate)
	requireExited(t, p, 0)
	require.Zero(t, linesOf(p, "a HUP came"))
	require.Zero(t, linesOf(p, "a.reload"))
}

func TestReloadOfADaemonThatIsStoppedMeanwhileFails(t *testing.T) {
	t.Parallel()
	for name, heeds := range map[string]bool{"heeds its context": true, "does not": false} {
		t.Run("whose OnReload "+name, func(t *testing.T) {
			t.Parallel()
			gate := filepath.Join(t.TempDir(), "gate")
			does := map[bool]string{true: "wait", false: "until:" + gate}[heeds]
			p, path := startDaemon(t, "reload="+does, "stop=until:"+gate)
			reload := sendOff(t, mustFind(t, path).Reload)
			p.await("OnReload")
			reload.requireWaits()
			p.signal(syscall.SIGTERM)
			err := reload.wait()
			require.ErrorIs(t, err, ErrReload)
			require.NotErrorIs(t, err, ErrNotRunning)
			touch(t, gate)
			requireExited(t, p, 0)
			requireBalanced(t, p)
			if !heeds && p.out.count("was abandoned") == 0 {
				require.ErrorContains(t, err, "not reloaded, for it stops", "OnReload ran on, so nothing else can have been the verdict")
			}
		})
	}
}

// TestReloadOfADaemonThatHasStopped… has a stop that is over before anybody can look at it.
func TestReloadOfADaemonThatHasStoppedMeanwhileFails(t *testing.T) {
	t.Parallel()
	for range 10 {
		p, path := startDaemon(t, "reload=wait")
		reload := sendOff(t, mustFind(t, path).Reload)
		p.await("OnReload")
		p.signal(syscall.SIGTERM)
		require.ErrorIs(t, reload.wait(), ErrReload)
		requireExited(t, p, 0)
		requireBalanced(t, p)
	}
}

func TestReloadOfADaemonWhoseStartFailsFails(t *testing.T) {
	t.Parallel()
	gate, path := filepath.Join(t.TempDir(), "gate"), pidPath(t)
	p := start(t, parts, "pidfile="+path, "a.start=until:"+gate, "a.stop=until:"+gate+"2", "b.start=error", "b.reload=")
	p.await("a.start")
	reload := sendOff(t, mustFind(t, path).Reload)
	touch(t, gate)
	require.ErrorIs(t, reload.wait(), ErrReload)
	touch(t, gate+"2")
	requireExited(t, p, 1)
	require.Zero(t, p.out.count("b.reload"))
}

func TestReloadOfADaemonThatDiesMeanwhileSaysThatItIsGone(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t, "reload=hang")
	found := mustFind(t, path)
	reload := sendOff(t, found.Reload)
	p.await("OnReload")
	reload.requireWaits()
	p.signal(syscall.SIGKILL)
	err := reload.wait()
	require.ErrorIs(t, err, ErrNotRunning)
	require.ErrorContains(t, err, fmt.Sprintf("lifecycle: pid %d: waiting for the verdict of its reload: ", p.pid()))
	require.ErrorIs(t, found.Reload(t.Context()), ErrNotRunning, "it was gone before")
}

func TestTheEndOfTheContextEndsAReloadsWaitingAndNamesTheHookThatRuns(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startDaemon(t, "reload=until:"+gate)
	p.signal(syscall.SIGHUP)
	p.await("OnReload")
	found := mustFind(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err := found.Reload(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, ErrReload)
	require.EqualError(t, err, fmt.Sprintf("lifecycle: pid %d: waiting for the verdict of its reload, "+
		"OnReload of daemon is still running: context deadline exceeded", p.pid()))

	touch(t, gate)
	p.await("msg=reloaded", 2)
	require.NoError(t, sendOff(t, found.Reload).wait(), "it was done no harm")
	require.NoError(t, sendOff(t, found.Stop).wait())
	requireExited(t, p, 0)
	requireBalanced(t, p)
}

func TestADaemonThatCannotSayWhatItDoesIsNotFollowedForLong(t *testing.T) {
	t.Parallel()
	type follower struct {
		*errand
		p    *process
		path string
		what string // "" for Status, which follows nothing
	}
	var all []follower
	for _, spoil := range spoilings {
		p, path := startDaemon(t)
		spoil(t, statePath(path))
		found := mustFind(t, path)
		status := func(context.Context) error { _, err := found.Status(); return err }
		all = append(all,
			follower{goOff(t, status), p, path, ""},
			follower{goOff(t, found.Reload), p, path, "waiting for the verdict of its reload: "},
			follower{goOff(t, found.Reopen), p, path, "waiting for it to reopen its log: "},
			follower{goOff(t, found.WaitReady), p, path, "waiting for it to be ready: "})
	}
	last := all[len(all)-1]
	verb := start(t, daemon, "pidfile="+last.path, "reload")
	for _, f := range all {
		err := f.wait()
		want := "lifecycle: state file " + statePath(f.path) + ": "
		if f.what != "" {
			want = fmt.Sprintf("lifecycle: pid %d: %s", f.p.pid(), f.what) + want
		}
		require.ErrorContains(t, err, want)
		require.NotErrorIs(t, err, ErrNotRunning)
		require.NotErrorIs(t, err, ErrReload)
		f.p.await("msg=reloaded")
		f.p.await("nothing to reopen")
	}
	require.Equal(t, 1, verb.wait())
	require.Contains(t, verb.out.String(), "daemon: reload: no verdict: state file "+statePath(last.path)+": ")
}

// Row C9.
func TestWhomTheStateFileNamesIsNotSignalled(t *testing.T) {
	t.Parallel()
	bystander, bystandersPath := startDaemon(t)
	record, err := os.ReadFile(statePath(bystandersPath))
	require.NoError(t, err)

	p, path := startDaemon(t)
	found := mustFind(t, path)
	replace(t, statePath(path), record)
	_, err = found.Status()
	require.ErrorContains(t, err, fmt.Sprintf("it is of pid %d, not of pid %d", bystander.pid(), p.pid()))
	require.ErrorIs(t, found.Reload(ended(t, errEnough)), errEnough)
	p.await("msg=reloaded")
	require.ErrorIs(t, found.Reopen(ended(t, errEnough)), errEnough)
	p.await("nothing to reopen")
	require.NoError(t, sendOff(t, found.Kill).wait())
	require.Equal(t, -1, p.wait())

	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "stop"))
	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "reload"))
	require.Equal(t, result{fmt.Sprintf("daemon: dead: pid %d left %s\n", p.pid(), path), "", 1}, callVerb(t, path, "status"))
	requireLives(t, bystander)
	require.Zero(t, bystander.out.count("nothing to reopen"))
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
	p.await("nothing to reopen", 3)
	requireLives(t, p)
	require.ErrorIs(t, found.Reopen(t.Context()), ErrNotRunning)
}

func TestReopenDuringTheStartWaitsUntilItIsReady(t *testing.T) {
	t.Parallel()
	gate, path := filepath.Join(t.TempDir(), "gate"), pidPath(t)
	p := start(t, daemon, "pidfile="+path, "start=until:"+gate)
	p.await("OnStart")
	reopen := sendOff(t, mustFind(t, path).Reopen)
	reopen.requireWaits()
	require.Zero(t, p.out.count("nothing to reopen"))
	touch(t, gate)
	require.NoError(t, reopen.wait())
	p.await("nothing to reopen")
	require.Less(t, p.out.index("msg=ready"), p.out.index("nothing to reopen"))
	requireLives(t, p)
}

func TestReopenSaysWhyItDoesNotHappen(t *testing.T) {
	t.Parallel()
	t.Run("the context ends", func(t *testing.T) {
		t.Parallel()
		gate := filepath.Join(t.TempDir(), "gate")
		p, path := startDaemon(t, "reload=until:"+gate)
		p.signal(syscall.SIGHUP)
		p.await("OnReload")
		reopen := sendOff(t, mustFind(t, path).Reopen)
		reopen.requireWaits()
		reopen.cancel(errEnough)
		err := reopen.wait()
		require.ErrorIs(t, err, errEnough)
		require.EqualError(t, err, fmt.Sprintf("lifecycle: pid %d: waiting for it to reopen its log, OnReload of daemon is still running: enough", p.pid()))
		touch(t, gate)
		p.await("nothing to reopen")
	})
	t.Run("it is stopping", func(t *testing.T) {
		t.Parallel()
		gate := filepath.Join(t.TempDir(), "gate")
		p, path := startDaemon(t, "stop=until:"+gate)
		p.signal(syscall.SIGTERM)
		p.await("OnStop")
		err := sendOff(t, mustFind(t, path).Reopen).wait()
		require.EqualError(t, err, fmt.Sprintf("lifecycle: pid %d is stopping and does not reopen its log", p.pid()))
		require.NotErrorIs(t, err, ErrReload)
		touch(t, gate)
		requireExited(t, p, 0)
	})
	t.Run("it dies", func(t *testing.T) {
		t.Parallel()
		p, path := startDaemon(t, "reload=hang")
		p.signal(syscall.SIGHUP)
		p.await("OnReload")
		reopen := sendOff(t, mustFind(t, path).Reopen)
		p.signal(syscall.SIGKILL)
		require.ErrorIs(t, reopen.wait(), ErrNotRunning)
	})
}

func TestWaitReadyBlocksUntilItIsReady(t *testing.T) {
	t.Parallel()
	gate, path := filepath.Join(t.TempDir(), "gate"), pidPath(t)
	p := start(t, daemon, "pidfile="+path, "start=until:"+gate)
	p.await("OnStart")
	found := mustFind(t, path)
	ready := sendOff(t, found.WaitReady)
	impatient := sendOff(t, found.WaitReady)
	ready.requireWaits()
	impatient.cancel(errEnough)
	err := impatient.wait()
	require.ErrorIs(t, err, errEnough)
	require.EqualError(t, err, fmt.Sprintf("lifecycle: pid %d: waiting for it to be ready, OnStart of daemon is still running: enough", p.pid()))

	ready.requireWaits()
	touch(t, gate)
	require.NoError(t, ready.wait())
	p.await("msg=ready")
	require.NoError(t, found.WaitReady(ended(t, errEnough)), "at once")
}

func TestWaitReadyReturnsAtOnceDuringAReload(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t, "reload=hang")
	p.signal(syscall.SIGHUP)
	p.await("OnReload")
	found := mustFind(t, path)
	require.NoError(t, found.WaitReady(ended(t, errEnough)))
	s, err := found.Status()
	require.NoError(t, err)
	require.Equal(t, Reloading, s.Phase)
}

func TestWaitReadySaysThatItWillNotBe(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"its start fails", "it is stopped", "it dies"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			gate, drain, path := filepath.Join(t.TempDir(), "gate"), filepath.Join(t.TempDir(), "drain"), pidPath(t)
			p := start(t, parts, "pidfile="+path, "a.start=", "a.stop=until:"+drain, "b.start=until:"+gate, "c.start=error")
			p.await("b.start")
			found := mustFind(t, path)
			ready := sendOff(t, found.WaitReady)
			ready.requireWaits()
			if how == "it dies" {
				p.signal(syscall.SIGKILL)
				require.ErrorIs(t, ready.wait(), ErrNotRunning)
				require.ErrorContains(t, ready.wait(), fmt.Sprintf("lifecycle: pid %d: waiting for it to be ready: lifecycle: not running", p.pid()))
				return
			}
			if how == "it is stopped" {
				p.signal(syscall.SIGTERM)
			} else {
				touch(t, gate)
			}
			require.EqualError(t, ready.wait(), fmt.Sprintf("lifecycle: pid %d is stopping", p.pid()))
			touch(t, gate)
			touch(t, drain)
			p.wait()
			require.ErrorIs(t, found.WaitReady(t.Context()), ErrNotRunning)
		})
	}
}

func TestStatusTellsWhatTheDaemonDoes(t *testing.T) {
	t.Parallel()
	gate, drain, path := filepath.Join(t.TempDir(), "gate"), filepath.Join(t.TempDir(), "drain"), pidPath(t)
	begun := time.Now()
	p := start(t, parts, "pidfile="+path, "a.start=until:"+gate, "a.reload=", "b.reload=error", "a.stop=until:"+drain)
	p.await("a.start")
	found := mustFind(t, path)
	status := func() Status {
		s, err := found.Status()
		require.NoError(t, err)
		require.Equal(t, "parts", s.Name)
		require.Equal(t, "1.2", s.Version)
		require.Equal(t, p.pid(), s.PID)
		require.Equal(t, 1, s.Format)
		require.False(t, s.Started.Before(begun.Round(0)), "%v", s.Started)
		require.False(t, s.Since.Before(s.Started.Round(0)))
		require.False(t, s.PIDFileLost)
		return s
	}
	s := status()
	require.Equal(t, Starting, s.Phase)
	require.Equal(t, "OnStart of a", s.Doing)
	require.True(t, s.Ready.IsZero())
	require.Zero(t, s.StopBy)

	touch(t, gate)
	require.NoError(t, sendOff(t, found.WaitReady).wait())
	eventually(t, func() bool { return status().Text != "" }, "what fn says")
	s = status()
	ready := s.Ready
	require.Equal(t, Ready, s.Phase)
	require.Equal(t, "3 clients", s.Text)
	require.Empty(t, s.Doing)
	require.False(t, ready.IsZero())
	require.Equal(t, ready, s.Since)
	require.Zero(t, s.Reloads)
	require.Nil(t, s.LastReload)

	asked := monotonic.Now()
	require.Error(t, sendOff(t, found.Reload).wait())
	s = status()
	require.Equal(t, Ready, s.Phase)
	require.Equal(t, ready, s.Since, "a reload does not make it ready anew")
	require.Equal(t, 1, s.Reloads)
	v := s.LastReload
	require.NotNil(t, v)
	require.GreaterOrEqual(t, v.Began, asked)
	require.Positive(t, v.Took)
	require.LessOrEqual(t, v.Began+v.Took, monotonic.Now())
	require.False(t, v.At.Before(ready))
	want := &Verdict{At: v.At, Began: v.Began, Took: v.Took, Component: "b", Hook: "OnReload", Error: "b.reload failed on purpose", Applied: []string{"a"}}
	require.Equal(t, want, v)

	stopAsked := monotonic.Now()
	p.signal(syscall.SIGTERM)
	p.await("a.stop")
	s = status()
	require.Equal(t, Stopping, s.Phase)
	require.Equal(t, "OnStop of a", s.Doing)
	require.GreaterOrEqual(t, s.StopBy, stopAsked+25*time.Second, "20 s, and a quarter")
	require.LessOrEqual(t, s.StopBy, monotonic.Now()+25*time.Second)
	require.Equal(t, ready, s.Ready)
	touch(t, drain)
	requireExited(t, p, 0)
	_, err := found.Status()
	require.ErrorIs(t, err, ErrNotRunning)
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
var inward = registerProgram("inward", func(args []string) int {
	reloads := 0
	reload := func(context.Context) error {
		if reloads++; reloads == 2 {
			return errors.New("the second fails")
		}
		return nil
	}
	fn := func(ctx context.Context) error {
		own, err := Find(args[0])
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
	return ExitCode(Run(fn, Name("inward"), PIDFile(args[0]), OnStart(started), OnReload(reload)))
})

func TestADaemonCanFollowItselfAndStaysTheOneThatIsFound(t *testing.T) {
	t.Parallel()
	path, gate := pidPath(t), filepath.Join(t.TempDir(), "gate")
	p := start(t, inward, path, gate)
	p.await("Status: ready 3 true <nil>")
	for _, line := range []string{
		"WaitReady: <nil>",
		"Status: ready true true <nil>",
		"Reload: lifecycle: OnReload of inward: the second fails",
		"Reopen: <nil>",
	} {
		require.Equal(t, 1, linesOf(p, line), "%s:\n%s", line, p.out)
	}
	require.Equal(t, 2, linesOf(p, "Reload: <nil>"), "%s", p.out)

	found := mustFind(t, path)
	require.Equal(t, p.pid(), found.PID)
	if state, blind := mustState(t, path); !blind {
		require.True(t, state.Owned, "closing the file would have taken its name from it")
		require.Equal(t, p.pid(), state.PID)
	}
	require.NoError(t, sendOff(t, found.WaitReady).wait())
	touch(t, gate)
	require.NoError(t, sendOff(t, found.Wait).wait())
	requireExited(t, p, 0)
	require.Equal(t, 1, linesOf(p, "Stop: lifecycle: a process cannot wait for its own end: use Life.Stop"), "%s", p.out)
	requireNothingLeft(t, path)
}
