package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/monotonic"
)

func TestUSR1ReopensTheLog(t *testing.T) {
	t.Parallel()
	log := logPlace(t)
	pid, pidfile := verbStart(t, "log="+log)
	require.NoError(t, os.Rename(log, log+".1"))
	require.NoError(t, syscall.Kill(pid, syscall.SIGUSR1))
	awaitLog(t, log, `msg="log reopened"`)
	require.NotContains(t, logText(t, log+".1"), "reopened")
	requireVerbRuns(t, pidfile, pid)
}

func TestEveryReloadReopensTheLogFirst(t *testing.T) {
	t.Parallel()
	for how, verdict := range map[string]string{"reload=": "msg=reloaded", "check=error": "msg=\"reload rejected", "reload=error": "msg=\"reload rejected"} {
		log := logPlace(t)
		_, pidfile := verbStart(t, "log="+log, how)
		require.NoError(t, os.Rename(log, log+".1"))
		callVerb(t, pidfile, "reload")
		awaitLog(t, log, verdict)
		require.True(t, strings.HasPrefix(logText(t, log), "OnCheck\n"), "the first line of a reload is in the new log: %s", logText(t, log))
		require.NotContains(t, logText(t, log+".1"), "OnCheck")
		require.NotContains(t, logText(t, log+".1"), "reload")
	}
}

// Rows K13, K14.
func TestAFailedReopenKeepsTheOldLogAndReportsTheError(t *testing.T) {
	t.Parallel()
	traps := map[string]func(t *testing.T, log string){
		"the directory is gone": func(t *testing.T, log string) {
			require.NoError(t, os.Rename(filepath.Dir(log), filepath.Dir(log)+".moved"))
			t.Cleanup(func() { os.RemoveAll(filepath.Dir(log) + ".moved") })
		},
	}
	for name, trap := range logTraps {
		if name != "in a directory that is missing" {
			traps[name] = trap.set
		}
	}
	for _, name := range proctest.Few(3, slices.Sorted(maps.Keys(traps))) {
		set := traps[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := logPlace(t)
			pid, pidfile := verbStart(t, "log="+log)
			old, err := os.Open(log)
			require.NoError(t, err)
			defer old.Close()
			requireOld := func(text string) {
				t.Helper()
				proctest.Eventually(t, func() bool { return strings.Contains(logRead(t, old), text) }, "%q in the old log", text)
			}
			if name != "the directory is gone" {
				require.NoError(t, os.Rename(log, log+".1"))
			}
			set(t, log)

			got := callVerb(t, pidfile, "reopen")
			require.Equal(t, 1, got.Code)
			require.Regexp(t, `^daemon: reopen: log file `+log+`: .+\n$`, got.Stderr)
			why := strings.TrimSuffix(strings.TrimPrefix(got.Stderr, "daemon: reopen: "), "\n")
			requireOld(`level=ERROR msg="cannot reopen the log, so the daemon keeps writing to the old one"`)
			requireOld(why)
			require.Equal(t, why, logStatus(t, pidfile).LastReopen.Error)

			require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
			requireOld("OnSignal done\n")
			require.Equal(t, 0, callVerb(t, pidfile, "reload").Code, "a reload succeeds even if it cannot reopen the log")
			requireOld("msg=reloaded")
			require.Equal(t, 2, strings.Count(logRead(t, old), "cannot reopen the log, so the daemon keeps writing to the old one"))
			requireVictim(t, log)
			status := callVerb(t, pidfile, "status")
			require.Equal(t, 0, status.Code)
			require.Regexp(t, fmt.Sprintf(`^daemon: ready \(pid %d\) for \d+s\n  the log could not be reopened \d+s ago: `, pid), status.Stdout)

			require.NoError(t, os.RemoveAll(log))
			require.NoError(t, os.MkdirAll(filepath.Dir(log), 0o700))
			require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code)
			awaitLog(t, log, `msg="log reopened"`)
			require.Empty(t, logStatus(t, pidfile).LastReopen.Error)
			require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
			require.Contains(t, logText(t, log), "msg=stopped")
			require.NotContains(t, logRead(t, old), "msg=stopping")
		})
	}
}

