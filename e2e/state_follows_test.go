package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/safefile"
)

func TestTheStateFileShowsThePhaseOfTheLife(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gate := func(name string) string { return filepath.Join(dir, name) }
	pidfile := proctest.PIDPath(t)
	p := proctest.Start(t, daemon, "pidfile="+pidfile, "start=until:"+gate("start"), "reload=until:"+gate("reload"), "usr2=until:"+gate("usr2"),
		"run=until:"+gate("run"), "stop=until:"+gate("stop"), "exit=until:"+gate("exit"), "stoptimeout=40s")
	says := func(phase lifecycle.Phase, doing string) lifecycle.Status {
		t.Helper()
		s := stateOf(t, pidfile)
		require.Equal(t, phase, s.Phase)
		require.Equal(t, doing, s.Doing)
		require.Equal(t, 1, s.Format)
		require.Equal(t, "daemon", s.Name)
		require.Equal(t, p.PID(), s.PID)
		return s
	}

	p.Await("OnStart")
	starting := says(lifecycle.Starting, "OnStart of daemon")
	require.Equal(t, starting.Started, starting.Since)
	require.Zero(t, starting.Ready)
	proctest.Touch(t, gate("start"))

	p.Await("msg=ready")
	ready := says(lifecycle.Ready, "")
	require.Equal(t, starting.Started, ready.Started)
	require.True(t, ready.Ready.After(ready.Started))
	require.Equal(t, ready.Ready, ready.Since)
	require.Zero(t, ready.Reloads)
	require.Nil(t, ready.LastReload)
	require.Nil(t, ready.LastReopen)
	require.Zero(t, ready.StopBy)

	asked := monotonic.Now()
	p.Signal(syscall.SIGHUP)
	p.Await("OnReload")
	reloading := says(lifecycle.Reloading, "OnReload of daemon")
	require.True(t, reloading.Since.After(ready.Since))
	require.Equal(t, ready.Ready, reloading.Ready)
	require.Nil(t, reloading.LastReload, "there is no verdict yet")
	proctest.Touch(t, gate("reload"))
	p.Await("msg=reloaded")
	reloaded := says(lifecycle.Ready, "")
	require.Equal(t, ready.Since, reloaded.Since, "the life was ready all the time")
	require.Equal(t, 1, reloaded.Reloads)
	require.NoError(t, reloaded.LastReload.Err())
	require.GreaterOrEqual(t, reloaded.LastReload.Began, asked)
	require.LessOrEqual(t, reloaded.LastReload.Began+reloaded.LastReload.Took, monotonic.Now())
	require.True(t, reloaded.LastReload.At.After(reloading.Since))

	p.Signal(syscall.SIGUSR2)
	p.Await("OnSignal")
	says(lifecycle.Ready, "OnSignal(user defined signal 2) of daemon")
	proctest.Touch(t, gate("usr2"))
	p.Await("OnSignal done")
	proctest.Eventually(t, func() bool { return stateOf(t, pidfile).Doing == "" }, "the end of OnSignal to be told")
	p.Signal(syscall.SIGUSR1)
	p.Await("nothing to reopen")
	require.NoError(t, says(lifecycle.Ready, "").LastReopen.Err())

	asked = monotonic.Now()
	p.Signal(syscall.SIGTERM)
	p.Await("OnStop")
	stopping := says(lifecycle.Stopping, "OnStop of daemon")
	require.GreaterOrEqual(t, stopping.StopBy, asked+45*time.Second, "the deadline includes the grace")
	require.LessOrEqual(t, stopping.StopBy, monotonic.Now()+45*time.Second)
	proctest.Touch(t, gate("stop"))
	proctest.Eventually(t, func() bool { return stateOf(t, pidfile).Doing == "Run of daemon" }, "the body to be waited for")
	proctest.Touch(t, gate("run"))
	p.Await("OnExit")
	require.Equal(t, stopping.Since, says(lifecycle.Stopping, "OnExit of daemon").Since)
	proctest.Touch(t, gate("exit"))
	require.Equal(t, 0, p.Wait())
	requireNothingLeft(t, pidfile)
}

