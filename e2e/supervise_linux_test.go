package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// atOnce is a policy that restarts the worker without delay, without a limit.
const atOnce = "supervise=min:-1ns,limit:-1"

// status returns the status of the daemon here.
func (b *background) status() (s lifecycle.Status) {
	b.t.Helper()
	got := b.call("status", "--json")
	require.NoError(b.t, json.Unmarshal([]byte(got.Stdout), &s), "%s", got.Stdout)
	return s
}

// told waits until enough returns true for the status of the daemon, and returns that status.
func (b *background) told(what string, enough func(lifecycle.Status) bool) (s lifecycle.Status) {
	b.t.Helper()
	proctest.Eventually(b.t, func() bool {
		found, err := lifecycle.Find(b.pidfile)
		if err != nil {
			return false
		}
		defer found.Close()
		s, err = found.Status()
		return err == nil && enough(s)
	}, "%s", what)
	return s
}

// worker waits until another worker than that one is ready, and returns its PID.
func (b *background) worker(than int) (pid int) {
	b.t.Helper()
	return b.told("another worker to be ready", func(s lifecycle.Status) bool { return s.Worker != 0 && s.Worker != than && s.Phase == lifecycle.Ready }).Worker
}

// Row D11.
func TestAKilledWorkerIsRestartedUnderTheSamePID(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.start(atOnce)
	for n := 1; n <= 5; n++ {
		worker := b.worker(0)
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
		b.worker(worker)
		s := b.status()
		require.Equal(t, parent, s.PID)
		require.Equal(t, n, s.Restarts)
		require.Equal(t, "SIGKILL", s.LastExit.Signal)
		require.Equal(t, worker, s.LastExit.PID)
	}
	require.Regexp(t, `^daemon: ready \(pid \d+, worker \d+\) for \ds, 5 restarts, last \ds ago: signal SIGKILL\n  log: /.*\n$`, b.call("status").Stdout)
	b.stop()
}

func TestAWorkerThatFailsItsFirstStartFailsTheStart(t *testing.T) {
	t.Parallel()
	for what, want := range map[string]string{
		"start=error":     "^daemon: start failed: OnStart failed on purpose\n  log: /.*\n$",
		"start=panic":     "(?s)^daemon: start failed: panic: OnStart panics on purpose\n  \\| example.com/.*",
		"start=exit:3":    "^daemon: start failed: died before it was ready \\(exit 3\\); its last words:\n(  \\| .*\n)*  \\| OnStart\n  log: /.*\n$",
		"run=error":       "^daemon: start failed: fn failed on purpose\n  log: /.*\n$",
		"supervise=min:x": "",
	} {
		if want == "" {
			continue
		}
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			b.crashes = true
			got := b.call(atOnce, what, "start")
			require.Regexp(t, want, got.Stderr)
			require.NotZero(t, got.Code)
			b.requireNothingLeft()
		})
	}
}

func TestAReloadOfTheSupervisorReturnsTheVerdictOfTheWorker(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.start(atOnce)
	require.Regexp(t, `^daemon: reloaded \(\d+ ms\)\n$`, b.call("reload").Stderr)
	require.Contains(t, b.said(), "OnReload done")
	b.stop()

	b = inBackground(t)
	b.start(atOnce, "reload=error")
	for n := 1; n <= 3; n++ {
		got := b.call("reload=error", "reload")
		require.Equal(t, proctest.Result{Stderr: "daemon: reload rejected, old configuration kept: OnReload failed on purpose\n", Code: 1}, got)
		s := b.status()
		require.Equal(t, n, s.Reloads)
		require.Equal(t, "OnReload failed on purpose", s.LastReload.Error)
		require.Equal(t, "OnReload", s.LastReload.Hook)
	}
	b.stop()
}

// Row H5.
func TestAStopDuringABackOffEndsAtOnce(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.start("supervise=min:1h,max:1h")
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	s := b.told("a back-off", func(s lifecycle.Status) bool { return !s.NextRestart.IsZero() })
	require.Zero(t, s.Worker)
	require.Equal(t, lifecycle.Starting, s.Phase)
	got := b.call("status")
	require.Equal(t, 0, got.Code)
	require.Regexp(t, fmt.Sprintf(`^daemon: restarting \(pid %d\), attempt 1 of 10 in (1h0m0s|\d+m\d+s); last: signal SIGKILL\n  log: /.*\n$`, parent), got.Stdout)
	require.Equal(t, 150, b.call("status", "--ready").Code)
	require.Equal(t, 1, b.call("reload").Code)
	b.stop()

	p, pidfile := startDaemon(t, "supervise=foreground,min:1h,max:1h", "run")
	b = &background{t: t, pidfile: pidfile}
	require.NoError(t, syscall.Kill(b.worker(0), syscall.SIGKILL))
	b.told("a back-off", func(s lifecycle.Status) bool { return !s.NextRestart.IsZero() })
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait(), "an earlier crash is not a failure of the stop:\n%s", p.Out)
}

func TestASupervisorGivesUpAfterTooManyCrashes(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	b.start("supervise=min:-1ns,limit:3", "run=until:"+gate, "exit=exit:7")
	proctest.Touch(t, gate)
	proctest.Eventually(t, func() bool { _, err := lifecycle.Find(b.pidfile); return err != nil }, "it to give up")
	got := b.call("status")
	require.Equal(t, 3, got.Code)
	require.Contains(t, got.Stdout, "gave up: the worker ended 3 times in 60s; last: exit 7")
	require.Contains(t, b.said(), `msg="not restarting the worker any more" why="gave up: `)
	require.NoError(t, os.Remove(proctest.StatePath(b.pidfile)))
}

// Row H12.
func TestAWorkerThatHangsIsEndedWithItsStackAndRestarted(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	b.start(atOnce, "watchdog=until:"+gate, "interval=200ms")
	// The Go runtime exits with 2 after it has written the trace.
	s := b.told("the exit of a worker with its trace", func(s lifecycle.Status) bool {
		return s.Phase == lifecycle.Ready && s.LastExit != nil && s.LastExit.Code == 2
	})
	require.Equal(t, "no sign of life for 400ms", s.LastExit.Why)
	require.Regexp(t, `(?s)SIGABRT: abort.*\.behave\.`, b.said(), "the log contains the stacks of the worker")
	proctest.Eventually(t, func() bool {
		return strings.Contains(b.call("status").Stdout, " ago: exit 2, no sign of life for 400ms")
	}, "the exit in the status")
	proctest.Touch(t, gate) // otherwise the stop would wait for the worker
	b.awaitSaid("Watchdog done\n")
	b.stop()

	b = inBackground(t)
	b.start(atOnce, "watchdog=", "interval=2s") // long enough for a busy machine
	worker := b.worker(0)
	b.awaitSaid(strings.Repeat("Watchdog\nWatchdog done\n", 2))
	require.Equal(t, worker, b.worker(0), "a healthy worker is not restarted")
	b.stop()
}

func init() {
	misdeeds["orphans"] = func() {
		for range 5 {
			_ = exec.Command("sh", "-c", "sleep 0.01 & ").Run()
		}
	}
}