func TestAReopenThatCannotOpenOneOfTwoLogsKeepsBoth(t *testing.T) {
	t.Parallel()
	log, errors := logPlace(t), logPlace(t)
	pid, pidfile := verbStart(t, "log="+log, "errorlog="+errors)
	require.NoError(t, os.Rename(log, log+".1"))
	require.NoError(t, os.Rename(errors, errors+".1"))
	require.NoError(t, os.Mkdir(errors, 0o700))
	got := callVerb(t, pidfile, "reopen")
	require.Equal(t, proctest.Result{Stderr: "daemon: reopen: log file " + errors + ": it is a directory, not a regular file\n", Code: 1}, got)
	require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
	awaitLog(t, log+".1", "OnSignal done\n")
	awaitLog(t, errors+".1", "cannot reopen the log")
}

func TestOnReopenFollowsTheLogOfTheDaemon(t *testing.T) {
	t.Parallel()
	for _, supervised := range []string{"", "supervise="} {
		log := logPlace(t)
		_, pidfile := verbStart(t, strings.Fields("log="+log+" reopen= "+supervised)...)
		require.NoError(t, os.Rename(log, log+".1"))
		got := callVerb(t, pidfile, "reopen")
		require.Equal(t, 0, got.Code, got.Stderr)
		require.Contains(t, logText(t, log), "OnReopen done\n")
		require.NotContains(t, logText(t, log+".1"), "OnReopen")
		require.Equal(t, 0, callVerb(t, pidfile, "reload").Code)
		require.GreaterOrEqual(t, strings.Count(logText(t, log), "OnReopen done\n"), 2)
	}
}

func TestAnOnReopenThatFailsIsReported(t *testing.T) {
	t.Parallel()
	log := logPlace(t)
	_, pidfile := verbStart(t, "log="+log, "reopen=error")
	got := callVerb(t, pidfile, "reopen")
	require.Equal(t, 1, got.Code)
	require.Contains(t, got.Stderr, "daemon: reopen: OnReopen failed on purpose")
	require.Contains(t, logText(t, log), `level=ERROR msg="cannot reopen the logs of the program"`)
}

func TestInTheForegroundOnReopenRunsWithoutALog(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t, "reopen=")
	got := callVerb(t, pidfile, "reopen", "reopen=")
	require.Equal(t, 0, got.Code)
	require.Equal(t, fmt.Sprintf("daemon: log reopened (pid %d)\n", p.PID()), got.Stderr)
	p.Await("OnReopen done")
}

func TestANewLogHasTheModeOfLogFileMode(t *testing.T) {
	t.Parallel()
	log := logPlace(t)
	_, pidfile := verbStart(t, "log="+log, "logmode=600")
	requireMode := func() {
		t.Helper()
		info, err := os.Stat(log)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	requireMode()
	require.NoError(t, os.Remove(log))
	require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code)
	requireMode()
}

func TestAStopWithoutLimitHasNoDeadline(t *testing.T) {
	t.Parallel()
	for _, supervised := range []string{"", "supervise="} {
		gate := filepath.Join(t.TempDir(), "gate")
		log := logPlace(t)
		pid, pidfile := verbStart(t, strings.Fields("stoptimeout=0s log="+log+" stop=until:"+gate+" "+supervised)...)
		require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
		awaitLog(t, log, "OnStop\n")
		s, err := readStatus(proctest.StatePath(pidfile))
		require.NoError(t, err)
		require.Greater(t, s.StopBy, monotonic.Now()+100*time.Hour)
		proctest.Touch(t, gate)
		proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)
		require.NotContains(t, logText(t, log), "level=ERROR")
	}
}
