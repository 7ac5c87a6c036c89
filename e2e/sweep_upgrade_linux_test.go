package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/proc"
)

// upgradeVictims are the stages that are killed during an upgrade.
var upgradeVictims = map[string]int{"supervisor": daemonStage, "old worker": workerStage, "new worker": newWorkerStage}

// sweptRelease is a release under the tracer.
type sweptRelease struct {
	*releases
	*sweptStart
	before lifecycle.Status
}

// startSwept starts release 1.0 under the tracer, and makes 2.0 the current release.
func startSwept(t *testing.T, stage int, at any, args ...string) *sweptRelease {
	t.Helper()
	r := deployed(t)
	r.crashes = true
	endAll(t, r.pidfile)
	traced := append([]string{strconv.Itoa(stage), "0", filepath.Join(r.dir, "current", "program"), atOnce}, r.args(args...)...)
	p := followTraced(t, proctest.Command(tracer, append(traced, "start")...), r.pidfile)
	require.Equal(t, 0, p.awaitExit(), "%s", p.Out)
	s := &sweptRelease{r, p, r.ready()}
	r.install("2.0")
	p.countAnew(at)
	return s
}

// settleUpgraded waits until no process remains, or only a ready supervisor and one worker. It
// returns the PID of the supervisor, or 0. what describes the case.
func (r *sweptRelease) settleUpgraded(what string) (s lifecycle.Status) {
	r.releases.t.Helper()
	t := r.releases.t
	proctest.Eventually(t, func() bool {
		found, err := lifecycle.Find(r.releases.pidfile)
		pids := r.sweptStart.processes()
		if err != nil {
			s = lifecycle.Status{}
			return len(pids) == 0 && isFree(t, r.releases.pidfile)
		}
		defer found.Close()
		s, err = found.Status()
		return err == nil && s.Phase == lifecycle.Ready && s.Worker != 0 && s.Upgrading == 0 && s.Doing == "" && len(s.Draining) == 0 && len(pids) == 2
	}, "a ready supervisor and one worker, or none; %s", what)
	return s
}

// requireTruth requires that the daemon is what its verbs say, that a start finds it or makes
// another one, and that a stop leaves nothing. s is the status of the daemon, or zero.
func (r *sweptRelease) requireTruth(s lifecycle.Status, what string) {
	t := r.releases.t
	t.Helper()
	status := r.releases.call("status")
	if s.PID == 0 {
		require.Contains(t, []int{1, 3}, status.Code, "%s%s", status.Stdout, what)
	} else {
		require.Equal(t, 0, status.Code, "%s%s", status.Stdout, what)
		// The worker and the supervisor run the release that the status names.
		for pid, version := range map[int]string{s.PID: s.Version, s.Worker: s.WorkerVersion} {
			r.requireProgram(pid, version)
		}
		require.Equal(t, r.before.PID, s.PID, what)
		reload := r.releases.call("reload")
		require.Equal(t, 0, reload.Code, "%s%s%s", reload.Stderr, what, r.said())
	}
	next := proctest.CallCommand(t, r.command(atOnce, "start"))
	if s.PID != 0 {
		require.Equal(t, proctest.Result{Stderr: alreadyRunning(s.PID), Code: 1}, next, what)
	} else {
		require.Equal(t, 0, next.Code, "%s%s", next.Stderr, what)
		s = r.ready()
		require.Len(t, r.sweptStart.processes(), 2, what)
	}
	stopped := r.releases.call("stop")
	require.Equal(t, 0, stopped.Code, "%s%s", stopped.Stderr, what)
	require.Contains(t, stopped.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", s.PID), what)
	r.requireNothingLeft()
}

// sweepUpgrade kills that stage at that call during an upgrade. It requires that one daemon remains
// or none, and that the verbs report the truth.
func sweepUpgrade(t *testing.T, stage, at int) (outcome string, counts []int) {
	t.Helper()
	r := startSwept(t, stage, at)
	got := r.upgrade()
	counts = r.letGo()
	killed := r.numbers("killed")
	supervisorKilled := len(killed) > 0 && killed[1] == r.before.PID
	what := fmt.Sprintf("killed %v; upgrade exits with %d: %s", killed, got.Code, got.Stderr)
	if supervisorKilled {
		proctest.Eventually(t, func() bool { p, ok := proc.Of(killed[1]); return !ok || p.Ended }, "the end of pid %d", killed[1])
	}
	s := r.settleUpgraded(what)
	require.Equal(t, supervisorKilled, s.PID == 0, what)
	outcome = fmt.Sprintf("exit %d, %s", got.Code, upgradeOutcome(got.Stderr))
	switch {
	case got.Code == 0:
		require.Regexp(t, `^daemon: upgraded \(pid \d+, worker `, got.Stderr, what)
	case supervisorKilled:
		require.Regexp(t, `no verdict: pid \d+ ended during the upgrade|not running|daemon: upgrade: `, got.Stderr, what)
	default:
		require.Equal(t, 1, got.Code, what)
		require.Regexp(t, `^daemon: upgrade refused, the old one serves: `, got.Stderr, what)
		require.NotEmpty(t, killed, what)
	}
	if s.PID != 0 {
		version := map[bool]string{true: "2.0", false: "1.0"}[got.Code == 0]
		require.Equal(t, version, s.WorkerVersion, what)
		require.Equal(t, version, s.Version, "%s%s", what, r.said())
		// Nothing that was not killed has restarted.
		workerKilled := len(killed) > 0 && killed[1] != r.before.PID
		require.True(t, s.Restarts == 0 || workerKilled && s.Restarts == 1, "%d restarts; %s", s.Restarts, what)
		outcome += fmt.Sprintf(", %d restarts", s.Restarts)
	}
	r.requireTruth(s, what)
	return outcome, counts
}

// upgradeOutcome returns what the verb said without the parts that differ in each run.
func upgradeOutcome(said string) string {
	return regexp.MustCompile(`[\d.]+( m?s)?`).ReplaceAllString(said, "N")
}

// The supervisor, the old worker or the new worker is killed at any of its system calls during an
// upgrade. One daemon remains or none, and the next start works.
// Rows D10, D12, D13, D14.
func TestAKillDuringAnUpgradeLeavesOneDaemonOrNone(t *testing.T) {
	needsTrace(t)
	t.Parallel()
	outcome, counts := sweepUpgrade(t, daemonStage, 0)
	require.Regexp(t, "^exit 0", outcome)
	for name, stage := range upgradeVictims {
		t.Logf("system calls of the %s: %d", name, counts[stage])
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sweepParts(t, counts[stage], proctest.Rounds(2, 4, 4), func(t *testing.T, at int) string {
				outcome, _ := sweepUpgrade(t, stage, at)
				return outcome
			})
		})
	}
}
