package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// sweepFaultyUpgrade makes a call of the supervisor fail during an upgrade. The verb must report
// the truth, and a worker must serve.
func sweepFaultyUpgrade(t *testing.T, at string) (outcome string, calls map[string]int) {
	t.Helper()
	r := startSwept(t, daemonStage, at)
	got := r.upgrade()
	r.letGo()
	calls = r.made()[daemonStage]
	what := fmt.Sprintf("%s: failed %v; upgrade exits with %d: %s\n%s", at, r.numbers("failed"), got.Code, got.Stderr, r.said())
	requireCalm(t, got.Stderr+r.said(), what)
	s := r.settleUpgraded(what)
	require.Equal(t, r.before.PID, s.PID, what)
	require.Zero(t, s.Restarts, what)
	outcome = fmt.Sprintf("exit %d, %s", got.Code, upgradeOutcome(got.Stderr))
	switch {
	case got.Code == 0 && strings.Contains(got.Stderr, ", but the supervisor runs on with the old program: "):
		requireTold(t, at, got.Stderr, what)
		require.Equal(t, "1.0", s.Version, what)
		require.Equal(t, "2.0", s.WorkerVersion, what)
	case got.Code == 0:
		require.Equal(t, "2.0", s.Version, what)
		require.Equal(t, "2.0", s.WorkerVersion, what)
	default:
		require.Equal(t, 1, got.Code, what)
		require.Contains(t, got.Stderr, "daemon: upgrade refused, the old one serves: ", what)
		requireTold(t, at, got.Stderr, what)
		require.Equal(t, r.before.Worker, s.Worker, what)
		require.Equal(t, "1.0", s.Version, what)
	}
	r.requireTruth(s, what)
	return outcome, calls
}

// The supervisor lacks memory, descriptors or processes for an upgrade.
// Row K16.
func TestAFaultDuringAnUpgradeLeavesAWorkerThatServes(t *testing.T) {
	needsInjection(t)
	t.Parallel()
	outcome, calls := sweepFaultyUpgrade(t, "fork:EAGAIN:0")
	require.Regexp(t, "^exit 0", outcome)
	t.Logf("system calls of the supervisor: %v", calls)
	var all []string
	for _, call := range slices.Sorted(maps.Keys(calls)) {
		for n := range calls[call] {
			for _, errno := range faults[call] {
				if errno == unix.ENOMEM || errno == unix.EMFILE || errno == unix.ENFILE || errno == unix.EAGAIN {
					all = append(all, fmt.Sprintf("%s:%s:%d", call, unix.ErrnoName(errno), n+1))
				}
			}
		}
	}
	few := []string{"fork:EAGAIN:1", "fork:ENOMEM:1", "execve:ENOMEM:1", "execve:EMFILE:2", "pipe2:EMFILE:1", "socketpair:ENFILE:1"}
	if proctest.Long() {
		few = all
	}
	sweepEach(t, few, func(t *testing.T, at string) string {
		outcome, _ := sweepFaultyUpgrade(t, at)
		return outcome
	})
}
