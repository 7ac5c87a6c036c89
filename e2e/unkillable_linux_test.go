package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// withoutKill is a command that runs its arguments as root without CAP_KILL.
var withoutKill = []string{"setpriv", "--bounding-set=-kill", "--inh-caps=-kill"}

// guardNotifierWithoutKill calls guard, which keeps the program notifier alive, without CAP_KILL.
func (b *background) guardNotifierWithoutKill(args []string, steps ...string) proctest.Result {
	b.t.Helper()
	return proctest.CallCommand(b.t, proctest.Wrapped(withoutKill, guard, b.guardNotifier(args, steps...)...))
}

var stillRuns = proctest.Pattern(`cannot signal the worker \(pid (\d+)\): operation not permitted: ` +
	`it runs as another user, and its supervisor lacks CAP_KILL; it still runs`)

// leftWorker requires that the text names a worker that still runs. It returns its PID.
func leftWorker(t *testing.T, text string) (pid int) {
	t.Helper()
	named := stillRuns().FindStringSubmatch(text)
	require.NotNil(t, named, "%s", text)
	pid, err := strconv.Atoi(named[1])
	require.NoError(t, err)
	require.False(t, hasEnded(pid))
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) // by then it may have been killed
	return pid
}

// endLeft ends a worker that its supervisor could not end.
func endLeft(t *testing.T, pid int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	proctest.Eventually(t, func() bool { return hasEnded(pid) }, "the end of pid %d", pid)
}

// hasEnded reports whether the process has ended. A zombie has.
func hasEnded(pid int) bool {
	return proctest.IsOver(pid)
}

// The missing capability is known before the start, because the option names the user.
func TestASupervisorThatCouldNotSignalItsUserRefusesTheStart(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, withoutKill...)
	t.Parallel()
	b := inBackground(t)
	refusal := `daemon: start failed: User("65534:65534"): this process lacks CAP_KILL, so it could not end its worker as user 65534: ` +
		"add the capability KILL, or run as that user from the start: permission denied\n"
	call := func(verb string) proctest.Result {
		return proctest.CallCommand(t, proctest.Wrapped(withoutKill, daemon, b.args(atOnce, "name=daemon", "user=65534:65534", verb)...))
	}
	require.Equal(t, proctest.Result{Stderr: refusal, Code: 4}, call("start"))
	require.Empty(t, b.processes())

	pid := b.start(atOnce, "user=65534:65534")
	require.Equal(t, proctest.Result{Stderr: refusal, Code: 4}, call("restart"), "the verb stops no daemon that it could not start again")
	require.Equal(t, pid, b.status().PID)
	b.stop()
}

// The supervisor learns only from the kernel that it may not signal a setuid program, or a program
// under sudo.
func TestAProgramThatCannotBeSignalledFailsTheStart(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, withoutKill...)
	t.Parallel()
	b := inBackground(t)
	got := b.guardNotifierWithoutKill([]string{"supervise=settle:1h", "start"}, "become:65534", "say:READY=1")
	require.Equal(t, 4, got.Code, "%s", got.Stderr)
	require.Contains(t, got.Stderr, "guard: start failed: cannot signal the worker")
	left := leftWorker(t, got.Stderr)

	got = b.call("status")
	require.Equal(t, 3, got.Code)
	require.Equal(t, left, leftWorker(t, got.Stdout))

	got = b.guardNotifierWithoutKill([]string{"start"}, "say:READY=1")
	require.Equal(t, "guard: start failed: cannot end processes of an earlier worker: "+named(t, left)+": operation not permitted: end them first\n", withoutLog(got).Stderr)
	require.Equal(t, 1, got.Code)

	endLeft(t, left)
	b.readied(b.guardNotifierWithoutKill([]string{"supervise=settle:1h", "start"}, "say:READY=1"))
	b.stop()
}

