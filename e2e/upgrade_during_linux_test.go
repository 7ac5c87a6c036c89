package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// slowly installs a release whose OnStart waits for the returned gate, and begins to upgrade to it.
// It returns when the new worker waits.
func (r *releases) slowly(version string, does ...string) (verb *proctest.Process, s lifecycle.Status, gate string) {
	r.t.Helper()
	gate = filepath.Join(r.t.TempDir(), "gate")
	r.install(version, append(does, "start=until:"+gate)...)
	verb = proctest.Start(r.t, daemon, r.args("upgrade")...)
	s = r.told("a new worker to start", func(s lifecycle.Status) bool { return s.Upgrading != 0 && s.Doing == "upgrade" })
	return verb, s, gate
}

func TestASignalDuringAnUpgradeIsHeardAfterIt(t *testing.T) {
	t.Parallel()
	for sig, verdict := range map[syscall.Signal]func(lifecycle.Status) *lifecycle.Verdict{
		syscall.SIGHUP:  func(s lifecycle.Status) *lifecycle.Verdict { return s.LastReload },
		syscall.SIGUSR1: func(s lifecycle.Status) *lifecycle.Verdict { return s.LastReopen },
	} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			r := deployed(t)
			s := r.begin()
			upgrade, during, gate := r.slowly("2.0")
			require.Equal(t, s.Worker, during.Worker)
			require.Equal(t, lifecycle.Ready, during.Phase, "the old worker serves")
			require.NoError(t, syscall.Kill(s.PID, sig))
			r.awaitPending(s.PID)
			require.Nil(t, verdict(during))
			proctest.Touch(t, gate)
			require.Equal(t, 0, upgrade.Wait(), "%s", upgrade.Out)
			after := r.told("the verdict", func(s lifecycle.Status) bool { return verdict(s) != nil })
			require.Empty(t, verdict(after).Error)
			require.Equal(t, "2.0", after.WorkerVersion)
			require.Greater(t, verdict(after).Began, after.LastUpgrade.Began+after.LastUpgrade.Took)
			r.stop()
		})
	}
}

// A verb gets its verdict even if its signal arrives while the new program is being executed.
func TestAReloadAtAnyMomentOfAnUpgradeHasItsVerdict(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	r.begin()
	r.install("2.0")
	for range proctest.Rounds(5, 20, 200) {
		upgrade := proctest.Start(t, daemon, r.args("upgrade")...)
		for reloads := 0; reloads == 0 || !isDone(upgrade); reloads++ {
			got := r.call("reload")
			require.Equal(t, 0, got.Code, "%s", got.Stderr)
		}
		require.Equal(t, 0, upgrade.Wait(), "%s", upgrade.Out)
	}
	r.stop()
}

// awaitPending waits until no signal is pending for the process. After that, the supervisor knows
// each signal that another process sent before the call.
func (r *releases) awaitPending(pid int) {
	r.t.Helper()
	pending := regexp.MustCompile(`(?m)^ShdPnd:\t0+$`)
	proctest.Eventually(r.t, func() bool { return pending.MatchString(statusFile(r.t, pid)) }, "no signal to be pending")
}

func statusFile(t *testing.T, pid int) string {
	t.Helper()
	return string(readFile(t, "/proc/"+strconv.Itoa(pid)+"/status"))
}

func TestAStopDuringAnUpgradeWins(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	r.begin()
	upgrade, _, _ := r.slowly("2.0", "stoptimeout=1s")
	require.Equal(t, 0, r.call("stop").Code)
	require.Equal(t, 1, upgrade.Wait())
	require.Regexp(t, `^daemon: upgrade: (not upgraded: the daemon is stopping|no verdict: pid \d+ ended during the upgrade)\n$`, upgrade.Out.String())
	r.requireNothingLeft()
}

// Row K17.
func TestAnotherUpgradeWaitsForItsOwnVerdict(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	s := r.begin()
	first, _, gate := r.slowly("2.0")
	second := proctest.Start(t, daemon, r.args("upgrade")...)
	r.awaitPending(s.PID)
	proctest.Touch(t, gate)
	require.Equal(t, 0, first.Wait(), "%s", first.Out)
	require.Equal(t, 0, second.Wait(), "%s", second.Out)
	after := r.ready()
	require.GreaterOrEqual(t, after.Upgrades, 1)
	require.Equal(t, s.PID, after.PID)
	r.stop()
}

