package e2e

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

func TestForceReloadRestartsIfThereIsNoOnReload(t *testing.T) {
	t.Parallel()
	pidfile, down := verbPlace(t), filepath.Join(t.TempDir(), "down")
	call := func(verb string) proctest.Result { return proctest.Call(t, verbCoded, "pidfile="+pidfile, down, verb) }
	ready := `(?m)^coded: ready \(pid (\d+), `

	none := proctest.Result{Stderr: "coded: not running (nobody holds " + pidfile + ")\n"}
	require.Equal(t, none, call("force-reload"), "no daemon was started")
	require.Equal(t, none, call("try-restart"))
	requireVerbLeftNothing(t, pidfile)

	first := verbSays(t, ready, call("start").Stderr)
	got := call("force-reload")
	require.Equal(t, 0, got.Code, got.Stderr)
	second := verbSays(t, ready, got.Stderr)
	require.NotEqual(t, first, second)
	requireVerbAlone(t, pidfile, second)
	require.Equal(t, 0, call("stop").Code)
}

func TestForceReloadReloadsIfThereIsAnOnReload(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	got := callVerb(t, pidfile, "force-reload")
	require.Equal(t, 0, got.Code)
	require.Regexp(t, `^daemon: reloaded \(\d+(\.\d)? m?s\)\n$`, got.Stderr)
	requireVerbRuns(t, pidfile, pid)

	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	require.Equal(t, proctest.Result{Stderr: notRunning(pidfile), Code: 7}, callVerb(t, pidfile, "force-reload"))
}

func TestRestartReplacesTheProcess(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	for _, verb := range []string{"restart", "try-restart"} {
		got := callVerb(t, pidfile, verb)
		require.Equal(t, 0, got.Code)
		require.Equal(t, "OnCheck\nOnCheck done\n", got.Stdout, "the check runs in the process of the verb")
		require.Regexp(t, fmt.Sprintf(`^daemon: check passed\ndaemon: stopped \(pid %d, .*\)\ndaemon: ready \(pid \d+, .*\)\n$`, pid), got.Stderr)
		next := verbSays(t, verbReady, got.Stderr)
		require.NotEqual(t, pid, next)
		requireVerbRuns(t, pidfile, next)
		pid = next
	}
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	requireVerbLeftNothing(t, pidfile)
}

func TestRestartStopsNothingIfTheCheckFails(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	requireUntouched := proctest.Untouched(t, pidfile)
	for what, says := range map[string]string{"error": "OnCheck failed on purpose", "panic": "panic: OnCheck panics on purpose"} {
		for _, verb := range []string{"restart", "try-restart"} {
			got := callVerb(t, pidfile, "check="+what, verb)
			require.Equal(t, 6, got.Code)
			require.Contains(t, got.Stderr, "daemon: check failed: "+says+"\n")
			require.NotContains(t, got.Stderr, "daemon: stopped")
		}
	}
	requireUntouched()
	requireVerbRuns(t, pidfile, pid)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
}

// Row C15.
func TestRestartStartsADaemonIfNoneRuns(t *testing.T) {
	t.Parallel()
	t.Run("no file", func(t *testing.T) {
		t.Parallel()
		pidfile := verbPlace(t)
		got := callVerb(t, pidfile, "restart")
		require.Equal(t, 0, got.Code)
		require.Regexp(t, `^daemon: check passed\ndaemon: ready \(pid \d+, .*\)\n$`, got.Stderr)
		requireVerbRuns(t, pidfile, verbSays(t, verbReady, got.Stderr))
	})
	t.Run("a dead one has left its file", func(t *testing.T) {
		t.Parallel()
		pid, pidfile := verbStart(t)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		proctest.Eventually(t, func() bool { return callVerb(t, pidfile, "status").Code == 1 }, "the end of pid %d", pid)
		require.Equal(t, proctest.Result{Stderr: notRunning(pidfile)}, callVerb(t, pidfile, "try-restart"))
		require.Empty(t, processesOf(pidfile))
		got := callVerb(t, pidfile, "restart")
		require.Equal(t, 0, got.Code)
		requireVerbRuns(t, pidfile, verbSays(t, verbReady, got.Stderr))
	})
	t.Run("the check fails", func(t *testing.T) {
		t.Parallel()
		pidfile := verbPlace(t)
		require.Equal(t, 6, callVerb(t, pidfile, "check=error", "restart").Code)
		requireVerbLeftNothing(t, pidfile)
	})
}

func TestTryRestartStartsNothingIfNoDaemonRuns(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	require.Equal(t, proctest.Result{Stderr: notRunning(pidfile)}, callVerb(t, pidfile, "check=error", "try-restart"), "OnCheck was not called")
	requireVerbLeftNothing(t, pidfile)
}

