package lifecycle

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// verbPlace is a place for a PID file. Whatever was started with it, detached or not, is ended with the test.
func verbPlace(t *testing.T) (pidfile string) {
	t.Helper()
	pidfile = proctest.PIDPath(t)
	t.Cleanup(func() {
		for _, pid := range verbProcesses(t, pidfile) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return pidfile
}

// verbProcesses are the processes that have this PID file among their arguments; where that cannot be seen, the one that holds it.
func verbProcesses(t *testing.T, pidfile string) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if _, seen := os.Stat("/proc/self/cmdline"); err != nil || seen != nil {
		if p, err := Find(pidfile); err == nil {
			defer p.Close()
			pids = append(pids, p.PID)
		}
		return pids
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		args, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline")) // a zombie has none
		if slices.ContainsFunc(bytes.Split(args, []byte{0}), func(arg []byte) bool { return string(arg) == "pidfile="+pidfile }) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// verbSays is what a verb says of a PID.
func verbSays(t *testing.T, pattern, text string) (pid int) {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	require.NotNil(t, match, "%q is not in %q", pattern, text)
	pid, err := strconv.Atoi(match[1])
	require.NoError(t, err)
	require.Positive(t, pid, text) // to signal 0 would be to signal ourselves
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

// requireVerbAlone requires that no process but this one is left of those that were started with that PID file, once the stage that started it has ended.
func requireVerbAlone(t *testing.T, pidfile string, pid int) {
	t.Helper()
	proctest.Eventually(t, func() bool { return slices.Equal([]int{pid}, verbProcesses(t, pidfile)) }, "pid %d to be the only one", pid)
}

// Row C22.
func TestWhatFollowsAVerbIsAFlagOfItsOwnOrTheUsage(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	requireUntouched := untouched(t, pidfile)
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
		for _, v := range verbs() {
			require.Contains(t, got.Stderr, "\n  "+v.name+" ", "%q", args)
		}
	}
	requireUntouched()
	requireVerbRuns(t, pidfile, pid)
}

func TestAStackIsToldWithoutWhatATerminalWouldObey(t *testing.T) {
	t.Parallel()
	l, err := newLife(nil, []Option{Name("app"), quiet, Embedded()})
	require.NoError(t, err)
	var said proctest.Lines
	failed := newFailure(&HookError{"db", "OnStart", &PanicError{"boom", []byte("goroutine 1:\n\t/src/\x1b[2J.go:7\n")}}, nil)
	program{life: l, stderr: &said}.sayFailedStart(failed.Err())
	require.Equal(t, "app: start failed: db: panic: boom\n  | goroutine 1:\n  | \t/src/\uFFFD[2J.go:7\n", said.String())
}
