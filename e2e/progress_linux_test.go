package e2e

import (
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

func gatePath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "gate")
}

func TestALongStopIsShownOnATerminalAndLeavesNothingThere(t *testing.T) {
	t.Parallel()
	for how, env := range map[string]string{"": "TERM=xterm", "without escape codes": "NO_COLOR=1"} {
		gate := gatePath(t)
		p, path := startDaemon(t, "stop=until:"+gate)
		s := newScreen(t, 100)
		stop := s.verb([]string{env}, "pidfile="+path, "stop")
		s.awaitWait(fmt.Sprintf("waiting for daemon (pid %d) to stop: OnStop of daemon,", p.PID()), 1)
		proctest.Eventually(t, func() bool { return len(s.written()) > 1 }, "a second line")
		proctest.Touch(t, gate)
		require.Equal(t, 0, stop.Wait())
		s.requireShows(fmt.Sprintf(`daemon: stopped \(pid %d, [\d.]+ s\)`, p.PID()))
		require.Equal(t, how == "", strings.Contains(s.String(), "\x1b"), "%q", s)
		require.Equal(t, 0, p.Wait())
	}
}

func TestALongStartIsShownOnATerminalAndLeavesNothingThere(t *testing.T) {
	t.Parallel()
	gate := gatePath(t)
	b := inBackground(t)
	s := newScreen(t, 100)
	start := s.verb(nil, b.args("start=until:"+gate, "start")...)
	s.awaitWait(" to start: OnStart of daemon,", 2)
	proctest.Touch(t, gate)
	require.Equal(t, 0, start.Wait())
	found, err := lifecycle.Find(b.pidfile)
	require.NoError(t, err)
	require.NoError(t, found.Close())
	s.requireShows(fmt.Sprintf(`daemon: ready \(pid %d, [\d.]+ s\), log %s`, found.PID, b.log))
	require.Contains(t, s.String(), fmt.Sprintf("waiting for daemon (pid %d) to start: ", found.PID))
}

func TestALongRestartIsShownAsAStopAndAStart(t *testing.T) {
	t.Parallel()
	gate, again := gatePath(t), gatePath(t)
	b := inBackground(t)
	path := b.pidfile
	pid := b.readied(b.call("stop=until:"+gate, "start"))
	s := newScreen(t, 100)
	restart := s.verb(nil, b.args("start=until:"+again, "restart")...)
	s.awaitWait(fmt.Sprintf("(pid %d) to stop: OnStop of daemon,", pid), 1)
	proctest.Touch(t, gate)
	s.awaitWait(" to start: OnStart of daemon,", 1)
	proctest.Touch(t, again)
	require.Equal(t, 0, restart.Wait())
	got := callVerb(t, path, "stop")
	require.Equal(t, 0, got.Code, got.Stderr)
	require.Regexp(t, `\(pid \d+\) to start: `, s.String())
	s.requireShows(`OnCheck\nOnCheck done\ndaemon: check passed\ndaemon: stopped .*\ndaemon: ready .*`)
}

func TestALongReloadAndALongReopenAreShown(t *testing.T) {
	t.Parallel()
	gate := gatePath(t)
	p, path := startDaemon(t, "reload=until:"+gate)
	reloads, reopens := newScreen(t, 100), newScreen(t, 100)
	reload := reloads.verb(nil, "pidfile="+path, "reload")
	p.Await("OnReload")
	reopen := reopens.verb(nil, "pidfile="+path, "reopen")
	reloads.awaitWait(fmt.Sprintf("waiting for daemon (pid %d) to reload: OnReload of daemon,", p.PID()), 1)
	reopens.awaitWait(fmt.Sprintf("waiting for daemon (pid %d) to reopen its log: OnReload of daemon,", p.PID()), 1)
	proctest.Touch(t, gate)
	require.Equal(t, 0, reload.Wait())
	require.Equal(t, 0, reopen.Wait())
	reloads.requireShows(`daemon: reloaded \([\d.]+ s\)`)
	reopens.requireShows(`daemon: nothing to reopen: .*`)
	requireStops(t, p)
}

