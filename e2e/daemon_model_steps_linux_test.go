package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// verb runs a verb and requires that exit code.
func (m *daemonModel) verb(code int, args ...string) proctest.Result {
	m.t.Helper()
	got := m.call(args...)
	m.did("%v: %d %s%s", args, got.Code, got.Stdout, got.Stderr)
	require.Equal(m.t, code, got.Code, "%v: %s%s", args, got.Stdout, got.Stderr)
	return got
}

// atOnce runs a verb twice at the same time.
func (m *daemonModel) atOnce(args ...string) (codes []int) {
	m.t.Helper()
	var all []*proctest.Process
	for range 2 {
		all = append(all, proctest.Start(m.t, daemon, m.args(args...)...))
	}
	for _, p := range all {
		codes = append(codes, p.Wait())
		m.did("%v beside another: %d %s", args, p.Cmd.ProcessState.ExitCode(), p.Out)
	}
	slices.Sort(codes)
	return codes
}

// now sets the holder of the file: the PID that a verb has reported or, after two concurrent verbs,
// the PID that Find returns.
func (m *daemonModel) now(pid int) {
	m.t.Helper()
	require.NotEqual(m.t, m.holder, pid)
	require.NotContains(m.t, m.lost, pid)
	m.holder, m.left, m.orphan, m.opened = pid, 0, false, 0
}

func (m *daemonModel) gone() { m.holder, m.left, m.orphan = 0, 0, false }

func (m *daemonModel) startOne() {
	if m.holder != 0 {
		require.Equal(m.t, alreadyRunning(m.holder), m.verb(1, "start").Stderr)
		m.verb(0, "start", "--oknodo")
		return
	}
	m.rejects = m.random.IntN(3) == 0
	args := []string{"start"}
	if m.rejects {
		args = []string{"reload=error", "start"}
	}
	m.now(m.readied(m.verb(0, args...)))
}

func (m *daemonModel) startTwo() {
	codes := m.atOnce("start")
	if m.holder != 0 {
		require.Equal(m.t, []int{1, 1}, codes)
		return
	}
	require.Equal(m.t, []int{0, 1}, codes, "one start wins")
	m.rejects = false
	m.now(mustFind(m.t, m.pidfile).PID)
}

func (m *daemonModel) startInVain() {
	how := []string{"start=error", "start=exit:37", "ready=panic"}[m.random.IntN(3)]
	if got := m.call(how, "start"); m.holder == 0 {
		m.did("%s start: %d %s", how, got.Code, got.Stderr)
		require.Contains(m.t, got.Stderr, "daemon: start failed: ")
		require.NotZero(m.t, got.Code)
		m.gone()
	} else {
		require.Equal(m.t, proctest.Result{Stderr: alreadyRunning(m.holder), Code: 1}, got)
	}
}

func (m *daemonModel) stopOne() {
	if m.holder == 0 {
		m.verb(7, "stop")
		m.verb(0, "stop", "--oknodo")
		return
	}
	require.Contains(m.t, m.verb(0, "stop").Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", m.holder))
	m.gone()
}

func (m *daemonModel) stopTwo() {
	codes := m.atOnce("stop")
	if m.holder == 0 {
		require.Equal(m.t, []int{7, 7}, codes)
		return
	}
	require.Zero(m.t, codes[0])
	require.Contains(m.t, []int{0, 7}, codes[1], "7 if the signal came too late")
	m.gone()
}

func (m *daemonModel) restartOne() {
	if m.random.IntN(4) == 0 {
		m.verb(6, "check=error", "restart")
		return
	}
	before := m.holder
	got := m.verb(0, "restart")
	require.Equal(m.t, before != 0, strings.Contains(got.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", before)))
	m.rejects = false
	m.now(verbSays(m.t, verbReady, got.Stderr))
}

func (m *daemonModel) restartTwo() {
	codes := m.atOnce("restart")
	require.Zero(m.t, codes[0], "at least one restart has started a daemon")
	require.Contains(m.t, []int{0, 1}, codes[1])
	m.rejects = false
	m.now(mustFind(m.t, m.pidfile).PID)
}

func (m *daemonModel) reload() {
	switch {
	case m.holder == 0:
		m.verb(7, "reload")
	case m.rejects:
		require.Contains(m.t, m.verb(1, "reload").Stderr, "reload rejected, old configuration kept: OnReload failed on purpose")
	default:
		m.verb(0, "reload")
	}
}

func (m *daemonModel) reopen() {
	if m.random.IntN(2) == 0 {
		require.NoError(m.t, os.RemoveAll(m.log))
	}
	m.verb(map[bool]int{true: 7}[m.holder == 0], "reopen")
}

// endBy ends a daemon with that signal and waits until the daemon has ended.
func (m *daemonModel) endBy(sig syscall.Signal, pid int) {
	m.did("%v to %d", sig, pid)
	require.NoError(m.t, syscall.Kill(pid, sig))
	proctest.Eventually(m.t, func() bool { return !slices.Contains(m.processes(), pid) }, "the end of pid %d", pid)
}

func (m *daemonModel) kill() {
	if m.holder != 0 {
		m.endBy(syscall.SIGKILL, m.holder)
		proctest.Eventually(m.t, func() bool { return isFree(m.t, m.pidfile) }, "the kernel to release the lock of the killed process")
		m.holder, m.left = 0, m.holder
	}
}

func (m *daemonModel) term() {
	if m.holder != 0 {
		m.endBy(syscall.SIGTERM, m.holder)
		m.gone()
	}
}

func (m *daemonModel) delete() {
	if m.holder == 0 && m.left == 0 {
		return
	}
	m.did("the PID file is deleted")
	require.NoError(m.t, os.Remove(m.pidfile))
	if m.holder != 0 {
		m.lost = append(m.lost, m.holder)
		require.NoError(m.t, os.Remove(proctest.StatePath(m.pidfile))) // else every start is refused
	}
	m.holder, m.left, m.orphan = 0, 0, true
}

// endLost ends a daemon whose PID file was deleted. A PID file that now exists belongs to another
// daemon. The state file may still be its own.
func (m *daemonModel) endLost() {
	if len(m.lost) == 0 {
		return
	}
	m.endBy([]syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[m.random.IntN(2)], m.lost[0])
	m.lost = m.lost[1:]
}