// Row D12.
func TestTheOldWorkerIsKilledDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	s := r.begin()
	upgrade, _, gate := r.slowly("2.0")
	require.NoError(t, syscall.Kill(s.Worker, syscall.SIGKILL))
	again := r.told("another old worker", func(now lifecycle.Status) bool {
		return now.Worker != 0 && now.Worker != s.Worker && now.Phase == lifecycle.Ready
	})
	r.requireProgram(again.Worker, "1.0")
	proctest.Touch(t, gate)
	require.Equal(t, 0, upgrade.Wait(), "%s", upgrade.Out)
	after := r.ready()
	require.Equal(t, "2.0", after.WorkerVersion)
	require.Equal(t, 1, after.Restarts)
	r.requireProgram(after.PID, "2.0")
	r.stop()
}

// Row D13.
func TestTheNewWorkerIsKilledDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	s := r.begin()
	upgrade, during, _ := r.slowly("2.0")
	require.NoError(t, syscall.Kill(during.Upgrading, syscall.SIGKILL))
	require.Equal(t, 1, upgrade.Wait())
	require.Regexp(t, `^daemon: upgrade refused, the old one serves: .*SIGKILL`, upgrade.Out.String())
	after := r.ready()
	require.Equal(t, s.Worker, after.Worker)
	require.Zero(t, after.Restarts)
	r.stop()
}

// The workers stop within a second, and the next start works.
func TestTheSupervisorIsKilledDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	r := deployed(t)
	s := r.begin()
	upgrade, during, _ := r.slowly("2.0", "exit=until:"+gate)
	require.NoError(t, syscall.Kill(s.PID, syscall.SIGKILL))
	require.Equal(t, 1, upgrade.Wait())
	require.Regexp(t, `^daemon: upgrade: no verdict: pid \d+ ended during the upgrade\n$`, upgrade.Out.String())
	r.requireGone(s.Worker)
	r.requireGone(during.Upgrading)
	r.install("3.0")
	after := r.begin()
	require.Equal(t, "3.0", after.WorkerVersion)
	require.NotEqual(t, s.PID, after.PID)
	require.Len(t, r.processes(), 2)
	r.stop()
}

// Row D14.
func TestTheNewWorkerIsKilledRightAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	s := r.begin()
	for n := range 3 {
		version := fmt.Sprintf("2.%d", n)
		r.install(version)
		s = r.upgraded(s, version)
		require.NoError(t, syscall.Kill(s.Worker, syscall.SIGKILL))
		r.requireProgram(r.worker(s.Worker), version)
		s = r.ready()
	}
	require.Equal(t, 3, s.Restarts)
	r.stop()
}

// Rows K19, K21.
func TestManyUpgradesBackToBack(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	s := r.begin()
	r.install("2.0")
	rounds := proctest.Rounds(6, 20, 100)
	for n := range rounds {
		version := []string{"2.0", "1.0"}[n%2]
		r.flip(version)
		s = r.upgraded(s, version)
		require.Equal(t, n+1, s.Upgrades)
	}
	require.Zero(t, s.Restarts)
	proctest.Eventually(t, func() bool { return len(r.processes()) == 2 }, "the old workers to end")
	descriptors := func() int { return descriptorsOf(t, s.PID) }
	before := descriptors()
	for n := range 2 {
		version := []string{"2.0", "1.0"}[n%2]
		r.flip(version)
		s = r.upgraded(s, version)
	}
	proctest.Eventually(t, func() bool { return len(r.processes()) == 2 && descriptors() <= before }, "no descriptor to be left")
	r.stop()
}

func TestAnUpgradeShowsOnATerminalWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	r := deployed(t)
	r.begin()
	gate := filepath.Join(t.TempDir(), "gate")
	r.install("2.0", "start=until:"+gate)
	s := newScreen(t, 80)
	verb := s.verb(nil, r.args("upgrade")...)
	during := r.told("a new worker to start", func(s lifecycle.Status) bool { return s.Upgrading != 0 })
	s.awaitText(fmt.Sprintf("waiting for worker %d to be ready: ", during.Upgrading))
	proctest.Touch(t, gate)
	require.Equal(t, 0, verb.Wait(), "%s", s)
	s.awaitText("daemon: upgraded (pid ")
	r.stop()
}
