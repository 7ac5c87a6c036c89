package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// The PID file of a daemon is gone or belongs to another daemon. The test requires the report of
// each verb.
// Rows A10, A11, B10.
func TestTheVerbsReportADaemonThatHasLostItsPIDFile(t *testing.T) {
	t.Parallel()
	for what, lose := range map[string]func(t *testing.T, pidfile string){
		"deleted": func(t *testing.T, pidfile string) { require.NoError(t, os.Remove(pidfile)) },
		"replaced": func(t *testing.T, pidfile string) {
			require.NoError(t, os.WriteFile(pidfile+".other", nil, 0o644))
			require.NoError(t, os.Rename(pidfile+".other", pidfile))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			first := b.start()
			lose(t, b.pidfile)
			gone := proctest.Result{Stderr: notRunning(b.pidfile), Code: 7}
			seen := fmt.Sprintf("  pid %d may still run: its PID file was deleted or replaced\n", first)
			log := "  log: " + b.log + "\n"
			require.Equal(t, proctest.Result{Stdout: notRunning(b.pidfile) + seen + log, Code: 3}, b.call("status"), "the daemon has not noticed the loss")
			require.NoError(t, syscall.Kill(first, syscall.SIGHUP))
			b.awaitSaid(lostWarning)
			require.Equal(t, proctest.Result{Stdout: notRunning(b.pidfile) + seen + log, Code: 3}, b.call("status"))
			var status lifecycle.Status
			require.NoError(t, json.Unmarshal([]byte(b.call("status", "--json").Stdout), &status))
			require.True(t, status.PIDFileLost)
			require.Equal(t, first, status.PID)
			require.Equal(t, lifecycle.Ready, status.Phase)
			gone.Stderr += seen
			for _, verb := range []string{"stop", "reload", "reopen"} {
				require.Equal(t, gone, b.call(verb), verb)
			}

			require.NoError(t, os.Remove(proctest.StatePath(b.pidfile))) // or a second start is refused
			second := b.start()
			requireFound(t, b, first, second)
			got := b.call("restart")
			require.Equal(t, 0, got.Code, got.Stderr)
			third := verbSays(t, verbReady, got.Stderr)
			requireFound(t, b, first, third)
			require.NoError(t, syscall.Kill(first, syscall.SIGTERM))
			requireVerbAlone(t, b.pidfile, third)
			requireRunning(t, b.pidfile, third)
			b.stop()
		})
	}
}

// requireFound requires that the verbs find the daemon with PID found. It also requires that the
// daemon with PID lost, which has lost its PID file, still runs.
func requireFound(t *testing.T, b *background, lost, found int) {
	t.Helper()
	requireRunning(t, b.pidfile, found)
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(found), Code: 1}, b.call("start"))
	proctest.Eventually(t, func() bool { return len(b.processes()) == 2 }, "the two")
	require.Contains(t, b.processes(), lost)
}

// Rows A11, B10.
func TestADaemonWhoseDirectoryWasRenamedIsFoundThere(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	dir := filepath.Dir(b.pidfile)
	pid := b.start()
	require.NoError(t, os.Rename(dir, dir+".moved"))
	for verb, want := range map[string]proctest.Result{
		"status": {Stdout: notRunning(b.pidfile), Code: 3},
		"stop":   {Stderr: notRunning(b.pidfile), Code: 7},
		"reload": {Stderr: notRunning(b.pidfile), Code: 7},
		"reopen": {Stderr: notRunning(b.pidfile), Code: 7},
	} {
		require.Equal(t, want, b.call(verb), verb)
	}
	for _, verb := range []string{"start", "restart"} {
		got := b.call(verb)
		require.Equal(t, 1, got.Code)
		require.Regexp(t, `daemon: start failed: PID file `+b.pidfile+`: .*: no such file or directory \(the directory `+dir+` must exist\)\n$`, got.Stderr)
	}
	moved := filepath.Join(dir+".moved", filepath.Base(b.pidfile))
	requireRunning(t, moved, pid)
	require.Equal(t, 0, callVerb(t, moved, "reload").Code)
	b.awaitSaid(lostWarning)
	status := callVerb(t, moved, "status")
	require.Equal(t, 0, status.Code)
	require.Contains(t, status.Stdout, fmt.Sprintf("\n  pid %d may still run: its PID file was deleted or replaced\n", pid))
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid), Code: 1}, callVerb(t, moved, "start"))
	require.Equal(t, 0, callVerb(t, moved, "stop").Code)
	require.Empty(t, b.processes())
	requireNothingLeft(t, moved)
	require.NoError(t, os.Rename(dir+".moved", dir))
	b.start()
	b.stop()
}

