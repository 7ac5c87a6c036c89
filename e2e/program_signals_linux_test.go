package e2e

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

func TestASignalThatWouldEndAProgramIsNotForwarded(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(b.guard("exec sleep 60", "supervise=reopensignal:10", "start"))
	worker := b.worker(0)
	got := proctest.Call(t, guard, b.args("reload")...)
	require.Equal(t, proctest.Result{Stderr: "guard: reload rejected, old configuration kept: sh does not handle SIGHUP, and the signal would end it\n", Code: 1}, got)
	got = proctest.Call(t, guard, b.args("reopen")...)
	require.Equal(t, 1, got.Code)
	require.Contains(t, got.Stderr, "sh does not handle SIGUSR1, and the signal would end it")
	require.NoError(t, syscall.Kill(b.status().PID, syscall.SIGUSR2))
	b.awaitSaid("SIGUSR2")
	require.Equal(t, worker, b.worker(0))
	b.stop()

	b.readied(b.guard("trap '' HUP; exec sleep 60", "start"))
	got = proctest.Call(t, guard, b.args("reload")...)
	require.Equal(t, proctest.Result{Stderr: "guard: reload rejected, old configuration kept: sh ignores SIGHUP\n", Code: 1}, got)
	b.stop()
}

// traps prints each signal that it gets, and ends on QUIT.
const traps = "for s in HUP USR1 USR2 WINCH TERM; do trap \"echo got $s\" $s; done; trap 'echo got QUIT; exit 0' QUIT; echo waits; while :; do sleep 0.01; done"

func TestAProgramGetsOnlyTheSignalsOfThePolicy(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(b.guard(traps, "supervise=stopsignal:3,reloadsignal:28,reopensignal:12", "start"))
	b.awaitSaid("waits")
	got := proctest.Call(t, guard, b.args("reload")...)
	require.Equal(t, proctest.Result{Stderr: "guard: SIGWINCH sent; sh does not report the result\n"}, got)
	b.awaitSaid("got WINCH")
	b.awaitSaid("got USR2") // a reload reopens the log first
	require.Equal(t, "SIGWINCH sent; sh does not report the result", b.status().LastReload.Note)
	b.stop()
	require.Contains(t, b.said(), "got QUIT")
	for _, sig := range []string{"HUP", "USR1", "TERM"} {
		require.NotContains(t, b.said(), "got "+sig+"\n")
	}
}

func TestAReopenSendsNoSignalToAProgramByDefault(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(b.guard("trap 'echo got USR1' USR1; trap 'echo got HUP' HUP; trap 'echo got USR2' USR2; while :; do sleep 0.01; done", "start"))
	require.Equal(t, 0, proctest.Call(t, guard, b.args("reopen")...).Code)
	require.Equal(t, 0, proctest.Call(t, guard, b.args("reload")...).Code)
	b.awaitSaid("got HUP\n")
	require.NoError(t, syscall.Kill(b.status().PID, syscall.SIGUSR2))
	b.awaitSaid("got USR2\n") // USR1 would have come first
	require.NotContains(t, b.said(), "got USR1")
	b.stop()
}

func TestAReloadFailsIfTheProgramEndsBecauseOfIt(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(proctest.Call(t, guard, b.guardNotifier([]string{"supervise=settle:1h,min:-1ns", "start"}, "say:READY=1", "HUP", "exit:129")...))
	got := proctest.Call(t, guard, b.args("reload")...)
	require.Equal(t, proctest.Result{Stderr: "guard: reload failed: the worker ended instead: exit 129\n", Code: 1}, got)
	b.stop()
}

// A JVM that receives TERM exits with 128 plus the signal number.
func TestAnExitCodeInCleanIsACleanStop(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]map[int]int{
		"settle:20ms":            {0: 0, 130: 0, 143: 0, 7: 7},
		"settle:20ms,clean:7":    {143: 143, 7: 0},
		"settle:20ms,permanent:": {143: 0},
	} {
		for code, exit := range want {
			pidfile := proctest.PIDPath(t)
			p := proctest.Start(t, guard, "pidfile="+pidfile, "supervise="+policy, "run", "--", "sh", "-c",
				"trap 'exit "+strconv.Itoa(code)+"' TERM; echo waits; while :; do sleep 0.01; done")
			p.Await("waits")
			p.Await("INFO ready")
			p.Signal(syscall.SIGTERM)
			require.Equal(t, exit, p.Wait(), "%s, exit %d: %s", policy, code, p.Out)
			requireNothingLeft(t, pidfile)
		}
	}
}

