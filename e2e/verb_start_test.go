package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// mutes contains functions that run the program daemon without a reader of its output. They return
// its exit code.
var mutes = map[string]func(t *testing.T, args ...string) (exitCode int){
	"a broken pipe": func(t *testing.T, args ...string) int {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, r.Close())
		defer w.Close()
		cmd := proctest.Command(daemon, args...)
		cmd.Stdout, cmd.Stderr = w, w
		return proctest.Launch(t, cmd).Wait()
	},
	"all closed": func(t *testing.T, args ...string) int {
		return proctest.Launch(t, proctest.Wrapped([]string{"sh", "-c", `exec "$0" "$@" <&- >&- 2>&-`}, daemon, args...)).Wait()
	},
}

// verbPlace returns a path for a PID file. The test ends all processes that were started with it,
// detached or not.
func verbPlace(t *testing.T) (pidfile string) {
	t.Helper()
	pidfile = proctest.PIDPath(t)
	t.Cleanup(func() {
		for _, pid := range processesOf(pidfile) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return pidfile
}

// requireVerbLeftNothing requires that no process with this PID file remains, and no file beside
// the PID file.
func requireVerbLeftNothing(t *testing.T, pidfile string) {
	t.Helper()
	require.Empty(t, processesOf(pidfile))
	requireNothingLeft(t, pidfile)
}

// verbSays returns the PID in the output of a verb.
func verbSays(t *testing.T, pattern, text string) (pid int) {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	require.NotNil(t, match, "%q is not in %q", pattern, text)
	pid, err := strconv.Atoi(match[1])
	require.NoError(t, err)
	require.Positive(t, pid, text) // signal 0 would reach this process
	return pid
}

const (
	verbReady   = `(?m)^daemon: ready \(pid (\d+), \d+(?:\.\d)? m?s\)`
	verbStopped = `(?m)^daemon: stopped \(pid (\d+), \d+(?:\.\d)? m?s\)$`
)

// verbStart starts the program daemon in the background.
func verbStart(t *testing.T, args ...string) (pid int, pidfile string) {
	t.Helper()
	pidfile = verbPlace(t)
	got := callVerb(t, pidfile, append(args, "start")...)
	require.Equal(t, 0, got.Code, got.Stderr)
	return verbSays(t, verbReady, got.Stderr), pidfile
}

// requireVerbRuns requires that this daemon, and no other process, runs with that PID file.
func requireVerbRuns(t *testing.T, pidfile string, pid int) {
	t.Helper()
	requireRunning(t, pidfile, pid)
	proctest.RequireText(t, pidfile, fmt.Sprintln(pid))
	requireVerbAlone(t, pidfile, pid)
}

// requireVerbAlone waits for the end of the stage that started the process pid. It requires that no
// other process with that PID file remains.
func requireVerbAlone(t *testing.T, pidfile string, pid int) {
	t.Helper()
	proctest.Eventually(t, func() bool { return slices.Equal([]int{pid}, processesOf(pidfile)) }, "pid %d to be the only one", pid)
}

func TestStartReturnsWhenTheDaemonIsReady(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	got := callVerb(t, pidfile, "start")
	require.Equal(t, 0, got.Code)
	require.Empty(t, got.Stdout, "the verb does not print the output of the daemon")
	require.Regexp(t, `^daemon: ready \(pid \d+, \d+(\.\d)? m?s\)\n$`, got.Stderr, "there is no log to report")
	requireVerbRuns(t, pidfile, verbSays(t, verbReady, got.Stderr))

	stopped := callVerb(t, pidfile, "stop")
	require.Equal(t, 0, stopped.Code)
	require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, \d+(\.\d)? m?s\)\n$`, verbSays(t, verbReady, got.Stderr)), stopped.Stderr)
	requireVerbLeftNothing(t, pidfile)
}

func TestStartPrintsThePathOfTheLog(t *testing.T) {
	t.Parallel()
	logs := t.TempDir()
	out, errs := filepath.Join(logs, "out"), filepath.Join(logs, "err")
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"log=" + out}, out},
		{[]string{"log=" + out, "errorlog=" + errs}, out},
		{[]string{"errorlog=" + errs}, errs},
	} {
		pidfile := verbPlace(t)
		got := callVerb(t, pidfile, append(tt.args, "start")...)
		require.Equal(t, 0, got.Code)
		require.Regexp(t, `^daemon: ready \(pid \d+, \d+(\.\d)? m?s\), log `+tt.says+`\n$`, got.Stderr)
		require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	}
}

func TestStartChangesNothingIfADaemonRuns(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	requireUntouched := proctest.Untouched(t, pidfile)
	log := filepath.Join(t.TempDir(), "log")
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid), Code: 1}, callVerb(t, pidfile, "log="+log, "start"))
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid)}, callVerb(t, pidfile, "log="+log, "start", "--oknodo"))
	require.NoFileExists(t, log)
	requireUntouched()
	requireVerbRuns(t, pidfile, pid)
}

func TestStartIsRefusedIfADaemonRunsInTheForeground(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(p.PID()), Code: 1}, callVerb(t, pidfile, "start"))
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(p.PID())}, callVerb(t, pidfile, "start", "--oknodo"))
	requireLives(t, p)
}

func TestStartReportsThatAnotherStartIsInProgress(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p := proctest.Start(t, daemon, "pidfile="+verbPlace(t), "start=until:"+gate)
	pidfile := strings.TrimPrefix(p.Cmd.Args[1], "pidfile=")
	p.Await("OnStart")
	says := fmt.Sprintf("daemon: already running (pid %d), not ready yet\n", p.PID())
	require.Equal(t, proctest.Result{Stderr: says, Code: 1}, callVerb(t, pidfile, "start"))
	require.Equal(t, proctest.Result{Stderr: says}, callVerb(t, pidfile, "start", "--oknodo"))
	proctest.Touch(t, gate)
	p.Await("msg=ready")
	requireLives(t, p)
}

// Row C22.
func TestAnArgumentAfterAVerbIsItsFlagOrPrintsTheUsage(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	requireUntouched := proctest.Untouched(t, pidfile)
	for _, args := range [][]string{
		{"start", "now"},
		{"start", "--oknodo", "now"},
		{"start", "--foreground"},
		{"restart", "now"},
		{"restart", "--oknodo"},
		{"try-restart", "--oknodo"},
		{"force-reload", "now"},
		{"reopen", "log"},
		{"reopen", "--oknodo"},
		{"tryrestart"},
		{"Restart"},
	} {
		got := callVerb(t, pidfile, args...)
		require.Equal(t, 2, got.Code, "%q", args)
		require.Empty(t, got.Stdout, "%q: no hook was called", args)
		for _, verb := range []string{"run", "start", "stop", "restart", "try-restart", "reload", "force-reload", "reopen", "status", "check"} {
			require.Contains(t, got.Stderr, "\n  "+verb+" ", "%q", args)
		}
	}
	requireUntouched()
	requireVerbRuns(t, pidfile, pid)
}