// Rows B9, B10, K13.
func TestADaemonRunsAndStopsWhenItsFileSystemsBecomeReadOnly(t *testing.T) {
	needsMount(t)
	t.Parallel()
	b := inBackground(t)
	pid := b.start()
	require.NoError(t, os.Rename(b.log, b.log+".1"))
	for _, dir := range []string{filepath.Dir(b.pidfile), filepath.Dir(b.log)} {
		readOnly(t, dir)
	}
	const why = "read-only file system"
	requireRunning(t, b.pidfile, pid)
	require.Equal(t, 0, b.call("reload").Code)
	require.Equal(t, proctest.Result{Stderr: "daemon: reopen: log file " + b.log + ": open: " + why + "\n", Code: 1}, b.call("reopen"))
	require.Contains(t, b.call("status").Stdout, why)
	require.Equal(t, 0, b.call("stop").Code)
	for _, text := range []string{"cannot reopen the log, so the daemon keeps writing to the old one", "cannot remove the state file", "cannot remove the PID file", "msg=stopped"} {
		require.Contains(t, logText(t, b.log+".1"), text)
	}
	require.Equal(t, proctest.Result{Stdout: notRunning(b.pidfile), Code: 3}, b.call("status"))
	require.Equal(t, proctest.Result{Stderr: "daemon: start failed: PID file " + b.pidfile + ": open: " + why + "\n", Code: 1}, b.call("start"))
	require.Equal(t, 7, b.call("stop").Code)
	for _, dir := range []string{filepath.Dir(b.pidfile), filepath.Dir(b.log)} {
		require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH))
	}
	b.start()
	b.stop()
}

// The log is on a file system that is really full. The daemon's output is lost while the file
// system is full. The log continues when there is room again.
// Rows B11, B14, K13, I5.
func TestADaemonRunsAndStopsWhenItsFileSystemIsFull(t *testing.T) {
	needsMount(t)
	t.Parallel()
	for what, c := range map[string]struct {
		options string
		reopens bool // empty files can be created
		fill    func(name string) error
	}{
		"no block": {"size=64k", true, func(name string) error { return os.WriteFile(name, make([]byte, os.Getpagesize()), 0o600) }},
		"no inode": {"nr_inodes=8", false, func(name string) error { return os.WriteFile(name, nil, 0o600) }},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mount(t, "tmpfs", dir, "tmpfs", 0, "mode=0755,"+c.options)
			b := &background{t: t, pidfile: filepath.Join(dir, "daemon.pid"), log: filepath.Join(dir, "daemon.log")}
			endAll(t, b.pidfile)
			pid := b.start()
			require.NoError(t, os.Rename(b.log, b.log+".1"))
			free := fillUp(t, dir, c.fill)
			requireRunning(t, b.pidfile, pid)
			require.Equal(t, 0, b.call("reload").Code)
			reopened := b.call("reopen")
			if c.reopens {
				require.Equal(t, 0, reopened.Code, reopened.Stderr)
				require.Empty(t, b.said(), "the disk has no room for the text")
			} else {
				require.Equal(t, proctest.Result{Stderr: "daemon: reopen: log file " + b.log + ": open: no space left on device\n", Code: 1}, reopened)
			}
			require.Equal(t, 0, b.call("status", "--ready").Code)
			free()
			require.Equal(t, 0, b.call("reopen").Code)
			require.Contains(t, b.said(), "log reopened")
			free = fillUp(t, dir, c.fill)
			require.Equal(t, 0, b.call("stop").Code)
			require.NoFileExists(t, b.pidfile)
			require.NoFileExists(t, proctest.StatePath(b.pidfile))

			again := fillUp(t, dir, c.fill)
			require.NoError(t, os.Remove(b.log))
			require.NoError(t, os.Remove(b.log+".1"))
			last := fillUp(t, dir, c.fill)
			got := b.call("start")
			require.Equal(t, 1, got.Code)
			require.Regexp(t, `^daemon: start failed: (PID|log) file .*: no space left on device\n$`, withoutLog(got).Stderr)
			require.NoFileExists(t, b.pidfile)
			require.NoFileExists(t, proctest.StatePath(b.pidfile))
			free()
			again()
			last()
			b.start()
			require.Equal(t, 0, b.call("stop").Code)
		})
	}
}