// npm, yarn and sh -c end at once, but the server that they have started needs some time.
func TestTheChildrenOfAWrapperGetTheRemainingTimeOfTheStop(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	server := filepath.Join(t.TempDir(), "server")
	require.NoError(t, os.WriteFile(server, []byte("trap 'echo drains; sleep 1.5; echo drained; exit 0' TERM; echo serves; while :; do sleep 0.01; done"), 0o644))
	b.readied(b.guard("sh "+server+" & trap 'exit 0' TERM; while :; do sleep 0.01; done", "supervise=settle:20ms", "start"))
	b.awaitSaid("serves")
	b.stop()
	require.Contains(t, b.said(), "drained")
	require.NotContains(t, b.said(), "killed")
}

func TestAChildThatOutlivesItsWrapperIsKilledAndNamed(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, guard, "pidfile="+proctest.PIDPath(t), "stoptimeout=200ms", "supervise=settle:20ms", "run", "--", "sh", "-c",
		"sh -c 'trap \"\" TERM; echo serves; while :; do sleep 0.01; done' & trap 'exit 0' TERM; while :; do sleep 0.01; done")
	p.Await("serves")
	p.Await("INFO ready")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 1, p.Wait())
	require.Regexp(t, `the worker left processes that were killed: sh \(pid \d+\)`, p.Out.String())
}

// For example, the sessions of sshd leave its process group and must outlive it.
func TestKeepOrphansKeepsOrphansOutsideTheProcessGroup(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	dir := t.TempDir()
	session, child := filepath.Join(dir, "session"), filepath.Join(dir, "child")
	b.readied(b.guard("setsid sh -c 'echo $$ > "+session+"; exec sleep 60' & sh -c 'echo $$ > "+child+"; exec sleep 60' & wait",
		"supervise=keep,min:-1ns", "start"))
	kept, ended := pidIn(t, session), pidIn(t, child)
	t.Cleanup(func() { _ = syscall.Kill(kept, syscall.SIGKILL) })
	require.NoError(t, os.Remove(session))
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.worker(worker)
	require.True(t, proctest.IsOver(ended))
	require.False(t, proctest.IsOver(kept))
	second := pidIn(t, session)
	t.Cleanup(func() { _ = syscall.Kill(second, syscall.SIGKILL) })
	b.call("stop")
	require.False(t, proctest.IsOver(kept))
	require.False(t, proctest.IsOver(second))
	require.True(t, proctest.IsOver(pidIn(t, child)))
}

func TestOptionsOfAProgramNeedProgram(t *testing.T) {
	t.Parallel()
	for _, p := range []lifecycle.RestartPolicy{
		{Notify: true}, {StopSignal: syscall.SIGQUIT}, {ReloadSignal: syscall.SIGUSR2}, {ReopenSignal: syscall.SIGUSR1}, {KeepOrphans: true},
	} {
		err := lifecycle.Run(nil, lifecycle.PIDFile(""), lifecycle.Supervise(p))
		require.ErrorContains(t, err, "need Program")
	}
}

// pidIn returns the PID in a file that another process writes.
func pidIn(t *testing.T, path string) (pid int) {
	t.Helper()
	proctest.Eventually(t, func() bool {
		text, _ := os.ReadFile(path)
		pid, _ = strconv.Atoi(strings.TrimSuffix(string(text), "\n"))
		return strings.HasSuffix(string(text), "\n")
	}, "a PID in %s", path)
	return pid
}

// A program that reads from the terminal in the background would be suspended.
func TestAProgramOnATerminalHasNoStdin(t *testing.T) {
	t.Parallel()
	master, tty := pty(t)
	script := "read line; echo read $?; trap 'exit 0' TERM; while :; do sleep 0.01; done"
	cmd := inTerminal(proctest.Command(guard, "pidfile="+proctest.PIDPath(t), "run", "--", "sh", "-c", script), tty)
	cmd.Stdout, cmd.Stderr = tty, tty
	p := proctest.Launch(t, cmd)
	screen := &proctest.Lines{}
	go io.Copy(screen, master)
	proctest.Eventually(t, func() bool { return screen.Count("read 1\r\n") == 1 }, "the program to read: %s", screen)
	_, err := master.Write([]byte{'C' & 0x1f})
	require.NoError(t, err)
	require.Equal(t, 0, p.Wait(), "%s", screen)
}

func TestAWorkerThatIsSuspendedIsReported(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(b.guard("exec sleep 60", "start"))
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(worker, syscall.SIGTTIN))
	b.awaitSaid("WARN the worker was suspended by a signal")
	require.NoError(t, syscall.Kill(worker, syscall.SIGCONT))
	b.awaitSaid("INFO the worker was continued")
	b.stop()
}