func TestTheStateFileShowsAStopAtOnceEvenIfAHookDelaysIt(t *testing.T) {
	t.Parallel()
	pidfile, gate := proctest.PIDPath(t), filepath.Join(t.TempDir(), "gate")
	p := proctest.Start(t, daemon, "pidfile="+pidfile, "start=until:"+gate)
	p.Await("OnStart")
	p.Signal(syscall.SIGTERM)
	proctest.Eventually(t, func() bool { return stateOf(t, pidfile).Phase == lifecycle.Stopping }, "the phase Stopping in the state file")
	require.Equal(t, "OnStart of daemon", stateOf(t, pidfile).Doing)
	proctest.Touch(t, gate)
	require.Equal(t, 0, p.Wait())
	requireNothingLeft(t, pidfile)
}

func TestTheStateHasTheVerdictOfTheLastReload(t *testing.T) {
	t.Parallel()
	p, pidfile, _, say := startSpeaker(t, "three clients")
	require.Equal(t, "three clients", stateOf(t, pidfile).Text)
	require.Equal(t, "1.2", stateOf(t, pidfile).Version)

	say("error: line 7: no such level")
	p.Signal(syscall.SIGHUP)
	p.Await("reload failed half-way")
	s := stateOf(t, pidfile)
	require.Equal(t, lifecycle.Ready, s.Phase)
	require.Equal(t, "three clients", s.Text)
	require.Equal(t, &lifecycle.Verdict{
		At: s.LastReload.At, Began: s.LastReload.Began, Took: s.LastReload.Took,
		Component: "second", Hook: "OnReload", Error: "line 7: no such level", Applied: []string{"first"},
	}, s.LastReload)

	say("four clients")
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded")
	s = stateOf(t, pidfile)
	require.Equal(t, "four clients", s.Text)
	require.Equal(t, 2, s.Reloads)
	require.NoError(t, s.LastReload.Err())
	require.Empty(t, s.LastReload.Applied)
}

// unchanged records all that is in the directory of a path, except the PID file. It opens regular
// files only. requireUnchanged requires that nothing has changed.
func unchanged(t *testing.T, path, pidfile string) (requireUnchanged func()) {
	t.Helper()
	look := func() (all []string) {
		t.Helper()
		entries, err := os.ReadDir(filepath.Dir(path))
		require.NoError(t, err)
		for _, entry := range entries {
			name := filepath.Join(filepath.Dir(path), entry.Name())
			info, err := os.Lstat(name)
			require.NoError(t, err)
			content := ""
			switch {
			case name == pidfile:
				continue
			case info.Mode().IsRegular():
				text, err := os.ReadFile(name)
				require.NoError(t, err)
				content = string(text)
			case info.Mode()&fs.ModeSymlink != 0:
				content, err = os.Readlink(name)
				require.NoError(t, err)
			}
			all = append(all, fmt.Sprint(name, info.Mode(), info.ModTime(), info.Sys().(*syscall.Stat_t).Ino, safefile.Owner(info), content))
		}
		return all
	}
	before := look()
	return func() {
		t.Helper()
		require.Equal(t, before, look())
	}
}

// requireLivesWithoutState requires that a daemon reports the fault of its state file once, and
// that everything else works.
func requireLivesWithoutState(t *testing.T, p *proctest.Process, pidfile, warning, why string) {
	t.Helper()
	proctest.RequireText(t, pidfile, fmt.Sprintln(p.PID()))
	requireUntold(t, p.PID(), pidfile, "")
	requireRefused(t, 1, alreadyRunning(p.PID()), pidfile)
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	require.NoFileExists(t, pidfile)
	require.Equal(t, 1, p.Out.Count(warning), "%s", p.Out)
	require.Equal(t, 1, p.Out.Count("level=WARN"), "%s", p.Out)
	require.Equal(t, 1, p.Out.Count(why), "%s", p.Out)
}

// requireUntold requires three facts in the output of status: the daemon runs, why its state is
// unknown, and that it might not be ready.
func requireUntold(t *testing.T, pid int, pidfile, why string) {
	t.Helper()
	got := callVerb(t, pidfile, "status", "--ready")
	want := fmt.Sprintf("daemon: running (pid %d); cannot read its state: state file %s: ", pid, proctest.StatePath(pidfile))
	require.Equal(t, 150, got.Code)
	require.Empty(t, got.Stderr)
	require.True(t, strings.HasPrefix(got.Stdout, want), got.Stdout)
	require.True(t, strings.HasSuffix(got.Stdout, why+"\n"), got.Stdout)
	require.Equal(t, 1, strings.Count(got.Stdout, "\n"))
}
