package lifecycle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/statefile"
)

// verbHere calls a verb of a program named daemon in this process.
func verbHere(t *testing.T, pidfile string, args ...string) proctest.Result {
	t.Helper()
	l, err := newLife(nil, []Option{Name("daemon"), PIDFile(pidfile)})
	require.NoError(t, err)
	var stdout, stderr bytes.Buffer
	code := program{life: l, stdout: &stdout, stderr: &stderr}.main(args)
	return proctest.Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}
}

// startSilent starts a process that holds a PID file as a daemon does. The process writes no state
// file: the test writes it.
func startSilent(t *testing.T) (pid int, pidfile string) {
	t.Helper()
	pidfile = proctest.PIDPath(t)
	p, _ := startHolding(t, pidfile)
	return p.PID(), pidfile
}

// ago returns the time d before now. It is exact in a bubble.
func ago(d time.Duration) time.Time { return time.Now().Add(-d) }

func TestStatusShowsWhatARunningDaemonDoes(t *testing.T) {
	t.Parallel()
	pid, pidfile := startSilent(t)
	synctest.Test(t, func(t *testing.T) {
		own := func(err string) *Verdict {
			return &Verdict{At: ago(2 * time.Minute), Component: "daemon", Hook: "OnReload", Error: err}
		}
		for want, s := range map[string]Status{
			"starting (pid %d) for 0s":                         {Phase: Starting, Since: ago(0)},
			"starting (pid %d) for 4s, OnStart of db running":  {Phase: Starting, Since: ago(4 * time.Second), Doing: "OnStart of db"},
			"ready (pid %d) for 3h12m":                         {Phase: Ready, Since: ago(3*time.Hour + 12*time.Minute)},
			"ready (pid %d, version 1.2) for 5m":               {Phase: Ready, Since: ago(5 * time.Minute), Version: "1.2"},
			"ready (pid %d) for 1m, Run of http running":       {Phase: Ready, Since: ago(time.Minute), Doing: "Run of http"},
			"ready (pid %d) for 0s":                            {Phase: Ready, Since: ago(-time.Hour)},
			"ready (pid %d) for 2s\n  serving 3 clients":       {Phase: Ready, Since: ago(2 * time.Second), Text: "serving 3 clients"},
			"reloading (pid %d) for 7s, OnCheck of db running": {Phase: Reloading, Since: ago(7 * time.Second), Doing: "OnCheck of db"},
			"stopping (pid %d) for 9s, OnStop of http running": {Phase: Stopping, Since: ago(9 * time.Second), Doing: "OnStop of http"},
			"exited (pid %d) for 3s":                           {Phase: Exited, Since: ago(3 * time.Second)},

			"ready (pid %d) for 6s\n  the log could not be reopened 2m ago: no": {
				Phase: Ready, Since: ago(6 * time.Second), Reloads: 1, LastReload: &Verdict{At: ago(0)}, LastReopen: own("no"),
			},
			"ready (pid %d) for 10s\n  last reload rejected 2m ago: line 7: no such level": {
				Phase: Ready, Since: ago(10 * time.Second), LastReload: own("line 7: no such level"),
			},
			"ready (pid %d) for 10s\n  last reload rejected 1h ago: db: refused": {
				Phase: Ready, Since: ago(10 * time.Second),
				LastReload: &Verdict{At: ago(time.Hour), Component: "db", Hook: "OnCheck", Error: "refused"},
			},
			"ready (pid %d) for 10s\n  last reload rejected 0s ago: an earlier reload is still running": {
				Phase: Ready, Since: ago(10 * time.Second), LastReload: &Verdict{At: ago(0), Error: "an earlier reload is still running"},
			},
			"ready (pid %d) for 10s\n  last reload rejected 0s ago: OnReload of db did not return in 30s": {
				Phase: Ready, Since: ago(10 * time.Second),
				LastReload: &Verdict{At: ago(0), Component: "db", Hook: "OnReload", Error: "did not return in 30s", TimedOut: true},
			},
			"ready (pid %d) for 10s\n  last reload failed half-way 3m ago: db: refused": {
				Phase: Ready, Since: ago(10 * time.Second),
				LastReload: &Verdict{At: ago(3 * time.Minute), Component: "db", Hook: "OnReload", Error: "refused", Applied: []string{"http"}},
			},
			"stopping (pid %[1]d, version 2) for 1s, OnExit of db running\n  draining\n  last reload rejected 2m ago: no\n" +
				"  pid %[1]d may still run: its PID file was deleted or replaced": {
				Phase: Stopping, Since: ago(time.Second), Version: "2", Doing: "OnExit of db", Text: "draining", LastReload: own("no"), PIDFileLost: true,
			},
		} {
			s.PID = pid
			writeState(t, pidfile, s)
			want = fmt.Sprintf("daemon: "+want+"\n", pid)
			require.Equal(t, proctest.Result{Stdout: want}, verbHere(t, pidfile, "status"))

			code := 150
			if s.Phase == Ready || s.Phase == Reloading {
				code = 0
			}
			require.Equal(t, proctest.Result{Stdout: want, Code: code}, verbHere(t, pidfile, "status", "--ready"))
			inJSON := verbHere(t, pidfile, "status", "--json", "--ready")
			require.Equal(t, code, inJSON.Code)
			require.Equal(t, inJSON, verbHere(t, pidfile, "status", "--ready", "--json"))
			require.Equal(t, proctest.Result{Stdout: inJSON.Stdout}, verbHere(t, pidfile, "status", "--json"))
		}
	})
}

