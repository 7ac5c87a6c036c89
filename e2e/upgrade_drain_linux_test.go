package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// A worker that drains ends with the daemon.
func TestAStopWhileAWorkerDrains(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	r := deployed(t, "run=until:"+gate)
	s := r.begin()
	r.install("2.0")
	after := r.upgraded(s, "2.0")
	require.Len(t, after.Draining, 1)
	require.Equal(t, s.Worker, after.Draining[0].PID)
	require.Equal(t, "1.0", after.Draining[0].Version)
	require.Regexp(t, fmt.Sprintf(`(?m)^  worker %d \(1\.0\) drains, \d+s left$`, s.Worker), r.call("status").Stdout)
	require.Equal(t, 0, r.call("reload").Code, "the new worker handles signals")
	stop := proctest.Start(t, daemon, r.args("stop")...)
	r.told("it to stop", func(s lifecycle.Status) bool { return s.Phase == lifecycle.Stopping })
	proctest.Touch(t, gate)
	require.Equal(t, 0, stop.Wait(), "%s", stop.Out)
	r.requireNothingLeft()
}

// Workers that drain do not delay the next upgrade.
func TestUpgradesWhileWorkersDrain(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	r := deployed(t, "run=until:"+gate)
	s := r.begin()
	for n := range 3 {
		version := fmt.Sprintf("2.%d", n)
		r.install(version, "run=until:"+gate)
		s = r.upgraded(s, version)
		require.Len(t, s.Draining, n+1)
	}
	r.install("3.0")
	s = r.upgraded(s, "3.0")
	require.Len(t, s.Draining, 4)
	proctest.Touch(t, gate)
	s = r.told("no worker to drain", func(s lifecycle.Status) bool { return len(s.Draining) == 0 })
	require.Nil(t, s.LastExit)
	r.stop()
}

// A worker that does not end within DrainTimeout and its grace is killed.
func TestAWorkerThatDoesNotDrainIsEnded(t *testing.T) {
	t.Parallel()
	r := deployed(t, "run=hang")
	r.crashes = true
	s := r.begin("draintimeout=1s")
	r.install("2.0")
	r.upgraded(s, "2.0")
	r.requireGone(s.Worker)
	r.told("no worker to drain", func(s lifecycle.Status) bool { return len(s.Draining) == 0 })
	r.awaitSaid("Run of daemon was abandoned: it did not return in time")
	r.stop()
}

func TestWithNoOverlapTheOldWorkerEndsFirst(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	s := r.begin("nooverlap=")
	upgrade, _, gate := r.slowly("2.0")
	r.requireGone(s.Worker)
	proctest.Touch(t, gate)
	require.Equal(t, 0, upgrade.Wait(), "%s", upgrade.Out)
	after := r.ready()
	require.Equal(t, "2.0", after.WorkerVersion)
	require.Empty(t, after.Draining)
	require.Zero(t, after.NextRestart, "no restart is due")
	r.requireProgram(after.PID, "2.0")
	r.requireProgram(after.Worker, "2.0")

	r.install("3.0", "start=error")
	got := r.upgrade()
	require.Equal(t, 1, got.Code)
	require.Regexp(t, `^daemon: upgrade refused, the old one serves: .*OnStart failed on purpose; the old program was started again\n$`, got.Stderr)
	again := r.ready()
	require.NotEqual(t, after.Worker, again.Worker)
	require.Equal(t, "2.0", again.WorkerVersion)
	r.requireProgram(again.Worker, "2.0")
	r.stop()
}
