package e2e

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// sweepUpgradeSignal sends a signal to the supervisor at that call while it executes the new
// program. It returns the number of calls at which a signal can arrive.
func sweepUpgradeSignal(t *testing.T, signal string, at int) (outcome string, calls int) {
	t.Helper()
	r := startSwept(t, daemonStage, 0)
	// The first upgrade of a life may lose USR1 and USR2, see package takeover.
	first := r.upgraded(r.before, "2.0")
	r.told("no worker to drain", func(s lifecycle.Status) bool { return len(s.Draining) == 0 })
	r.install("3.0")
	require.NoError(t, os.Remove(r.log))
	r.countAnew(fmt.Sprintf("%s@%d", signal, at))
	got := r.upgrade()
	sent := r.numbers("sent")
	what := fmt.Sprintf("sent %v; upgrade exits with %d: %s", sent, got.Code, got.Stderr)
	outcome = fmt.Sprintf("%s: exit %d, %s", signal, got.Code, upgradeOutcome(got.Stderr))
	upgrades := first.Upgrades + 1
	if len(sent) == 0 {
		require.Equal(t, 0, got.Code, what)
	} else {
		switch signal {
		case "USR1":
			proctest.Eventually(t, func() bool { _, err := os.Stat(r.log); return err == nil }, "the log to be reopened; %s", what)
		case "USR2":
			upgrades++
		}
	}
	var s lifecycle.Status
	if (signal == "TERM" || signal == "INT") && len(sent) > 0 {
		proctest.Eventually(t, func() bool { return len(r.sweptStart.processes()) == 0 && isFree(t, r.releases.pidfile) }, "the end of the daemon; %s", what)
	} else {
		require.Equal(t, 0, got.Code, what)
		r.told("its upgrades", func(s lifecycle.Status) bool { return s.Upgrades == upgrades })
		s = r.settleUpgraded(what)
		require.Equal(t, "3.0", s.WorkerVersion, what)
		require.Equal(t, "3.0", s.Version, what)
		require.Zero(t, s.Restarts, what)
		require.Empty(t, s.LastUpgrade.Note, what)
		reload := r.releases.call("reload") // after it, no earlier one waits
		require.Equal(t, 0, reload.Code, reload.Stderr)
		if heard := r.status().Reloads - 1; signal == "HUP" {
			outcome += fmt.Sprintf(", %d reloads", heard)
		}
	}
	if len(sent) == 0 {
		outcome += ", not sent"
	}
	r.letGo()
	calls = r.numbers("since")[0]
	r.requireTruth(s, what)
	return outcome, calls
}

// executionCalls is more than the calls of a supervisor until its next program catches signals.
const executionCalls = 400

// A signal arrives at any system call of the supervisor around its execve.
func TestASignalAtTheExecveOfAnUpgradeIsHeard(t *testing.T) {
	needsTrace(t)
	t.Parallel()
	_, calls := sweepUpgradeSignal(t, "USR1", 0)
	calls = min(calls, executionCalls)
	t.Logf("system calls of the supervisor since it has sealed its state: %d", calls)
	for _, signal := range proctest.Few(6, []string{"HUP", "TERM", "INT", "USR1", "USR2", "CHLD"}) {
		t.Run(signal, func(t *testing.T) {
			t.Parallel()
			sweepParts(t, calls, proctest.Rounds(3, 4, 4), func(t *testing.T, at int) string {
				outcome, _ := sweepUpgradeSignal(t, signal, at)
				return outcome
			})
		})
	}
}

// A verb whose signal is lost during an upgrade sends it again.
func TestAVerbWhoseSignalIsLostDuringAnUpgradeSendsItAgain(t *testing.T) {
	needsTrace(t)
	t.Parallel()
	for signal, verb := range map[string]struct{ name, said string }{
		"HUP":  {"reload", `reloaded \(.*\)`},
		"USR1": {"reopen", `log reopened \(pid \d+\)`},
		"USR2": {"upgrade", `upgraded \(pid \d+, worker .*\).*`},
	} {
		t.Run(verb.name, func(t *testing.T) {
			t.Parallel()
			r := startSwept(t, daemonStage, 0)
			upgrade, _, gate := r.slowly("3.0")
			r.countAnew(signal + "@lost")
			other := proctest.Start(t, daemon, r.args(verb.name)...)
			proctest.Eventually(t, func() bool { return len(r.numbers("lost")) > 0 }, "the signal to be lost")
			proctest.Touch(t, gate)
			require.Equal(t, 0, upgrade.Wait(), "%s", upgrade.Out)
			require.Equal(t, 0, other.Wait(), "%s", other.Out)
			require.Regexp(t, "^daemon: "+verb.said+"\n$", other.Out.String())
			s := r.settleUpgraded(verb.name)
			r.letGo()
			r.requireTruth(s, verb.name)
		})
	}
}

// TERM ends a supervisor that has just executed its next program, before that catches signals.
func TestAStopWhileTheSupervisorExecutesItsNextProgram(t *testing.T) {
	needsTrace(t)
	t.Parallel()
	r := startSwept(t, daemonStage, "HOLD@exec")
	upgrade := proctest.Start(t, daemon, r.args("upgrade")...)
	proctest.Eventually(t, func() bool { return len(r.numbers("holding")) > 0 }, "the supervisor to execute its next program")
	stop := proctest.Start(t, daemon, r.args("stop")...)
	pending := regexp.MustCompile(`(?m)^ShdPnd:\t.*[4-7c-f][0-9a-f]{3}$`)
	proctest.Eventually(t, func() bool { return pending.MatchString(statusFile(t, r.before.PID)) }, "TERM to be pending")
	r.countAnew(0)
	require.Equal(t, 0, stop.Wait(), "%s", stop.Out)
	require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, .*s\)\n$`, r.before.PID), stop.Out.String())
	require.Equal(t, 1, upgrade.Wait(), "%s", upgrade.Out)
	r.letGo()
	r.requireNothingLeft()
}
