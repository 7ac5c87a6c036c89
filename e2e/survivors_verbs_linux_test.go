package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/proc"
)

// survivingGuard starts guard with a shell script whose processes outlive the supervisor. If the
// test runs as root, the shell and its children do, because they run as another user. Otherwise
// only the children do. survivingGuard kills the supervisor, and returns the PIDs of the survivors
// that announced themselves.
func (b *background) survivingGuard(script string, args ...string) (left []int) {
	b.t.Helper()
	argv := []string{"sh", "-c", script}
	n := strings.Count(script, "I am")
	if os.Geteuid() == 0 {
		proctest.Needs(b.t, "setpriv")
		argv = append(strings.Fields(changesUser), argv...)
	}
	b.readied(proctest.Call(b.t, guard, append(b.args(append(args, "start", "--")...), argv...)...))
	worker := b.worker(0)
	left = b.announced(n)
	b.killSupervisor()
	if os.Geteuid() != 0 {
		proctest.Eventually(b.t, func() bool { return hasEnded(worker) }, "the end of the worker")
	}
	for _, pid := range left {
		require.False(b.t, hasEnded(pid), "%d outlives its supervisor, or this test shows nothing", pid)
	}
	return left
}

// announcer is a child of a shell that announces itself and ends on TERM.
const announcer = "sh -c 'echo I am $$; exec sleep 60' & "

// untilSignalled is the last part of a shell script. The script then ends on INT only.
const untilSignalled = "trap 'echo got INT; exit 0' INT; trap '' TERM; while :; do sleep 0.01; done"

// Row D10.
func TestStopEndsTheSurvivorsOfAKilledSupervisor(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	left := b.survivingGuard(announcer+announcer+untilSignalled, "supervise=stopsignal:2,settle:20ms")
	supervisor := b.lastPID()
	status := b.call("status")
	require.Equal(t, 1, status.Code, "%s", status.Stdout)
	require.Contains(t, status.Stdout, "dead: pid "+strconv.Itoa(supervisor))
	require.Contains(t, status.Stdout, "processes of its worker still run: ")
	for _, pid := range left {
		require.Contains(t, status.Stdout, itsPID(pid))
	}
	require.Contains(t, b.call("status", "--json").Stdout, `"left": "processes of its worker still run: `)

	got := b.call("stop") // with another program, and with other options
	require.Equal(t, 0, got.Code, "%s", got.Stderr)
	require.Regexp(t, fmt.Sprintf(`^daemon: ended what pid %d left behind \([\d.]+ m?s\): `, supervisor), got.Stderr)
	require.NotContains(t, got.Stderr, "killed")
	for _, pid := range left {
		require.True(t, hasEnded(pid))
		require.Contains(t, got.Stderr, itsPID(pid))
	}
	if os.Geteuid() == 0 {
		require.Contains(t, b.said(), "got INT", "the StopSignal of the policy of that supervisor")
	}
	b.requireNothingLeft()
	require.Equal(t, 7, b.call("stop").Code)
	require.Equal(t, 3, b.call("status").Code)
}

// itsPID returns the PID as messages show it. The name of a process changes when it executes a
// program.
func itsPID(pid int) string { return fmt.Sprintf("(pid %d)", pid) }

// removeFiles removes the files of a daemon that was killed.
func (b *background) removeFiles() {
	b.t.Helper()
	require.NoError(b.t, os.Remove(b.pidfile))
	require.NoError(b.t, os.Remove(proctest.StatePath(b.pidfile)))
}

// lastPID returns the PID in the PID file.
func (b *background) lastPID() int {
	b.t.Helper()
	return mustLook(b.t, b.pidfile).Number
}

// Row D10.
func TestStopKillsASurvivorThatDoesNotStop(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	left := b.survivingGuard("trap '' TERM; "+announcer+"while :; do sleep 0.01; done", "supervise=settle:20ms", "stoptimeout=100ms")
	got := b.call("stop")
	require.Equal(t, 0, got.Code, "%s", got.Stderr)
	_, killed, _ := strings.Cut(got.Stderr, "; killed: ")
	require.Contains(t, killed, itsPID(left[0]))
	require.True(t, hasEnded(left[0]))
	b.requireNothingLeft()
}

// Row D10.
func TestStopQuietlyEndsTheSurvivorsOfAKilledSupervisor(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	left := b.survivingGuard(announcer+"while :; do sleep 0.01; done", "supervise=settle:20ms")
	require.Equal(t, proctest.Result{}, b.call("stop", "--quiet"))
	require.True(t, hasEnded(left[0]))
	b.requireNothingLeft()
}

// Row D10.
func TestStopNamesTheSurvivorsThatItCannotEnd(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, withoutKill...)
	t.Parallel()
	b := inBackground(t)
	left := b.survivingGuard(strings.TrimSuffix(announcer, "& ") + "; :")
	refusal := "daemon: stop: cannot end processes of an earlier worker: "
	for range 2 {
		got := proctest.CallCommand(t, proctest.Wrapped(withoutKill, daemon, b.args("stop")...))
		require.Equal(t, 4, got.Code, "%s", got.Stderr)
		require.Contains(t, got.Stderr, refusal)
		require.Contains(t, got.Stderr, "operation not permitted: end them first")
		require.False(t, hasEnded(left[0]))
		require.Equal(t, 1, b.call("status").Code)
	}
	require.Equal(t, 0, b.call("stop").Code)
	require.True(t, hasEnded(left[0]))
	b.requireNothingLeft()
}