// leftBy returns the path of a PID file that a dead daemon with that PID has left, beside a file
// with its last state.
func leftBy(t *testing.T, pid int, s Status) (pidfile string) {
	t.Helper()
	pidfile = proctest.PIDFileWith(t, fmt.Sprintln(pid))
	writeState(t, pidfile, s)
	return pidfile
}

func TestStatusShowsWhatADeadDaemonDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for want, s := range map[string]Status{
			", was ready 3h ago":                       {PID: 4127, Phase: Ready, Since: ago(3 * time.Hour), Text: "serving 3 clients"},
			", was starting 5s ago, in OnStart of db":  {PID: 4127, Phase: Starting, Since: ago(5 * time.Second), Doing: "OnStart of db"},
			", was stopping 2d3h ago, in OnStop of db": {PID: 4127, Phase: Stopping, Since: ago(51 * time.Hour), Doing: "OnStop of db"},
			", was reloading 1m ago, in OnReload of db\n  last reload rejected 2m ago: no": {
				PID: 4127, Phase: Reloading, Since: ago(time.Minute), Doing: "OnReload of db", LastReload: &Verdict{At: ago(2 * time.Minute), Error: "no"},
			},
			", was ready 1m ago\n  pid 4127 may still run: its PID file was deleted or replaced": {
				PID: 4127, Phase: Ready, Since: ago(time.Minute), PIDFileLost: true,
			},
			"": {PID: 4126, Phase: Ready, Since: ago(time.Minute), LastReload: &Verdict{Error: "no"}},
			"\n  pid 4126 may still run: its PID file was deleted or replaced": {
				PID: 4126, Phase: Ready, Since: ago(time.Minute), PIDFileLost: true,
			},
		} {
			pidfile := leftBy(t, 4127, s)
			requireUntouched := proctest.Untouched(t, statePath(pidfile))
			want := "daemon: dead: pid 4127 left " + pidfile + want + "\n"
			require.Equal(t, proctest.Result{Stdout: want, Code: 1}, verbHere(t, pidfile, "status"))
			require.Equal(t, proctest.Result{Stdout: want, Code: 150}, verbHere(t, pidfile, "status", "--ready"))
			requireUntouched()
		}
	})
}