func TestNoProgressIsShownWithoutATerminal(t *testing.T) {
	t.Parallel()
	gate, file := gatePath(t), filepath.Join(t.TempDir(), "said")
	p, path := startDaemon(t, "stop=until:"+gate)
	args := []string{"pidfile=" + path, "stop"}

	piped := proctest.Start(t, daemon, args...) // its stdin is no terminal either
	written, err := os.Create(file)
	require.NoError(t, err)
	defer written.Close()
	apart := newScreen(t, 100)
	inFile := apart.on(proctest.Command(daemon, args...)) // stdin and stdout are a terminal
	inFile.Stderr = written
	filed := proctest.Launch(t, inFile)
	dumb, unknown := newScreen(t, 100), newScreen(t, 100)
	quiet := []*proctest.Process{piped, filed, dumb.verb([]string{"TERM=dumb"}, args...), unknown.verb([]string{"TERM="}, args...)}
	behind := newScreen(t, 100)
	quiet = append(quiet, proctest.Launch(t, behind.on(proctest.Wrapped([]string{"sh", "-c", `set -m; "$0" "$@" & wait $!`}, daemon, args...))))
	for _, v := range quiet { // all of them are waiting
		proctest.Eventually(t, func() bool { return waits(v.PID()) }, "pid %d to wait", v.PID())
	}

	shown := newScreen(t, 100)
	verb := shown.verb(nil, args...)
	shown.awaitWait("OnStop of daemon,", 2)
	proctest.Touch(t, gate)
	for _, v := range append(quiet, verb) {
		require.Equal(t, 0, v.Wait())
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	said := fmt.Sprintf(`^daemon: stopped \(pid %d, [\d.]+ s\)`, p.PID())
	require.Regexp(t, said+`\n$`, piped.Out.String())
	require.Regexp(t, said+`\n$`, string(text))
	require.Empty(t, apart.String())
	for _, s := range []*screen{dumb, unknown, behind} {
		proctest.Eventually(t, func() bool { return strings.HasSuffix(s.String(), "\n") }, "the last word")
		require.Regexp(t, said+`\r\n$`, s.String())
	}
	require.Equal(t, 0, p.Wait())
}

// waits reports whether the process or its child is a verb that has found the daemon.
func waits(pid int) bool {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, one := range append(strings.Fields(string(children)), fmt.Sprint(pid)) {
		fds, _ := filepath.Glob("/proc/" + one + "/fd/*")
		for _, fd := range fds {
			if target, _ := os.Readlink(fd); strings.Contains(target, "pidfd") {
				return true
			}
		}
	}
	return false
}

func TestTheProgressLineFitsTheWidthOfTheTerminal(t *testing.T) {
	t.Parallel()
	gate := gatePath(t)
	p, path := startDaemon(t, "stop=until:"+gate)
	s := newScreen(t, 30)
	stop := s.verb(nil, "pidfile="+path, "stop")
	proctest.Eventually(t, func() bool { return len(s.written()) == 1 }, "a line")
	require.Len(t, s.written()[0], 29)
	s.resize(0) // the terminal reports no size: 80 is used
	proctest.Eventually(t, func() bool {
		return len(s.written()) > 1 && strings.Contains(s.written()[len(s.written())-1], "OnStop of daemon, ")
	}, "a longer one")
	proctest.Touch(t, gate)
	require.Equal(t, 0, stop.Wait())
	s.requireShows(`daemon: stopped .*`)
	require.Equal(t, 0, p.Wait())
}

func TestCtrlCUndoesAStartWithProgress(t *testing.T) {
	t.Parallel()
	gate := gatePath(t)
	b := inBackground(t)
	s := newScreen(t, 100)
	start := s.verb(nil, b.args("ready=wait", "stop=until:"+gate, "start")...)
	s.awaitWait(" to start: ReadyWhen of daemon,", 1)
	_, err := s.window.Write([]byte{'C' & 0x1f})
	require.NoError(t, err)
	s.awaitText(" to stop: OnStop of daemon, ")
	proctest.Touch(t, gate)
	require.Equal(t, 1, start.Wait())
	s.requireShows(`(\^C)?daemon: start failed: stopped by signal: interrupt`)
	b.requireNothingLeft()
}

func TestProgressShowsTheRunningHookOfTheWorker(t *testing.T) {
	t.Parallel()
	gate, again := gatePath(t), gatePath(t)
	b := inBackground(t)
	s := newScreen(t, 100)
	start := s.verb(nil, b.args("supervise=", "start=until:"+gate, "stop=until:"+again, "start")...)
	s.awaitWait(" to start: OnStart of daemon,", 1)
	proctest.Touch(t, gate)
	require.Equal(t, 0, start.Wait())
	stop := s.verb(nil, b.args("supervise=", "stop")...)
	s.awaitWait(" to stop: OnStop of daemon,", 1)
	proctest.Touch(t, again)
	require.Equal(t, 0, stop.Wait())
	s.requireShows(`daemon: ready .*\ndaemon: stopped .*`)
}

func TestCtrlCEndsTheProgressOfAStopAndTheDaemonStops(t *testing.T) {
	t.Parallel()
	gate := gatePath(t)
	p, path := startDaemon(t, "stop=until:"+gate)
	s := newScreen(t, 100)
	stop := s.verb(nil, "pidfile="+path, "stop")
	s.awaitWait("OnStop of daemon,", 1)
	_, err := s.window.Write([]byte{'C' & 0x1f})
	require.NoError(t, err)
	require.Equal(t, -1, stop.Wait())
	status, ok := stop.Cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.Equal(t, syscall.SIGINT, status.Signal())
	proctest.Touch(t, gate)
	require.Equal(t, 0, p.Wait())
	require.Equal(t, 1, linesOf(p, "OnExit done"))
}
