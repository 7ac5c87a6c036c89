package e2e

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func TestAnUpgradeKeepsThePIDAndShowsTheNewProgram(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	before := r.begin()
	r.requireProgram(before.PID, "1.0")
	require.Equal(t, "1.0", before.WorkerVersion)
	r.install("2.0")
	after := r.upgraded(before, "2.0")
	r.requireProgram(after.PID, "2.0")
	r.requireProgram(after.Worker, "2.0")
	require.Equal(t, 1, after.Upgrades)
	require.Equal(t, before.Worker, after.LastUpgrade.OldWorker)
	require.Equal(t, after.Worker, after.LastUpgrade.NewWorker)
	require.Equal(t, "1.0", after.LastUpgrade.OldVersion)
	require.Equal(t, "2.0", after.LastUpgrade.NewVersion)
	require.Empty(t, after.LastUpgrade.Error)
	require.Empty(t, after.LastUpgrade.Note)
	require.True(t, before.Started.Equal(after.Started))
	require.True(t, before.Ready.Equal(after.Ready), "it was ready throughout")
	require.Zero(t, after.Restarts)
	require.Nil(t, after.LastExit, "the end of a replaced worker is no exit")
	require.Equal(t, before.KeptBy, after.KeptBy)
	require.Equal(t, before.LogFile, after.LogFile)
	r.requireGone(before.Worker)
	proctest.Eventually(t, func() bool { return len(r.ready().Draining) == 0 }, "no worker to drain")
	require.Regexp(t, fmt.Sprintf(`^daemon: ready \(pid %d, worker %d, version 2\.0\) for `, after.PID, after.Worker), r.call("status").Stdout)

	// The supervisor does all that it did.
	require.Equal(t, 0, r.call("reload").Code, "%s", r.said())
	require.Equal(t, 0, r.call("reopen").Code)
	require.NoError(t, syscall.Kill(after.Worker, syscall.SIGKILL))
	third := r.worker(after.Worker)
	r.requireProgram(third, "2.0")
	require.Equal(t, 1, r.ready().Restarts)
	r.stop()
	require.NotContains(t, r.said(), "level=WARN msg=\"the new program")
}

// Row K20.
func TestNoOtherStartSlipsInDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	s := r.begin()
	for n := range 3 {
		r.install(fmt.Sprintf("2.%d", n))
		upgrade := proctest.Start(t, daemon, r.args("upgrade")...)
		for refused := 0; refused == 0 || !isDone(upgrade); refused++ {
			got := r.call("start")
			require.Equal(t, 1, got.Code, "%s", got.Stderr)
			require.Contains(t, got.Stderr, fmt.Sprintf("daemon: already running (pid %d)", s.PID))
		}
		require.Equal(t, 0, upgrade.Wait(), "%s", upgrade.Out)
	}
	require.Equal(t, s.PID, r.ready().PID)
	r.stop()
}

func isDone(p *proctest.Process) bool {
	select {
	case <-p.Done:
		return true
	default:
		return false
	}
}

func TestADaemonWithoutASupervisorIsNotUpgraded(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	got := callVerb(t, pidfile, "upgrade")
	require.Equal(t, proctest.Result{Stderr: fmt.Sprintf("daemon: upgrade: pid %d has no supervisor: use `daemon restart`\n", p.PID()), Code: 3}, got)
	requireLives(t, p)
	got = callVerb(t, pidfile, "upgrade")
	require.Equal(t, proctest.Result{Stderr: notRunning(pidfile), Code: 7}, got)
}
