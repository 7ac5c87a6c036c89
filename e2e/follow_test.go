package e2e

import (
	"context"
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
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/monotonic"
)

// parts is a daemon with several components. Their order is the order in which the arguments first
// name them:
//
//	parts pidfile=PATH [name=NAME] [reloadtimeout=D] [COMPONENT.HOOK=behaviour …] [verb]
//
// The hooks are check, start, reload and stop; see behave. Without a verb it calls Run, and at its
// end prints whether it received HUP.
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
func TestThePIDInAStateFileIsNotSignalled(t *testing.T) {
	t.Parallel()
	bystander, bystandersPath := startDaemon(t)
	record, err := os.ReadFile(proctest.StatePath(bystandersPath))
	require.NoError(t, err)

	p, path := startDaemon(t)
	found := mustFind(t, path)
	replace(t, proctest.StatePath(path), record)
	_, err = found.Status()
	require.ErrorContains(t, err, fmt.Sprintf("the record belongs to pid %d, not to pid %d", bystander.PID(), p.PID()))
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

func TestReopenReturnsWhenTheNewLogIsInUse(t *testing.T) {
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

func TestReopenReportsWhyItFailed(t *testing.T) {
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
