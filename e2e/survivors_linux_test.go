package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/statefile"
	"example.com/lifecycle/internal/sys/pin"
	"example.com/lifecycle/internal/sys/proc"
)

// changesUser is a command that makes its arguments a process of another user. The kernel then no
// longer kills it with its supervisor (PR_SET_PDEATHSIG(2const)).
const changesUser = "setpriv --reuid=65534 --clear-groups --bounding-set=-all --inh-caps=-all "

// named returns the process as messages name it.
func named(t *testing.T, pid int) string {
	t.Helper()
	p, ok := proc.Of(pid)
	require.True(t, ok, "pid %d", pid)
	return fmt.Sprintf("%s (pid %d)", p.Name, pid)
}

// killSupervisor kills the supervisor only, and awaits its end.
func (b *background) killSupervisor() {
	b.t.Helper()
	require.NoError(b.t, syscall.Kill(b.status().PID, syscall.SIGKILL))
	proctest.Eventually(b.t, func() bool { return !mustLook(b.t, b.pidfile).Held }, "the end of the supervisor")
}

var iAm = proctest.Pattern(`(?m)^I am (\d+)$`)

// announced waits until the log has n PIDs, and returns them. It kills them after the test.
func (b *background) announced(n int) (pids []int) {
	b.t.Helper()
	proctest.Eventually(b.t, func() bool { return len(iAm().FindAllString(b.said(), -1)) >= n }, "%d processes", n)
	for _, found := range iAm().FindAllStringSubmatch(b.said(), -1) {
		pid, err := strconv.Atoi(found[1])
		require.NoError(b.t, err)
		pids = append(pids, pid)
		p, err := pin.Open(pid) // later, another process may have that PID
		if err != nil {
			continue // it has ended
		}
		b.t.Cleanup(func() {
			if b.t.Failed() {
				_ = p.Signal(syscall.SIGKILL)
			}
			_ = p.Close()
		})
	}
	return pids
}

// Row D10.
func TestSurvivorsOfAKilledSupervisorAreEndedBeforeTheNextWorkerStarts(t *testing.T) {
	t.Parallel()
	const child = "sh -c 'echo I am $$; exec sleep 60' & "
	for what, tt := range map[string]struct {
		script, prefix string
		says           string // in the log, before the next worker starts
		survivors      int
	}{
		"it changed its user": {
			prefix: changesUser, survivors: 1, says: "got INT",
			script: "trap 'echo got INT; exit 0' INT; trap '' TERM; echo I am $$; while :; do sleep 0.01; done",
		},
		"its children are left": {script: child + child + "wait", survivors: 2, says: "left behind"},
		"a child of another user's session": {
			prefix: changesUser, survivors: 2, says: "left behind",
			script: "setsid " + child + "echo I am $$; trap 'exit 0' INT; while :; do sleep 0.01; done",
		},
		"a child in a group of its own": {script: "set -m; " + child + "set +m; wait", survivors: 1, says: "left behind"},
		"it ignores TERM":               {script: "trap '' TERM; " + child + "wait", survivors: 1, says: "killing a process that an earlier worker left behind"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			if tt.prefix != "" {
				proctest.Needs(t, "root", "setpriv")
			}
			b := inBackground(t)
			start := func(script string) proctest.Result {
				argv := append(strings.Fields(tt.prefix), "sh", "-c", script)
				return proctest.Call(t, guard, append(b.args("supervise=stopsignal:2,settle:20ms", "stoptimeout=100ms", "start", "--"), argv...)...)
			}
			b.readied(start(tt.script))
			worker := b.worker(0)
			left := b.announced(tt.survivors)
			require.Len(t, left, tt.survivors)
			b.killSupervisor()
			if !strings.Contains(fmt.Sprint(left), strconv.Itoa(worker)) {
				proctest.Eventually(t, func() bool { return hasEnded(worker) }, "the end of the worker")
			}
			for _, pid := range left {
				require.False(t, hasEnded(pid), "%d outlives its supervisor, or this test shows nothing", pid)
			}
			b.readied(start("exec sleep 60"))
			for _, pid := range left {
				require.True(t, hasEnded(pid), "pid %d", pid)
			}
			require.Contains(t, b.said(), tt.says)
			b.stop()
		})
	}
}

func init() {
	misdeeds["leave"] = func() {
		cmd := exec.Command("sh", "-c", "echo I am $$; exec sleep 60")
		cmd.Stdout = os.Stdout
		_ = cmd.Start()
	}
}

// Row D10.
func TestProcessesLeftByAWorkerOfThisBinaryAreEndedBeforeTheNextWorkerStarts(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.start(atOnce, "start=leave")
	left := b.announced(1)[0]
	worker := b.worker(0)
	parent := b.status().PID
	require.NoError(t, syscall.Kill(parent, syscall.SIGKILL))
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	proctest.Eventually(t, func() bool { return hasEnded(worker) && !mustLook(t, b.pidfile).Held }, "their end")
	require.False(t, hasEnded(left))
	b.start(atOnce)
	require.True(t, hasEnded(left))
	b.stop()
}