func TestStatusReportsADeadDaemonWithoutAReadableState(t *testing.T) {
	for what, left := range map[string][]byte{
		"none":              nil,
		"empty":             {},
		"torn":              make([]byte, statefile.Size),
		"of another format": sealed(`{"format":2`),
	} {
		pidfile := proctest.PIDFileWith(t, "4127\n")
		if left != nil {
			require.NoError(t, os.WriteFile(statePath(pidfile), left, 0o644))
		}
		require.Equal(t, proctest.Result{Stdout: "daemon: dead: pid 4127 left " + pidfile + "\n", Code: 1}, verbHere(t, pidfile, "status"), what)
	}
}

func TestStatusWithoutADaemon(t *testing.T) {
	pidfile := proctest.PIDPath(t)
	want := "daemon: not running (nobody holds " + pidfile + ")\n"
	require.Equal(t, proctest.Result{Stdout: want, Code: 3}, verbHere(t, pidfile, "status"))
	require.Equal(t, proctest.Result{Stdout: want, Code: 150}, verbHere(t, pidfile, "status", "--ready"))
	requireNothingLeft(t, pidfile)

	writeState(t, pidfile, Status{PID: 4127})
	require.Equal(t, proctest.Result{Stdout: want, Code: 3}, verbHere(t, pidfile, "status"), "a state file without a PID file is ignored")
	writeState(t, pidfile, Status{PID: 4127, PIDFileLost: true})
	want += "  pid 4127 may still run: its PID file was deleted or replaced\n"
	require.Equal(t, proctest.Result{Stdout: want, Code: 3}, verbHere(t, pidfile, "status"))
}

func TestStatusWhenTheStateIsUnknown(t *testing.T) {
	pidfile := proctest.PIDPath(t)
	require.NoError(t, os.Mkdir(pidfile, 0o755))
	want := "daemon: unknown: unsafe PID file " + pidfile + ": it is a directory, not a regular file\n"
	require.Equal(t, proctest.Result{Stdout: want, Code: 4}, verbHere(t, pidfile, "status"))
	require.Equal(t, proctest.Result{Stdout: want, Code: 150}, verbHere(t, pidfile, "status", "--ready"))
}

// answered returns the answer of status --json. It requires this exit code.
func answered(t *testing.T, pidfile string, code int) (all map[string]any) {
	t.Helper()
	got := verbHere(t, pidfile, "status", "--json")
	require.Equal(t, code, got.Code)
	require.Empty(t, got.Stderr)
	require.NoError(t, json.Unmarshal([]byte(got.Stdout), &all), got.Stdout)
	require.True(t, strings.HasSuffix(got.Stdout, "}\n"))
	require.Equal(t, 150*min(1, code), verbHere(t, pidfile, "status", "--json", "--ready").Code)
	return all
}

func TestStatusInJSON(t *testing.T) {
	t.Parallel()
	pid, pidfile := startSilent(t)
	s := fullStatus()
	s.PID = pid
	writeState(t, pidfile, s)
	var want map[string]any
	require.NoError(t, json.Unmarshal([]byte(fullRecord), &want))
	want["state"], want["pid_file"], want["pid"] = "running", pidfile, float64(pid)
	require.Equal(t, want, answered(t, pidfile, 0))

	s.PID = 4127
	pidfile = leftBy(t, 4127, s)
	want["state"], want["pid_file"], want["pid"] = "dead", pidfile, 4127.0
	require.Equal(t, want, answered(t, pidfile, 1))
	pidfile = proctest.PIDFileWith(t, "4127\n")
	require.Equal(t, map[string]any{"state": "dead", "pid_file": pidfile}, answered(t, pidfile, 1))

	pidfile = proctest.PIDPath(t)
	require.Equal(t, map[string]any{"state": "not running", "pid_file": pidfile}, answered(t, pidfile, 3))
	require.NoError(t, os.Mkdir(pidfile, 0o755))
	require.Equal(t, map[string]any{
		"state": "unknown", "pid_file": pidfile, "error": "unsafe PID file " + pidfile + ": it is a directory, not a regular file",
	}, answered(t, pidfile, 4))
}

