package e2e

import (
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// Row J1.
func TestProcess1InTheForegroundBehavesLikeAnyProcess(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, ownPIDs...)
	t.Parallel()
	for what, want := range map[string]struct {
		args []string
		sig  syscall.Signal
		code int
	}{
		"TERM":          {nil, syscall.SIGTERM, 0},
		"INT":           {nil, syscall.SIGINT, 0},
		"a failed stop": {[]string{"stop=error"}, syscall.SIGTERM, 1},
		"a failed body": {[]string{"run=error", "ready=wait"}, 0, 1},
		"a panic":       {[]string{"start=panic"}, 0, 70},
		"an exit":       {[]string{"usr2=exit:37"}, syscall.SIGUSR2, 37},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := proctest.PIDPath(t)
			p := proctest.Launch(t, proctest.Wrapped(ownPIDs, daemon, append(append([]string{"pidfile=" + path}, want.args...), "run")...))
			if want.sig != 0 {
				p.Await("msg=ready")
				found := mustFind(t, path)
				require.NoError(t, found.Reload(t.Context()))
				require.NoError(t, found.Signal(want.sig))
			}
			require.Equal(t, want.code, p.Wait(), "%s", p.Out)
			if what != "an exit" {
				requireNothingLeft(t, path)
			}
		})
	}
}

// Row J1.
func TestProcess1CannotDetach(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, ownPIDs...)
	t.Parallel()
	proctest.Use(ensuring)
	const hint = "cannot detach from process 1: the kernel would end the daemon together with process 1; run it in the foreground\n"
	path := proctest.PIDPath(t)
	for what, cmd := range map[string]*exec.Cmd{
		"start":        proctest.Wrapped(ownPIDs, daemon, "pidfile="+path, "start"),
		"restart":      proctest.Wrapped(ownPIDs, daemon, "pidfile="+path, "restart"),
		"Run detached": proctest.Wrapped(ownPIDs, daemon, "pidfile="+path, "detach="),
		"Ensure":       proctest.Wrapped(ownPIDs, ensuring, "once", "pidfile="+path),
	} {
		got := proctest.CallCommand(t, cmd)
		require.Equal(t, 1, got.Code, what)
		require.Contains(t, got.Stdout+got.Stderr, hint, what)
		requireNothingLeft(t, path)
	}
}

// The process that started the daemon is gone. Therefore the daemon is a child of process 1.
// Process 1 is this test, which reaps no children.
// Row J2.
func TestAZombieIsNotADaemonIfProcess1DoesNotReap(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	b := inBackground(t)
	for _, how := range []string{"KILL", "stop", "restart"} {
		pid := b.start()
		proctest.Eventually(t, func() bool { return statusField(t, pid, "PPid") == "1" }, "the end of who started pid %d", pid)
		switch how {
		case "KILL":
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			proctest.Eventually(t, func() bool { return proctest.IsOver(pid) && isFree(t, b.pidfile) }, "the end of all threads of pid %d", pid)
			status := b.call("status")
			require.Equal(t, 1, status.Code)
			require.Contains(t, status.Stdout, fmt.Sprintf("daemon: dead: pid %d left ", pid))
			require.Equal(t, 7, b.call("stop").Code)
		case "stop":
			b.stop()
		case "restart":
			got := b.call("restart")
			require.Equal(t, 0, got.Code, got.Stderr)
			require.Contains(t, got.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", pid))
			b.stop()
		}
		require.Equal(t, "Z (zombie)", statusField(t, pid, "State"), "otherwise this test would prove nothing")
	}
}

// Rows J3, J11.
func TestARestartedContainerTakesOverAFileWithItsOwnPID(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, ownPIDs...)
	t.Parallel()
	path := proctest.PIDPath(t)
	for range 3 {
		p := proctest.Launch(t, proctest.Wrapped(ownPIDs, daemon, "pidfile="+path, "run"))
		p.Await("msg=ready")
		proctest.RequireText(t, path, "1\n")
		p.Signal(syscall.SIGKILL) // this also kills everything inside
		p.Wait()
		proctest.Eventually(t, func() bool { return isFree(t, path) }, "the lock")
		// The verb itself has the PID that is in the file.
		inside := proctest.CallCommand(t, proctest.Wrapped(ownPIDs, daemon, "pidfile="+path, "status"))
		require.Equal(t, 1, inside.Code)
		require.Contains(t, inside.Stdout, "daemon: dead: pid 1 left "+path)
		require.Equal(t, 7, callVerb(t, path, "stop").Code, "the PID is not process 1 of this namespace")
	}
	requireStarts(t, path)
}

// Row J1.
func TestProcess1SupervisesReapsAndStops(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root", "unshare")
	pidfile := proctest.PIDPath(t)
	cmd := proctest.Wrapped([]string{"unshare", "-pf", "--mount-proc", "--kill-child"}, daemon, "pidfile="+pidfile, "supervise=min:-1ns", "start=orphans", "run")
	p := proctest.Launch(t, cmd)
	p.Await("msg=ready")
	init := childrenOf(t, p.PID())
	require.Len(t, init, 1)
	pid, err := strconv.Atoi(init[0])
	require.NoError(t, err)
	proctest.Eventually(t, func() bool { return len(childrenOf(t, pid)) == 1 }, "the end of every process except the worker")
	worker := childrenOf(t, pid)[0]
	number, err := strconv.Atoi(worker)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(number, syscall.SIGKILL))
	p.Await("the worker is ready")
	proctest.Eventually(t, func() bool { c := childrenOf(t, pid); return len(c) == 1 && c[0] != worker }, "one process, which is another worker")
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.Equal(t, 0, p.Wait(), "%s", p.Out)
	require.NoFileExists(t, pidfile)
}
