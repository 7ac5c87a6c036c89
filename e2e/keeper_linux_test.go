package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// keptAs returns the status of the daemon, with the service manager that keeps it running.
func keptAs(t *testing.T, pidfile string) lifecycle.Status {
	t.Helper()
	var s lifecycle.Status
	require.NoError(t, json.Unmarshal([]byte(callVerb(t, pidfile, "status", "--json").Stdout), &s))
	return lifecycle.Status{KeptBy: s.KeptBy, Manager: s.Manager, Unit: s.Unit}
}

// A refused restart calls no OnCheck, and stops nothing.
func TestNoVerbRestartsADaemonInTheForeground(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	requireUntouched := proctest.Untouched(t, pidfile)
	require.Equal(t, lifecycle.Status{KeptBy: "foreground"}, keptAs(t, pidfile))
	for _, verb := range []string{"restart", "try-restart"} {
		got := callVerb(t, pidfile, "check=error", verb)
		require.Equal(t, proctest.Result{Code: 3, Stderr: fmt.Sprintf("daemon: %s refused: pid %d runs in the foreground, "+
			"and only the process that started it can start it again: restart it there\n", verb, p.PID())}, got)
	}
	got := proctest.Call(t, verbCoded, "pidfile="+pidfile, "", "force-reload")
	require.Equal(t, 3, got.Code, got.Stderr)
	got = proctest.Call(t, ensuring, "once", "pidfile="+pidfile)
	require.Contains(t, got.Stdout, fmt.Sprint(p.PID()), "Ensure returns the daemon that a manager keeps")
	requireUntouched()
	requireLives(t, p)
}

// underManager starts the program daemon under a manager. The manager is a shell script whose
// arguments are the program and its arguments.
func underManager(t *testing.T, script string, args ...string) (p *proctest.Process, pidfile string) {
	t.Helper()
	pidfile = verbPlace(t)
	path := filepath.Join(t.TempDir(), "runsv")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755)) // #nosec G306
	p = proctest.Launch(t, proctest.Wrapped([]string{path}, daemon, append([]string{"pidfile=" + pidfile}, args...)...))
	return p, pidfile
}

