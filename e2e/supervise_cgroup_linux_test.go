package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// guardIn runs the program guard here, in a control group, with a script of sh.
func (b *background) guardIn(dir, script string, args ...string) proctest.Result {
	b.t.Helper()
	cmd := proctest.Command(guard, append(b.args(args...), "--", "sh", "-c", script)...)
	return proctest.CallCommand(b.t, proctest.InCgroup(b.t, cmd, dir))
}

// requireOwnGroup requires that the worker has a group inside the group of its supervisor, and that
// there is no other group.
func (b *background) requireOwnGroup(dir string, worker int) (group string) {
	b.t.Helper()
	parent := proctest.CgroupOf(b.t, b.status().PID)
	require.Equal(b.t, filepath.Base(dir), filepath.Base(parent))
	groups := proctest.Cgroups(b.t, dir)
	require.Len(b.t, groups, 1)
	require.Equal(b.t, filepath.Join(parent, filepath.Base(groups[0])), proctest.CgroupOf(b.t, worker))
	return groups[0]
}

func TestAWorkerHasItsOwnControlGroupIfTheSupervisorsGroupIsDelegated(t *testing.T) {
	t.Parallel()
	dir := proctest.Cgroup(t, true)
	b := inBackground(t)
	own := proctest.Command(daemon, b.args(atOnce, "start")...)
	b.readied(proctest.CallCommand(t, proctest.InCgroup(t, own, dir)))
	for range 5 {
		worker := b.worker(0)
		b.requireOwnGroup(dir, worker)
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
		b.worker(worker)
	}
	b.stop()
	require.Empty(t, proctest.Cgroups(t, dir))

	b.readied(b.guardIn(dir, "exec sleep 60", "user=12345:12345", "start"))
	b.requireOwnGroup(dir, b.worker(0))
	b.stop()
	require.Empty(t, proctest.Cgroups(t, dir))

	got := b.guardIn(dir, "exit 7", "supervise=settle:1h", "start")
	require.Equal(t, 1, got.Code)
	noProgram := proctest.Command(guard, append(b.args("start"), "--", dir+"/cgroup.procs")...)
	got = proctest.CallCommand(t, proctest.InCgroup(t, noProgram, dir))
	require.NotZero(t, got.Code, "the program cannot be executed")
	require.Empty(t, proctest.Cgroups(t, dir))
}

func TestAControlGroupThatIsNotDelegatedIsNotChanged(t *testing.T) {
	t.Parallel()
	dir := proctest.Cgroup(t, false)
	b := inBackground(t)
	b.readied(b.guardIn(dir, leaves+" exec sleep 60", "supervise=min:-1ns,settle:20ms", killsSoon, "start"))
	worker := b.worker(0)
	b.left(2)
	require.Equal(t, proctest.CgroupOf(t, b.status().PID), proctest.CgroupOf(t, worker))
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.worker(worker)
	require.Empty(t, proctest.Cgroups(t, dir))
	b.stopKilling()
	require.Empty(t, proctest.Cgroups(t, dir))
}

// noChild starts a process that is no descendant of a supervisor and ignores TERM.
func noChild(t *testing.T, script string) *proctest.Process {
	t.Helper()
	p := proctest.Launch(t, exec.Command("sh", "-c", script+" echo stays; while :; do sleep 0.02; done"))
	p.Await("stays")
	return p
}

func enterCgroup(t *testing.T, group string, pid int) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0))
}

