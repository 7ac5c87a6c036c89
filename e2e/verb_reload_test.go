package e2e

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// callParts runs a verb of the program parts. Its stderr is "parts: " and a match of want, and its
// stdout is empty.
func callParts(t *testing.T, code int, want, pidfile string, args ...string) {
	t.Helper()
	got := proctest.Call(t, parts, append([]string{"pidfile=" + pidfile}, args...)...)
	require.Equal(t, code, got.Code, "%s%s", got.Stdout, got.Stderr)
	require.Empty(t, got.Stdout)
	require.Regexp(t, "^parts: "+want+"\n$", got.Stderr)
}

func TestTheVerbReloadPrintsTheVerdict(t *testing.T) {
	t.Parallel()
	const rejected = "reload rejected, old configuration kept: "
	for name, tt := range map[string]struct {
		args []string
		code int
		says string
	}{
		"success":                     {[]string{"config.check=", "config.reload=", "http.reload="}, 0, `reloaded \(\d+(\.\d)? m?s\)`},
		"a check fails":               {[]string{"config.check=error", "config.reload="}, 1, rejected + "config: config.check failed on purpose"},
		"the first fails":             {[]string{"config.reload=error", "http.reload="}, 1, rejected + "config: config.reload failed on purpose"},
		"the program's own fails":     {[]string{"parts.reload=error", "http.reload="}, 1, rejected + "parts.reload failed on purpose"},
		"the program's check fails":   {[]string{"parts.check=error", "parts.reload="}, 1, rejected + "parts.check failed on purpose"},
		"panic":                       {[]string{"config.reload=panic"}, 1, rejected + "config: panic: config.reload panics on purpose"},
		"the second fails":            {[]string{"a.reload=", "b.reload=error", "c.reload="}, 1, "reload failed half-way: b: b.reload failed on purpose; already reloaded: a"},
		"the third fails":             {[]string{"a.reload=", "b.reload=", "c.reload=error"}, 1, "reload failed half-way: c: c.reload failed on purpose; already reloaded: a, b"},
		"the program's own is second": {[]string{"a.reload=", "parts.reload=error"}, 1, "reload failed half-way: parts.reload failed on purpose; already reloaded: a"},
		"too long":                    {[]string{"db.reload=hang", "reloadtimeout=2s"}, 1, rejected + "OnReload of db did not return in 2s"},
		"too long after another":      {[]string{"a.reload=", "db.reload=hang", "reloadtimeout=2s"}, 1, "reload failed half-way: OnReload of db did not return in 2s; already reloaded: a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, path := startParts(t, tt.args...)
			callParts(t, tt.code, tt.says, path, "any.reload=", "reload")
			require.NoError(t, sendOff(t, mustFind(t, path).Stop).wait())
			requireExited(t, p, 0)
		})
	}
}

// An OnReload that ignores its context already runs when the test calls the verb. Therefore the
// verb knows which hook runs, even on a slow machine.
func TestTheVerbReloadGivesUpAfterReloadTimeoutAndNamesTheRunningHook(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startParts(t, "db.reload=until:"+gate)
	p.Signal(syscall.SIGHUP)
	p.Await("db.reload")
	callParts(t, 1, "reload: no verdict after 100ms, OnReload of db still running; see `parts status`", path, "reloadtimeout=100ms", "db.reload=", "reload")
	proctest.Touch(t, gate)
	callParts(t, 0, `reloaded \(\d+(\.\d)? m?s\)`, path, "db.reload=", "reload")
	require.NoError(t, sendOff(t, mustFind(t, path).Stop).wait())
	requireExited(t, p, 0)
}

func TestTheVerbReloadSendsNoSignalIfThereIsNothingToReload(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	requireUntouched := proctest.Untouched(t, path)
	nothing := "nothing to reload: this program does not support reload"
	callParts(t, 3, nothing, path, "reload")
	callParts(t, 3, nothing, path, "a.check=", "a.start=", "a.stop=", "reload")
	callParts(t, 3, nothing, proctest.PIDPath(t), "reload")
	requireUntouched()
	requireLives(t, p)
}

func TestTheVerbReloadReportsThatNoDaemonRuns(t *testing.T) {
	t.Parallel()
	path := proctest.PIDPath(t)
	callParts(t, 7, `not running \(nobody holds `+path+`\)`, path, "a.reload=", "reload")
}

func TestTheVerbReloadReportsThatTheDaemonEnded(t *testing.T) {
	t.Parallel()
	p, path := startParts(t, "a.reload=exit:3")
	callParts(t, 1, fmt.Sprintf("reload: no verdict: pid %d ended during the reload", p.PID()), path, "a.reload=", "reload")
	requireExited(t, p, 3)
}

func TestTheVerbReloadOfADaemonThatStopsIsRejected(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startParts(t, "a.reload=", "a.stop=until:"+gate)
	p.Signal(syscall.SIGTERM)
	p.Await("a.stop")
	callParts(t, 1, "reload rejected, old configuration kept: not reloaded: the daemon is stopping", path, "a.reload=", "reload")
	proctest.Touch(t, gate)
	requireExited(t, p, 0)
	require.Zero(t, p.Out.Count("a.reload"))
}
