package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// guardRelease is a release of the program guard. The lines of its file does are those of release,
// and:
//
//	noprogram  has no Program
var guardRelease = proctest.Register("guardrelease", func(args []string) int {
	does := releaseDoes()
	for _, what := range does {
		if code, ends := endsInMain(strings.TrimPrefix(what, "main=")); ends {
			return code
		}
	}
	if at := slices.Index(args, "--"); at >= 0 && slices.Contains(does, "noprogram") {
		args = args[:at]
	}
	return runGuard(args, lifecycle.Version(releaseVersion()))
})

// guarded starts release 1.0 of guard with a script of sh as its program.
func guarded(t *testing.T, script string, args ...string) (r *releases, s lifecycle.Status) {
	t.Helper()
	r = deployed(t)
	r.program = guardRelease
	r.startGuard(script, args...)
	return r, r.ready()
}

func (r *releases) startGuard(script string, args ...string) {
	r.t.Helper()
	r.readied(proctest.CallCommand(r.t, r.command(slices.Concat([]string{"supervise=min:-1ns,settle:20ms"}, args, []string{"start", "--", "sh", "-c", script})...)))
}

// guardUpgraded requires that the verb reports that release of guard, and that its program runs on.
func (r *releases) guardUpgraded(before lifecycle.Status, version string) lifecycle.Status {
	r.t.Helper()
	got := r.upgrade()
	require.Equal(r.t, 0, got.Code, "%s%s", got.Stderr, r.said())
	require.Regexp(r.t, fmt.Sprintf(`^daemon: upgraded \(pid %d, program %d runs on, %s → %s, [\d.]+ m?s\)\n$`,
		before.PID, before.Worker, before.Version, version), got.Stderr)
	after := r.ready()
	require.Equal(r.t, before.PID, after.PID)
	require.Equal(r.t, before.Worker, after.Worker)
	require.Equal(r.t, before.Restarts, after.Restarts)
	require.Equal(r.t, before.LastExit, after.LastExit)
	require.Equal(r.t, version, after.Version)
	require.Empty(r.t, after.Draining)
	require.Equal(r.t, strconv.Itoa(after.PID), statusField(r.t, after.Worker, "PPid"))
	r.requireProgram(after.PID, version)
	return after
}

func TestGuardIsUpgradedAndItsProgramRunsOn(t *testing.T) {
	t.Parallel()
	r, s := guarded(t, "trap 'echo it reloads' HUP; echo it runs; while :; do sleep 60 & wait; done",
		"check=echo it checks >&2; grep -E '^Sig(Blk|Ign)' /proc/self/status >&2", "ready=echo it asks >> "+filepath.Join(t.TempDir(), "asked"))
	for n := range 3 {
		version := fmt.Sprintf("2.%d", n)
		r.install(version)
		s = r.guardUpgraded(s, version)
	}
	require.Equal(t, 3, s.Upgrades)
	require.Equal(t, 1, strings.Count(r.said(), "it runs\n"))
	require.NotContains(t, r.said(), "it checks", "the question to a new guard calls no hook")

	// The new guard does all that the old one did.
	require.Equal(t, 0, r.call("reload").Code, "%s", r.said())
	r.awaitSaid("it reloads")
	require.NoError(t, syscall.Kill(s.Worker, syscall.SIGKILL))
	s = r.told("another program", func(now lifecycle.Status) bool {
		return now.Restarts == 1 && now.Phase == lifecycle.Ready && now.Worker != 0
	})
	r.install("3.0")
	s = r.guardUpgraded(s, "3.0")

	// The program dies with its guard.
	require.NoError(t, syscall.Kill(s.PID, syscall.SIGKILL))
	r.requireGone(s.Worker)
	r.startGuard("exec sleep 60")
	r.stop()
}

func TestABadGuardIsRefusedAndItsProgramRunsOn(t *testing.T) {
	t.Parallel()
	r, s := guarded(t, "exec sleep 60", "starttimeout=3s", "stoptimeout=3s")
	for what, tt := range map[string]struct{ does, why string }{
		"dies in main":   {"main=exit:4", `died before it was ready \(exit 4\).*`},
		"hangs in main":  {"main=hang", `not ready after 3s.*`},
		"has no Program": {"noprogram", `the option Program was added or removed: use the verb restart to change that`},
	} {
		t.Run(what, func(t *testing.T) {
			r.install(strings.ReplaceAll(what, " ", "-"), tt.does)
			got := r.upgrade()
			require.Regexp(t, `(?s)^daemon: upgrade refused, the old one serves: `+tt.why+`\n$`, got.Stderr)
			require.Equal(t, 1, got.Code)
			after := r.ready()
			require.Equal(t, s.PID, after.PID)
			require.Equal(t, s.Worker, after.Worker)
			require.Zero(t, after.Restarts)
			require.NotEmpty(t, after.LastUpgrade.Error)
			r.requireProgram(s.PID, "1.0")
			proctest.Eventually(t, func() bool { return len(r.processes()) == 1 }, "nothing of the new guard to be left")
		})
	}
	require.NoError(t, os.Remove(filepath.Join(r.dir, "current")))
	got := r.upgrade()
	require.Contains(t, got.Stderr, "no such file or directory")
	require.Equal(t, 1, got.Code)
	r.install("2.0")
	r.guardUpgraded(s, "2.0")
	r.stop()
}

// OnSignal(USR2) passes the signal on to the program.
func TestAGuardThatPassesUSR2OnIsNotUpgraded(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(b.guard("trap 'echo it has USR2' USR2; while :; do sleep 60 & wait; done", "supervise=min:-1ns,settle:20ms", "start"))
	pid := b.status().PID
	got := b.call("upgrade")
	require.Equal(t, proctest.Result{Code: 3, Stderr: fmt.Sprintf("daemon: upgrade: pid %d forwards USR2 to the program that it supervises, "+
		"or uses an earlier release of this library: unsupported operation: use `daemon restart`\n", pid)}, got)
	require.NotContains(t, b.said(), "it has USR2")
	require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
	b.awaitSaid("it has USR2")
	b.stop()
}
