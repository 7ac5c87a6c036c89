package e2e

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

func TestAProgramIsReadyWhenReadyWhenReturnsNil(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	launcher := proctest.Start(t, guard, append(b.args("supervise=min:-1ns,settle:1ms", "ready=echo asked >> "+b.log+"; test -e "+gate, "start"), "--", "sleep", "60")...)
	b.awaitSaid("asked")
	require.Equal(t, lifecycle.Starting, b.status().Phase)
	proctest.Touch(t, gate)
	require.Equal(t, 0, launcher.Wait(), "%s", launcher.Out)
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.worker(worker)
	b.told("it to be ready again", func(s lifecycle.Status) bool { return s.Phase == lifecycle.Ready && s.Worker != worker })
	b.stop()
}

func TestAStartFailsIfReadyWhenNeverReturnsNil(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	for ready, want := range map[string]string{
		"echo no answer; exit 1": "guard: start failed: not ready after 2s: exit status 1: no answer",
		"panic":                  "guard: start failed: panic: it is broken",
	} {
		got := proctest.Call(t, guard, append(b.args("starttimeout=2s", "supervise=settle:1ms", "ready="+ready, "start"), "--", "sleep", "60")...)
		require.NotZero(t, got.Code)
		require.Contains(t, got.Stderr, want)
		b.requireNothingLeft()
	}
}

// For example, nginx needs 2.5 s to give up if its port is in use.
func TestAProgramThatEndsBeforeItIsReadyFailsTheStart(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	for _, args := range [][]string{{"supervise=settle:1ms,notify"}, {"supervise=settle:1ms", "ready=false"}} {
		got := b.guard("sleep 0.2; echo the port is taken; exit 1", append(args, "start")...)
		require.Equal(t, 1, got.Code)
		require.Contains(t, got.Stderr, "died before it was ready (exit 1); its last words:\n  | the port is taken\n")
		b.requireNothingLeft()
	}
}

func TestAProgramWithNotifyIsReadyOnlyWhenItSendsREADY(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	launcher := proctest.Start(t, guard, b.guardNotifier([]string{"supervise=settle:1ms,notify", "start"}, "await:"+gate, "say:READY=1")...)
	b.told("it to be started", func(s lifecycle.Status) bool { return s.Worker != 0 })
	got := proctest.Call(t, guard, b.args("status", "--ready")...)
	require.NotZero(t, got.Code)
	proctest.Touch(t, gate)
	require.Equal(t, 0, launcher.Wait(), "%s", launcher.Out)
	b.stop()

	got = b.guard("exec sleep 60", "starttimeout=2s", "supervise=settle:1ms,notify", "start")
	require.Equal(t, proctest.Result{Stderr: "guard: start failed: not ready after 2s; stopped, nothing left\n", Code: 1}, withoutLog(got))
	b.requireNothingLeft()
}

func TestABrokenConfigurationOfAProgramStopsNoProcess(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	broken := filepath.Join(t.TempDir(), "broken")
	check := "check=! test -e " + broken + " || { echo line 7; exit 1; }"
	guarded := func(verb string) proctest.Result {
		return proctest.Call(t, guard, append(b.args(check, verb), "--", "sh", "-c", traps+" & wait")...)
	}
	b.readied(b.guard("trap 'echo got HUP' HUP; echo waits; while :; do sleep 0.01; done", check, "start"))
	b.awaitSaid("waits")
	worker := b.worker(0)
	require.Equal(t, 0, proctest.Call(t, guard, b.args(check, "check")...).Code)
	proctest.Touch(t, broken)
	for verb, code := range map[string]int{"check": 6, "restart": 6, "reload": 1} {
		got := guarded(verb)
		require.Equal(t, code, got.Code, "%s: %s", verb, got.Stderr)
		require.Contains(t, got.Stderr, "line 7", verb)
	}
	require.NotContains(t, b.said(), "got HUP")
	require.Equal(t, worker, b.worker(0))
	b.stop()
}