// Row D10.
func TestStopSignalsNoProcessThatMayNotBelongToTheWorker(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	pid, left := leader(t, "sleep 60 >/dev/null & echo $!")
	proctest.Eventually(t, func() bool { return hasEnded(pid) }, "the end of the leader")
	require.NoError(t, reap(pid))
	b.writeMark(pid, "another-boot/1")
	want := "daemon: stop: these processes may belong to an earlier worker: " + named(t, left) + ": end them, or delete the state file if they do not\n"
	require.Equal(t, proctest.Result{Stderr: want, Code: 1}, b.call("stop"))
	require.False(t, hasEnded(left))
	b.removeFiles()
}

// A user who can write the state file could name any process in it.
func TestStopByRootSignalsOnlyProcessesOfTheOwnerOfTheFiles(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	b := inBackground(t)
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	b.writeMark(cmd.Process.Pid, proc.Identity(cmd.Process.Pid))
	const nobody = 65534
	require.NoError(t, os.Chown(filepath.Dir(b.pidfile), nobody, nobody))
	for _, path := range []string{b.pidfile, proctest.StatePath(b.pidfile)} {
		require.NoError(t, os.Chown(path, nobody, nobody))
	}
	got := b.call("stop")
	require.Equal(t, 1, got.Code, "%s", got.Stderr)
	require.Contains(t, got.Stderr, "may belong to an earlier worker: "+named(t, cmd.Process.Pid))
	require.False(t, hasEnded(cmd.Process.Pid))
	b.removeFiles()
}

// Row D10.
func TestProcessKillEndsTheProcessesOfTheWorkerToo(t *testing.T) {
	proctest.Needs(t, "root", "setpriv")
	t.Parallel()
	b := inBackground(t)
	argv := append(strings.Fields(changesUser), "sh", "-c", "setsid "+announcer+"trap '' TERM; echo I am $$; while :; do sleep 0.01; done")
	b.readied(proctest.Call(t, guard, append(b.args("supervise=settle:20ms", "start", "--"), argv...)...))
	left := b.announced(2)
	found, err := lifecycle.Find(b.pidfile)
	require.NoError(t, err)
	defer found.Close()
	ctx, cancel := context.WithTimeout(context.Background(), proctest.Patience)
	defer cancel()
	require.NoError(t, found.Kill(ctx))
	for _, pid := range left {
		require.True(t, hasEnded(pid), "pid %d", pid)
	}
	b.removeFiles()
}

// Row D10.
func TestProcessStopEndsTheSurvivorsOfAKilledSupervisor(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	argv := []string{"sh", "-c", announcer + "wait"}
	b.readied(proctest.Call(t, guard, append(b.args("supervise=settle:20ms", "start", "--"), argv...)...))
	left := b.announced(1)
	found, err := lifecycle.Find(b.pidfile)
	require.NoError(t, err)
	defer found.Close()
	b.killSupervisor()
	require.False(t, hasEnded(left[0]))
	ctx, cancel := context.WithTimeout(context.Background(), proctest.Patience)
	defer cancel()
	require.NoError(t, found.Stop(ctx), "it was already gone")
	require.True(t, hasEnded(left[0]))
	b.removeFiles()
}

// Row D10.
func TestAStartWithoutASupervisorEndsSurvivors(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"start", "run"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			left := b.survivingGuard(announcer+untilSignalled, "supervise=stopsignal:2,settle:20ms")
			if verb == "start" {
				b.start()
			} else {
				proctest.Start(t, daemon, b.args("run")...)
				b.told("the daemon to be ready", func(s lifecycle.Status) bool { return s.Phase == lifecycle.Ready })
			}
			require.True(t, hasEnded(left[0]))
			require.Empty(t, b.status().WorkerMark, "the state file has no record of survivors any more")
			b.stop()
		})
	}
}

// Row D10.
func TestAStartWithoutASupervisorIsRefusedBesideSurvivors(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, withoutKill...)
	t.Parallel()
	b := inBackground(t)
	left := b.survivingGuard(strings.TrimSuffix(announcer, "& ") + "; :")
	for range 2 {
		got := proctest.CallCommand(t, proctest.Wrapped(withoutKill, daemon, b.args("start")...))
		require.NotZero(t, got.Code)
		require.Regexp(t, regexp.QuoteMeta("daemon: start failed: cannot end processes of an earlier worker: ")+".*: operation not permitted: end them first", got.Stderr)
		require.False(t, hasEnded(left[0]))
		require.Contains(t, b.call("status").Stdout, itsPID(left[0]))
	}
	b.start()
	require.True(t, hasEnded(left[0]))
	b.stop()
}

// Row D10.
func TestARestartEndsTheSurvivorsOfADeadSupervisor(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	left := b.survivingGuard(announcer+untilSignalled, "supervise=stopsignal:2,settle:20ms")
	b.readied(b.guard("exec sleep 60", "restart"))
	require.True(t, hasEnded(left[0]))
	require.Equal(t, 0, b.status().Restarts)
	b.stop()
}

// A worker of this binary stops without a signal, and its hooks run.
// Row D10.
func TestStopWaitsForTheWorkerOfThisBinaryAndEndsItsChildren(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.start(atOnce, "start=leave")
	left, worker := b.announced(1)[0], b.worker(0)
	b.killSupervisor()
	got := b.call("stop")
	require.Equal(t, 0, got.Code, "%s", got.Stderr)
	require.Contains(t, got.Stderr, itsPID(left))
	require.NotContains(t, got.Stderr, itsPID(worker), "no process signals the worker")
	require.True(t, hasEnded(worker))
	require.True(t, hasEnded(left))
	require.Contains(t, b.said(), "the supervisor of this worker has ended")
	b.requireNothingLeft()
}