// Row H8.
func TestEveryProcessInTheGroupOfAWorkerEndsWithTheWorker(t *testing.T) {
	t.Parallel()
	dir := proctest.Cgroup(t, true)
	b := inBackground(t)
	b.readied(b.guardIn(dir, leaves+" exec sleep 60", "supervise=min:-1ns,settle:20ms", killsSoon, "start"))
	worker := b.worker(0)
	group := b.requireOwnGroup(dir, worker)
	left := b.left(2)
	heeds, ignores := noChild(t, "trap 'exit 9' TERM;"), noChild(t, "trap '' TERM;")
	enterCgroup(t, group, heeds.PID())
	enterCgroup(t, group, ignores.PID())
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.requireOwnGroup(dir, b.worker(worker))
	for _, pid := range left {
		require.True(t, proctest.IsOver(pid), "pid %d", pid)
	}
	require.Equal(t, 9, heeds.Wait(), "the process gets TERM first")
	require.Equal(t, -1, ignores.Wait())
	b.left(4) // those of the next worker
	b.stopKilling()
	require.Empty(t, proctest.Cgroups(t, dir))
}

func TestAWorkerOfRootThatLeavesItsControlGroupIsEnded(t *testing.T) {
	t.Parallel()
	dir := proctest.Cgroup(t, true)
	other := proctest.Cgroup(t, false)
	b := inBackground(t)
	leaver := fmt.Sprintf(`(echo 0 >%s/cgroup.procs; %s) & wait; exec sleep 60`, other, leaves)
	b.readied(b.guardIn(dir, leaver, "supervise=min:-1ns,settle:20ms", killsSoon, "start"))
	worker := b.worker(0)
	left := b.left(2)
	require.Equal(t, filepath.Base(other), filepath.Base(proctest.CgroupOf(t, left[0])))
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.worker(worker)
	for _, pid := range left {
		require.True(t, proctest.IsOver(pid), "pid %d", pid)
	}
	b.left(4) // those of the next worker
	b.stopKilling()
	require.Empty(t, proctest.Cgroups(t, dir))
}

func TestASecondInterruptEndsEveryProcessInTheGroupOfTheWorker(t *testing.T) {
	t.Parallel()
	dir := proctest.Cgroup(t, true)
	pidfile := proctest.PIDPath(t)
	cmd := proctest.Command(guard, "pidfile="+pidfile, "supervise=foreground,settle:20ms", "run", "--",
		"sh", "-c", `trap "" TERM; echo starts; exec sleep 60`)
	p := proctest.Launch(t, proctest.InCgroup(t, cmd, dir))
	p.Await("INFO ready")
	ignores := noChild(t, "trap '' TERM;")
	groups := proctest.Cgroups(t, dir)
	require.Len(t, groups, 1)
	enterCgroup(t, groups[0], ignores.PID())
	p.Signal(syscall.SIGTERM)
	p.ForceQuit()
	require.Equal(t, 1, p.Wait())
	require.Equal(t, -1, ignores.Wait())
	require.Empty(t, proctest.Cgroups(t, dir))
}

// A worker with root rights can change its group in any way. The next worker starts, with another
// group.
func TestAWorkerOfRootThatDamagesItsControlGroupIsRestarted(t *testing.T) {
	t.Parallel()
	for what, script := range map[string]string{
		"threads": `echo threaded >$G/cgroup.type`,
		"inner": `export G; mkdir -p $G/a/b $G/c && echo 1 >$G/c/cgroup.freeze
(sh -c 'echo $$ >$G/a/b/cgroup.procs; exec sleep 60' &)`,
		"frozen": `[ -e $F ] || { : >$F; sleep 60 & echo 1 >$G/cgroup.freeze; }`,
		"gone":   `echo 0 >$G/../cgroup.procs && rmdir $G`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := proctest.Cgroup(t, true)
			b := inBackground(t)
			names := fmt.Sprintf("G=$(echo %s/lifecycle-*); F=%s/once\n", dir, t.TempDir())
			script := names + script + "\necho done; exec sleep 60"
			b.readied(b.guardIn(dir, script, "supervise=min:-1ns,settle:20ms", killsSoon, "start"))
			worker := b.worker(0)
			proctest.Eventually(t, func() bool {
				if what != "frozen" {
					return strings.Contains(b.said(), "done\n")
				}
				groups := proctest.Cgroups(t, dir)
				require.Len(t, groups, 1)
				events := filepath.Join(groups[0], "cgroup.events")
				return strings.Contains(string(readFile(t, events)), "frozen 1")
			}, "it to be done")
			require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
			b.worker(worker)
			b.stop()
			require.Empty(t, proctest.Cgroups(t, dir))
		})
	}
}