func TestStatusInJSONOfADaemonWithoutAState(t *testing.T) {
	t.Parallel()
	_, pidfile := startSilent(t)
	require.NoError(t, os.WriteFile(statePath(pidfile), nil, 0o644))
	got := verbHere(t, pidfile, "status", "--json", "--ready")
	require.Equal(t, 150, got.Code)
	require.JSONEq(t, fmt.Sprintf(`{"state": "running", "pid_file": %q, "error": %q}`,
		pidfile, "state file "+statePath(pidfile)+": the record is damaged"), got.Stdout)
}

// nasty contains commands for a terminal: clear the screen, set the title, ring, hide text, write
// backwards.
const nasty = "\x1b[2J\x1b]0;title\x07\b\x7f\x00\u009b31m\u202e\u2066\u200b\u00ad\ufeff\r\n\v\f\u0085\u2028\u2029daemon: a lie\xff\x9b"

func TestTextsOfOthersReachTheTerminalSanitized(t *testing.T) {
	t.Parallel()
	s := Status{
		Name: nasty, Version: nasty, Doing: nasty, Text: nasty, Phase: Ready,
		LastReload: &Verdict{Component: nasty, Hook: nasty, Error: nasty, TimedOut: true, Applied: []string{nasty}},
	}
	requireHarmless := func(got string, lines int) {
		t.Helper()
		require.Equal(t, lines, strings.Count(got, "\n"), "%q", got)
		for _, r := range got {
			require.True(t, r == '\n' || unicode.IsPrint(r) && r < 0x80 || r == unicode.ReplacementChar, "%q has %q", got, r)
		}
		require.NotContains(t, got, "\ndaemon: a lie")
	}
	pid, pidfile := startSilent(t)
	s.PID = pid
	writeState(t, pidfile, s)
	requireHarmless(verbHere(t, pidfile, "status").Stdout, 3)
	s.LastReload.TimedOut = false
	writeState(t, pidfile, s)
	requireHarmless(verbHere(t, pidfile, "status").Stdout, 3)
	inJSON := verbHere(t, pidfile, "status", "--json").Stdout
	require.True(t, json.Valid([]byte(inJSON)))
	require.False(t, strings.ContainsFunc(inJSON, func(r rune) bool { return r < ' ' && r != '\n' }), "%q", inJSON)

	s.PID = 4127
	requireHarmless(verbHere(t, leftBy(t, 4127, s), "status").Stdout, 2)
}

func TestStatusTakesNoOtherFlags(t *testing.T) {
	pidfile := proctest.PIDPath(t)
	for _, args := range [][]string{{"--bogus"}, {"--json", "--bogus"}, {"-json"}, {"--ready=true"}, {"--JSON"}, {"--oknodo"}} {
		got := verbHere(t, pidfile, append([]string{"status"}, args...)...)
		require.Equal(t, 2, got.Code, args)
		require.Empty(t, got.Stdout)
		require.Regexp(t, "^daemon: status takes no "+args[len(args)-1]+"; .*\nusage: daemon \\[flags\\] VERB\n", got.Stderr)
	}
	require.Equal(t, 2, verbHere(t, pidfile, "status", "json").Code)
	require.Equal(t, 3, verbHere(t, pidfile, "status", "--json", "--json").Code)
}

func TestAFailureContainsTheExitCodeOnce(t *testing.T) {
	for failed, want := range map[string]string{
		"the port is taken":                 "the port is taken (exit 1)",
		"the worker ended with exit 1":      "the worker ended with exit 1",
		"died before it was ready (exit 0)": "died before it was ready (exit 0)",
	} {
		s := Status{Failed: &Failure{At: time.Now(), Code: 1, Error: failed}}
		require.Equal(t, "failed 0s ago: "+want, s.failedText())
	}
}