func TestARestartReportsAFailedStartAndLeavesNothing(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	got := callVerb(t, pidfile, "start=error", "restart")
	require.Equal(t, 1, got.Code)
	require.Regexp(t, fmt.Sprintf(`^daemon: check passed\ndaemon: stopped \(pid %d, .*\)\ndaemon: start failed: OnStart failed on purpose\n$`, pid), got.Stderr)
	requireVerbLeftNothing(t, pidfile)
}

func TestARestartDuringAStartIsReportedToBothCallers(t *testing.T) {
	t.Parallel()
	pidfile, log := verbPlace(t), filepath.Join(t.TempDir(), "log")
	first := proctest.Start(t, daemon, "pidfile="+pidfile, "log="+log, "start=wait", "start")
	proctest.Eventually(t, func() bool { text, _ := os.ReadFile(log); return strings.Contains(string(text), "OnStart\n") }, "OnStart")
	got := callVerb(t, pidfile, "restart")
	require.Equal(t, 0, got.Code, got.Stderr)
	require.Equal(t, 1, first.Wait())
	require.Regexp(t, `^daemon: start failed: stopped before it was ready: stopped by signal: terminated\n  log: /.*\n$`, first.Out.String())
	requireVerbRuns(t, pidfile, verbSays(t, verbReady, got.Stderr))
}

// Row A7.
func TestTwoRestartsAtTheSameTimeReportTheirResults(t *testing.T) {
	t.Parallel()
	old, pidfile := verbStart(t)
	for range 4 {
		var both []*proctest.Process
		for range 2 {
			both = append(both, proctest.Start(t, daemon, "pidfile="+pidfile, "restart"))
		}
		var said [2]string
		codes := []int{both[0].Wait(), both[1].Wait()}
		for i, p := range both {
			said[i] = p.Out.String()
		}
		all := said[0] + said[1]
		running := mustFind(t, pidfile).PID
		requireVerbRuns(t, pidfile, running)
		require.NotEqual(t, old, running, all)
		require.Contains(t, codes, 0, all)
		for i, code := range codes {
			other := said[1-i]
			switch {
			case code == 0:
				mine := verbSays(t, verbReady, said[i])
				require.True(t, mine == running || verbSays(t, verbStopped, other) == mine, all)
			case strings.Contains(said[i], "already running"):
				require.Equal(t, 1, code)
				require.Equal(t, verbSays(t, verbReady, other), verbSays(t, `(?m)^daemon: already running \(pid (\d+)\)`, said[i]), all)
			default: // the other verb stopped the daemon that this one was starting
				require.Equal(t, 1, code)
				require.Regexp(t, `(?m)^daemon: start failed: (ended before it was ready|fn returned before the daemon was ready; .*|.*stopped by signal: terminated|died before it was ready \(signal SIGTERM\))`, said[i])
				require.NotEqual(t, old, verbSays(t, verbStopped, other), all)
			}
		}
		old = running
	}
}

// verbStuck is a daemon that hangs forever in its stop. It has to abandon OnStop, and its log
// blocks on the report about this.
var verbStuck = proctest.Register("stuck", func(args []string) int {
	return lifecycle.Main(args[2:], nil, lifecycle.Name("stuck"), lifecycle.PIDFile(strings.TrimPrefix(args[0], "pidfile=")), lifecycle.LogFile(args[1]), lifecycle.StopTimeout(50*time.Millisecond),
		lifecycle.Logger(slog.New(verbStuckLog{slog.NewTextHandler(os.Stderr, nil)})),
		lifecycle.With(lifecycle.Hooks{Name: "http", OnStart: started, OnStop: behave("OnStop", "hang")}))
})

type verbStuckLog struct{ slog.Handler }

func TestStopKillsADaemonAfterItsDeadlineAndNamesTheHangingHook(t *testing.T) {
	t.Parallel()
	pidfile, log := verbPlace(t), filepath.Join(t.TempDir(), "log")
	for _, verb := range []string{"stop", "restart"} {
		got := proctest.Call(t, verbStuck, "pidfile="+pidfile, log, "start")
		require.Equal(t, 0, got.Code, got.Stderr)
		pid := verbSays(t, `(?m)^stuck: ready \(pid (\d+), `, got.Stderr)
		got = proctest.Call(t, verbStuck, "pidfile="+pidfile, log, verb)
		require.Equal(t, map[string]int{"stop": 1, "restart": 0}[verb], got.Code, got.Stderr)
		require.Regexp(t, fmt.Sprintf(`(?m)^stuck: killed \(pid %d\): OnStop of http still running after 2\.\d s, stack in %s$`, pid, log), got.Stderr)
		if verb == "stop" {
			requireVerbLeftNothing(t, pidfile)
			continue
		}
		requireVerbAlone(t, pidfile, verbSays(t, `(?m)^stuck: ready \(pid (\d+), `, got.Stderr))
	}
}
