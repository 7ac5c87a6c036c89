package e2e

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func TestStatusShowsVersionAndStatusText(t *testing.T) {
	t.Parallel()
	p, pidfile, file, say := startSpeaker(t, "serving \x1b[1mthree\x1b[0m\nclients\n")
	status := func(lines string) {
		t.Helper()
		got := proctest.Call(t, speaker, pidfile, file, "status")
		require.Regexp(t, fmt.Sprintf(`^speaker: ready \(pid %d, version 1\.2\) for \d+[sm]\n  runs in the foreground\n%s$`, p.PID(), lines), got.Stdout)
		require.Empty(t, got.Stderr)
		require.Equal(t, 0, got.Code)
	}
	status("  serving \ufffd\\[1mthree\ufffd\\[0m clients\n")
	say("error: line 7: \x1b[2J")
	require.Equal(t, 1, proctest.Call(t, speaker, pidfile, file, "reload").Code)
	status("  serving .* clients\n  last reload failed half-way \\d+s ago: second: line 7: \ufffd\\[2J\n")
	say("")
	require.Equal(t, 0, proctest.Call(t, speaker, pidfile, file, "reload").Code)
	status("")
}

func TestProbesAreAnsweredInEachPhase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gate := func(name string) string { return filepath.Join(dir, name) }
	pidfile := proctest.PIDPath(t)
	probe := func() int {
		t.Helper()
		got := callVerb(t, pidfile, "status", "--ready")
		require.Empty(t, got.Stderr)
		return got.Code
	}
	require.Equal(t, 150, probe(), "not running")
	p := proctest.Start(t, daemon, "pidfile="+pidfile, "start=until:"+gate("start"), "reload=until:"+gate("reload"), "stop=until:"+gate("stop"))
	p.Await("OnStart")
	require.Equal(t, 150, probe(), "starting")
	proctest.Touch(t, gate("start"))
	p.Await("msg=ready")
	require.Equal(t, 0, probe(), "ready")
	p.Signal(syscall.SIGHUP)
	p.Await("OnReload")
	require.Equal(t, 0, probe(), "reloading")
	proctest.Touch(t, gate("reload"))
	p.Await("msg=reloaded")
	p.Signal(syscall.SIGTERM)
	p.Await("OnStop")
	require.Equal(t, 150, probe(), "stopping")
	p.Signal(syscall.SIGKILL)
	p.Wait()
	require.Equal(t, 150, probe(), "dead")
}

func TestASecondStartReportsThatTheDaemonIsNotReadyYet(t *testing.T) {
	t.Parallel()
	pidfile, gate := proctest.PIDPath(t), filepath.Join(t.TempDir(), "gate")
	p := proctest.Start(t, daemon, "pidfile="+pidfile, "start=until:"+gate)
	p.Await("OnStart")
	refused := callVerb(t, pidfile, "run")
	require.Equal(t, proctest.Result{Stderr: fmt.Sprintf("daemon: already running (pid %d), not ready yet\n", p.PID()), Code: 1}, refused)
	proctest.Touch(t, gate)
	p.Await("msg=ready")
	requireRefused(t, 1, alreadyRunning(p.PID()), pidfile)
}