// Row H2.
func TestAForkBombOfAWorkerEndsWithItsControlGroup(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "prlimit")
	dir := proctest.Cgroup(t, true)
	gate := filepath.Join(t.TempDir(), "gate")
	proctest.Touch(t, gate)
	b := inBackground(t)
	// Some processes are in sessions of their own, some fork and exit all the time, and all ignore
	// TERM. The latter start last: on a busy machine their zombies can reach the limit.
	bomb := `trap "" TERM; for i in $(seq 60); do setsid sleep 60 & done
f() { [ -e ` + gate + ` ] && f & }; f; f; f; f; wait`
	script := "prlimit --nproc=500 setsid sh -c '" + bomb + "' >/dev/null 2>&1 & exec sleep 60"
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(gate)), 0o755))
	b.readied(b.guardIn(dir, script, "user=12347:12347", "supervise=min:-1ns,settle:20ms", killsSoon, "start"))
	worker := b.worker(0)
	group := b.requireOwnGroup(dir, worker)
	awaitBomb := func(group string) {
		proctest.Eventually(t, func() bool {
			text, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
			return strings.Count(string(text), "\n") >= 60
		}, "60 processes")
	}
	awaitBomb(group)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	next := b.worker(worker)
	require.NoDirExists(t, group)
	awaitBomb(b.requireOwnGroup(dir, next)) // they ignore TERM by now
	b.stopKilling()
	require.Empty(t, proctest.Cgroups(t, dir))
}

// Row D10.
func TestTheNextStartEndsTheControlGroupOfAKilledSupervisor(t *testing.T) {
	t.Parallel()
	dir := proctest.Cgroup(t, true)
	b := inBackground(t)
	b.readied(b.guardIn(dir, leaves+" exec sleep 60", "supervise=min:-1ns,settle:20ms", killsSoon, "start"))
	worker, parent := b.worker(0), b.status().PID
	group := b.requireOwnGroup(dir, worker)
	left := b.left(2)
	require.NoError(t, syscall.Kill(parent, syscall.SIGKILL))
	proctest.Eventually(t, func() bool { return proctest.IsOver(worker) && proctest.IsOver(parent) }, "their end")
	for _, pid := range left {
		require.False(t, proctest.IsOver(pid), "pid %d", pid)
	}
	require.DirExists(t, group)
	other := inBackground(t)
	other.readied(other.guardIn(dir, "exec sleep 60", "start"))
	require.DirExists(t, group, "the group of another daemon")
	other.stop()

	b.readied(b.guardIn(dir, "exec sleep 60", "start"))
	for _, pid := range left {
		require.True(t, proctest.IsOver(pid), "pid %d", pid)
	}
	require.NoDirExists(t, group)
	b.requireOwnGroup(dir, b.worker(0))
	b.stop()
	require.Empty(t, proctest.Cgroups(t, dir))
}

func TestTheNextStartRemovesEmptyGroupsOfAKilledSupervisor(t *testing.T) {
	t.Parallel()
	dir := proctest.Cgroup(t, true)
	b := inBackground(t)
	b.crashes = true
	b.readied(b.guardIn(dir, "exec sleep 60", "start"))
	worker, parent := b.worker(0), b.status().PID
	group := b.requireOwnGroup(dir, worker)
	require.NoError(t, syscall.Kill(parent, syscall.SIGKILL))
	proctest.Eventually(t, func() bool { return proctest.IsOver(worker) && proctest.IsOver(parent) }, "their end")
	other := inBackground(t)
	other.readied(other.guardIn(dir, "exec sleep 60", "start"))
	require.NoDirExists(t, group)
	other.stop()
	require.NoError(t, os.Remove(b.pidfile))
	require.NoError(t, os.Remove(proctest.StatePath(b.pidfile)))
}