func TestAStopReportsAProgramThatCannotBeSignalledAndARestartStartsNone(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, withoutKill...)
	t.Parallel()
	for _, verb := range []string{"stop", "restart"} {
		b := inBackground(t)
		steps := []string{"say:READY=1", "await:" + filepath.Join(t.TempDir(), "gate"), "become:65534", "say:STATUS=another"}
		b.readied(b.guardNotifierWithoutKill([]string{"supervise=settle:1h", "start"}, steps...))
		proctest.Touch(t, steps[1][len("await:"):])
		b.told("it to be another user", func(s lifecycle.Status) bool { return s.Text == "another" })
		worker := b.worker(0)
		got := b.guardNotifierWithoutKill([]string{verb}, steps...)
		require.Equal(t, 1, got.Code, "%s", got.Stderr)
		require.Regexp(t, `guard: stopped \(pid \d+, .*\), but cannot signal`, got.Stderr)
		require.Equal(t, worker, leftWorker(t, got.Stderr))
		require.Contains(t, b.said(), " ERROR cannot end the worker worker=")
		_, err := lifecycle.Find(b.pidfile)
		require.ErrorIs(t, err, lifecycle.ErrNotRunning)
		endLeft(t, worker)
		require.NoError(t, os.Remove(proctest.StatePath(b.pidfile)))
	}
}

// For example, a hanging worker must end before the next one starts.
func TestNoWorkerStartsWhileThePreviousOneCannotBeEnded(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, withoutKill...)
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	b.readied(b.guardNotifierWithoutKill([]string{"supervise=settle:1h,min:-1ns", "start"}, "say:READY=1", "await:"+gate, "become:65534", "say:WATCHDOG=trigger"))
	worker := b.worker(0)
	proctest.Touch(t, gate)
	s := b.told("the worker to be stuck", func(s lifecycle.Status) bool { return s.Left != "" })
	require.Equal(t, worker, leftWorker(t, s.Left))
	require.Equal(t, worker, s.Worker)
	require.Equal(t, lifecycle.Starting, s.Phase)
	require.Equal(t, 150, b.call("status", "--ready").Code)
	require.Contains(t, b.call("status").Stdout, s.Left)
	require.NoError(t, os.Remove(gate)) // the next worker stays ready
	endLeft(t, worker)
	b.worker(worker)
	s = b.status()
	require.Equal(t, 1, s.Restarts)
	require.Equal(t, "SIGKILL", s.LastExit.Signal)
	require.Empty(t, s.Left)
	b.stop()
}

// shifter is a supervised life that itself changes its user on USR2.
var shifter = proctest.Register("shifter", func(args []string) int {
	return lifecycle.Main(args[2:], nil, lifecycle.Name("shifter"), lifecycle.PIDFile(args[0]), lifecycle.LogFile(args[1]),
		lifecycle.Supervise(parsePolicy("")), lifecycle.OnSignal(syscall.SIGUSR2, func(ctx context.Context) error {
			lifecycle.From(ctx).SetStatus("another")
			return syscall.Setuid(65534)
		}))
})

// The supervisor closes the control socket. A worker of this binary then ends.
func TestAWorkerOfThisBinaryThatCannotBeSignalledStillEnds(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, withoutKill...)
	t.Parallel()
	b := inBackground(t)
	call := func(verb string) proctest.Result {
		return proctest.CallCommand(t, proctest.Wrapped(withoutKill, shifter, b.pidfile, b.log, verb))
	}
	b.readied(call("start"))
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(worker, syscall.SIGUSR2))
	proctest.Eventually(t, func() bool {
		status, err := os.ReadFile("/proc/" + strconv.Itoa(worker) + "/status")
		return err == nil && regexp.MustCompile(`(?m)^Uid:\t65534\t65534`).Match(status)
	}, "the worker to be another user")
	got := call("stop")
	require.Contains(t, b.said(), "cannot signal the worker", "%s", got.Stderr)
	require.True(t, hasEnded(worker))
}