func TestNoVerbRestartsADaemonThatAServiceManagerKeeps(t *testing.T) {
	t.Parallel()
	const supervisord = "SUPERVISOR_ENABLED=1 SUPERVISOR_GROUP_NAME=web SUPERVISOR_PROCESS_NAME=daemon_1 "
	for what, tt := range map[string]struct {
		script       string
		kept         lifecycle.Status
		says, onStop string
		text         string
	}{
		"runit": {
			`"$@"; exit`,
			lifecycle.Status{Manager: "runsv"},
			"runsv manages pid %d: restart the service there", "; runsv may start it again", "managed by runsv",
		},
		"supervisord": {
			supervisord + `exec "$@"`,
			lifecycle.Status{Manager: "supervisord", Unit: "web:daemon_1"},
			"supervisord manages pid %d: use `supervisorctl restart web:daemon_1`",
			"; supervisord may start it again, use `supervisorctl stop web:daemon_1`", "managed by supervisord, unit web:daemon_1",
		},
		"a manager that waits for readiness": {
			`exec 9>/dev/null; READY_FD=9 "$@"; exit`,
			lifecycle.Status{Manager: "runsv"},
			"runsv manages pid %d: restart the service there", "; runsv may start it again", "managed by runsv",
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p, pidfile := underManager(t, tt.script)
			p.Await("msg=ready")
			daemon := mustFind(t, pidfile)
			tt.kept.KeptBy = "manager"
			require.Equal(t, tt.kept, keptAs(t, pidfile))
			require.Contains(t, callVerb(t, pidfile, "status").Stdout, "\n  "+tt.text+"\n")
			requireUntouched := proctest.Untouched(t, pidfile)
			for _, verb := range []string{"restart", "try-restart"} {
				got := callVerb(t, pidfile, "check=error", verb)
				require.Equal(t, proctest.Result{Code: 3, Stderr: "daemon: " + verb + " refused: " + fmt.Sprintf(tt.says, daemon.PID) + "\n"}, got)
			}
			requireUntouched()
			got := callVerb(t, pidfile, "stop")
			require.Equal(t, 0, got.Code, got.Stderr)
			require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, .*\)%s\n$`, daemon.PID, tt.onStop), got.Stderr)
			require.Equal(t, 0, p.Wait())
		})
	}
}

// Only the process that systemd has started, or a child of it, is the service. Every process of the
// service inherits the variables.
func TestSystemdIsTheKeeperOnlyOfWhatItHasStarted(t *testing.T) {
	t.Parallel()
	for what, tt := range map[string]struct {
		script string
		kept   string
		verb   string
	}{
		"the process of the service":        {`INVOCATION_ID=1 SYSTEMD_EXEC_PID=$$ exec "$@"`, "systemd", "run"},
		"a child of a script":               {`INVOCATION_ID=1 SYSTEMD_EXEC_PID=$$ "$@"; exit`, "systemd", "run"},
		"a process that a script detaches":  {`INVOCATION_ID=1 SYSTEMD_EXEC_PID=$$ "$@"; exit`, "systemd", "start"},
		"a process that a service detaches": {`INVOCATION_ID=1 SYSTEMD_EXEC_PID=1 "$@"; exit`, "", "start"},
		"systemd before version 248":        {`INVOCATION_ID=1 "$@"; exit`, "", "start"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p, pidfile := underManager(t, tt.script+" </dev/null", tt.verb)
			proctest.Eventually(t, func() bool { return callVerb(t, pidfile, "status", "--ready").Code == 0 }, "a daemon")
			if tt.verb == "start" {
				require.Equal(t, 0, p.Wait())
			}
			kept := keptAs(t, pidfile)
			require.Equal(t, tt.kept, strings.TrimSuffix(kept.Manager, " --user"))
			got := callVerb(t, pidfile, "restart")
			if tt.kept == "" {
				require.Equal(t, "detached", kept.KeptBy)
				require.Equal(t, 0, got.Code, got.Stderr)
			} else {
				require.Equal(t, 3, got.Code, got.Stderr)
				require.Regexp(t, `^daemon: restart refused: systemd( --user)? manages pid \d+: `, got.Stderr)
			}
			require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
			p.Wait()
		})
	}
}

// A supervisor of this library is a service manager like any other.
func TestADaemonUnderASupervisorOfThisLibraryIsNotRestarted(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	inner := verbPlace(t)
	args := append(b.args("supervise=settle:1h", "start"), "--", "env", proctest.Assignment(daemon), proctest.Binary(), "pidfile="+inner, "run")
	b.readied(proctest.Call(t, guard, args...))
	require.Equal(t, "manager", keptAs(t, inner).KeptBy)
	got := callVerb(t, inner, "restart")
	require.Equal(t, 3, got.Code, got.Stderr)
	require.Regexp(t, `^daemon: restart refused: .+ manages pid \d+: restart the service there\n$`, got.Stderr)
	require.Equal(t, 0, proctest.Call(t, guard, b.args("stop")...).Code)
}

// Without a state file, the verbs know that a daemon is detached only if it keeps its arguments.
func TestADaemonWhoseStateFileIsGoneIsRestartedOnlyIfItIsDetached(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	require.NoError(t, os.Remove(strings.TrimSuffix(pidfile, ".pid")+".state"))
	got := callVerb(t, pidfile, "restart")
	require.Equal(t, 3, got.Code, got.Stderr)
	require.Regexp(t, fmt.Sprintf(`^daemon: restart refused: it is unknown what started pid %d \(.*\): use the verbs stop and start\n$`, p.PID()), got.Stderr)
	requireLives(t, p)

	b := inBackground(t)
	pid := b.start()
	require.NoError(t, os.Remove(strings.TrimSuffix(b.pidfile, ".pid")+".state"))
	got = b.call("restart")
	require.Equal(t, 0, got.Code, got.Stderr)
	require.Contains(t, got.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", pid))
	b.stop()
}

// The verbs run in the namespace of the container, as with docker exec, or outside of it.
func TestARestartOfProcess1IsRefusedOrRestartsItsWorker(t *testing.T) {
	proctest.Needs(t, "root", "unshare")
	proctest.NeedsCommand(t, "nsenter", "-t", "1", "-p", "true")
	t.Parallel()
	container := []string{"unshare", "-pf", "--mount-proc", "--kill-child"}
	inside := func(one int, args ...string) proctest.Result {
		t.Helper()
		return proctest.CallCommand(t, proctest.Wrapped([]string{"nsenter", "-t", fmt.Sprint(one), "-p", "-m"}, daemon, args...))
	}
	t.Run("not supervised", func(t *testing.T) {
		t.Parallel()
		pidfile := proctest.PIDPath(t)
		p := proctest.Launch(t, proctest.Wrapped(container, daemon, "pidfile="+pidfile, "run"))
		p.Await("msg=ready")
		require.Equal(t, lifecycle.Status{KeptBy: "process 1"}, keptAs(t, pidfile))
		one := mustFind(t, pidfile)
		const why = "daemon: restart refused: pid %d is process 1 of its container, so the container ends with it: restart the container\n"
		require.Equal(t, proctest.Result{Code: 3, Stderr: fmt.Sprintf(why, 1)}, inside(one.PID, "pidfile="+pidfile, "restart"))
		require.Equal(t, proctest.Result{Code: 3, Stderr: fmt.Sprintf(why, one.PID)}, callVerb(t, pidfile, "restart"))
		require.Contains(t, inside(one.PID, "pidfile="+pidfile, "status").Stdout, "daemon: ready (pid 1) for ")
		require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
		require.Equal(t, 0, p.Wait())
	})
	t.Run("supervised", func(t *testing.T) {
		t.Parallel()
		pidfile, gate := proctest.PIDPath(t), filepath.Join(t.TempDir(), "gate")
		p := proctest.Launch(t, proctest.Wrapped(container, daemon, "pidfile="+pidfile, "supervise=min:1h,limit:-1", "start=unless:"+gate, "run"))
		p.Await("msg=ready", 2)
		one := mustFind(t, pidfile)
		restarts := func(got proctest.Result) {
			t.Helper()
			require.Equal(t, 0, got.Code, got.Stderr)
			require.Equal(t, "OnCheck\nOnCheck done\n", got.Stdout)
			require.Regexp(t, `^daemon: check passed\ndaemon: restarted \(pid \d+, worker \d+ → \d+, .*\)\n$`, got.Stderr)
		}
		restarts(inside(one.PID, "pidfile="+pidfile, "restart"))
		restarts(callVerb(t, pidfile, "restart"))
		require.Equal(t, 2, linesOf(p, "OnStop done"), "%s", p.Out)
		require.Equal(t, 3, linesOf(p, "OnStart done"), "%s", p.Out)
		require.Equal(t, 6, callVerb(t, pidfile, "check=error", "restart").Code)
		require.Equal(t, 2, linesOf(p, "OnStop"), "%s", p.Out)

		proctest.Touch(t, gate)
		got := inside(one.PID, "pidfile="+pidfile, "restart")
		require.Equal(t, 1, got.Code, got.Stderr)
		require.Regexp(t, `daemon: restart: the new worker ended: exit 1 .*; the supervisor continues\n$`, got.Stderr)
		// From now on, the supervisor waits for an hour before the next start.
		require.NoError(t, os.Remove(gate))
		restarts(callVerb(t, pidfile, "restart"))
		require.Equal(t, one.PID, mustFind(t, pidfile).PID)
		one.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait(), "%s", p.Out)
	})
}