func TestKeepOrphansEndsOnlyTheProcessGroup(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	script := "setsid sh -c 'echo I am $$; exec sleep 60' & sleep 60 & wait"
	b.readied(b.guard(script, "supervise=keep,settle:20ms", "start"))
	kept := b.announced(1)[0]
	t.Cleanup(func() { _ = syscall.Kill(kept, syscall.SIGKILL) })
	b.killSupervisor()
	b.readied(b.guard("exec sleep 60", "supervise=keep", "start"))
	require.False(t, hasEnded(kept))
	require.Contains(t, b.said(), "name=sleep")
	b.stop()
	require.NoError(t, syscall.Kill(kept, syscall.SIGKILL))
}

// Two instances never run, even if a start is tried several times.
func TestASurvivorThatCannotBeEndedRefusesEveryStart(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, withoutKill...)
	t.Parallel()
	b := inBackground(t)
	script := "exec " + changesUser + "sh -c 'echo I am $$; exec sleep 60'"
	b.readied(b.guard(script, "start"))
	left := b.announced(1)[0]
	b.killSupervisor()
	refusal := "guard: start failed: cannot end processes of an earlier worker: " + named(t, left) + ": operation not permitted: end them first\n"
	for range 2 {
		got := withoutLog(proctest.CallCommand(t, proctest.Wrapped(withoutKill, guard, b.args("start", "--", "sleep", "60")...)))
		require.Equal(t, proctest.Result{Stderr: refusal, Code: 1}, got)
		require.False(t, hasEnded(left))
		require.Contains(t, b.call("status").Stdout, named(t, left))
	}
	b.readied(b.guard("exec sleep 60", "start"))
	require.True(t, hasEnded(left), "a start with the permission ends the survivor")
	b.stop()
}

// writeMark leaves the files of a killed supervisor whose worker had that PID and identity.
func (b *background) writeMark(pid int, id string) {
	b.t.Helper()
	object, err := json.Marshal(lifecycle.Status{
		Format: 1, Name: "guard", PID: 1 << 22, Supervised: true, Worker: pid,
		WorkerMark: fmt.Sprintf("%d 0 %s %s - 15 %d false false", pid, proc.Namespace(), id, time.Second), WorkerKnown: 1,
	})
	require.NoError(b.t, err)
	record, err := statefile.Seal(object)
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(proctest.StatePath(b.pidfile), record, 0o644))
	require.NoError(b.t, os.WriteFile(b.pidfile, []byte(strconv.Itoa(1<<22)+"\n"), 0o644))
}

// leader starts a shell that leads a process group.
func leader(t *testing.T, script string) (pid, child int) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	_, err = fmt.Fscan(out, &child)
	require.NoError(t, err)
	proctest.Eventually(t, func() bool { return proc.Name(child) == "sleep" }, "the child to execute its program")
	return cmd.Process.Pid, child
}

// The number of the group may since have belonged to another process, which may also have ended.
func TestAProcessThatMayNotBelongToTheWorkerIsNamedAndNotSignalled(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	pid, left := leader(t, "sleep 60 >/dev/null & echo $!")
	proctest.Eventually(t, func() bool { _, ok := proc.Of(pid); return !ok || hasEnded(pid) }, "the end of the leader")
	require.NoError(t, reap(pid))
	b.writeMark(pid, "another-boot/1")
	refusal := "guard: start failed: these processes may belong to an earlier worker: " + named(t, left) + ": end them, or delete the state file if they do not\n"
	for range 2 {
		got := withoutLog(b.guard("exec sleep 60", "start"))
		require.Equal(t, proctest.Result{Stderr: refusal, Code: 1}, got)
		require.False(t, hasEnded(left))
	}
	require.NoError(t, os.Remove(proctest.StatePath(b.pidfile)))
	b.readied(b.guard("exec sleep 60", "start"))
	require.False(t, hasEnded(left))
	b.stop()
}

// reap waits for a child. Then the PID of the child is free.
func reap(pid int) error {
	_, err := syscall.Wait4(pid, nil, 0, nil)
	return err
}

func TestAReusedProcessGroupNumberIsNotSignalled(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	pid, child := leader(t, "sleep 60 >/dev/null & echo $!; wait")
	b.writeMark(pid, proc.Identity(os.Getpid()))
	b.readied(b.guard("exec sleep 60", "start"))
	require.False(t, hasEnded(pid))
	require.False(t, hasEnded(child))
	b.stop()
}

// A failed start does not lose the last record, and neither does a verb that cleans up.
func TestTheRecordOfSurvivorsStaysUntilTheyHaveEnded(t *testing.T) {
	proctest.Needs(t, "root", "setpriv")
	t.Parallel()
	b := inBackground(t)
	b.readied(b.guard("exec "+changesUser+"sh -c 'echo I am $$; exec sleep 60'", "start"))
	left := b.announced(1)[0]
	b.killSupervisor()
	require.Equal(t, 7, b.call("reload", "--quiet").Code, "no daemon runs")
	require.Equal(t, 0, b.call("try-restart").Code, "no daemon runs")
	got := proctest.Call(t, guard, b.args("user=no-such-user", "start", "--", "sleep", "60")...)
	require.NotZero(t, got.Code)
	require.False(t, hasEnded(left))
	b.readied(b.guard("exec sleep 60", "start"))
	require.True(t, hasEnded(left))
	b.stop()
}
