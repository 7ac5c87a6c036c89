package lifecycle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// answered is the answer of status --json, of which the exit code must be that.
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
	pidfile = pidFileWith(t, "4127\n")
	require.Equal(t, map[string]any{"state": "dead", "pid_file": pidfile}, answered(t, pidfile, 1))

	pidfile = proctest.PIDPath(t)
	require.Equal(t, map[string]any{"state": "not running", "pid_file": pidfile}, answered(t, pidfile, 3))
	require.NoError(t, os.Mkdir(pidfile, 0o755))
	require.Equal(t, map[string]any{
		"state": "unknown", "pid_file": pidfile, "error": "unsafe PID file " + pidfile + ": it is a directory, not a regular file",
	}, answered(t, pidfile, 4))
}

func TestStatusInJSONOfADaemonThatSaysNothing(t *testing.T) {
	t.Parallel()
	_, pidfile := startSilent(t)
	require.NoError(t, os.WriteFile(statePath(pidfile), nil, 0o644))
	got := verbHere(t, pidfile, "status", "--json", "--ready")
	require.Equal(t, 150, got.Code)
	require.JSONEq(t, fmt.Sprintf(`{"state": "running", "pid_file": %q, "error": %q}`,
		pidfile, "state file "+statePath(pidfile)+": the record is damaged"), got.Stdout)
}

// nasty is what a terminal would take for commands: to clear the screen, to hide, to ring, to begin a new line, to write backwards.
const nasty = "\x1b[2J\x1b]0;title\x07\b\x7f\x00\u009b31m\u202e\u2066\u200b\u00ad\ufeff\r\n\v\f\u0085\u2028\u2029daemon: a lie\xff\x9b"

func TestWhatComesFromElsewhereDoesNotReachTheTerminalAsACommand(t *testing.T) {
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

func TestADaemonSaysItsVersionAndItsStatus(t *testing.T) {
	t.Parallel()
	p, pidfile, file, say := startSpeaker(t, "serving \x1b[1mthree\x1b[0m\nclients\n")
	status := func(lines string) {
		t.Helper()
		got := proctest.Call(t, speaker, pidfile, file, "status")
		require.Regexp(t, fmt.Sprintf(`^speaker: ready \(pid %d, version 1\.2\) for \d+[sm]\n%s$`, p.PID(), lines), got.Stdout)
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

func TestAStartBesideADaemonThatIsNotReadyYetSaysSo(t *testing.T) {
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

func TestStatusTakesNoOtherFlags(t *testing.T) {
	pidfile := proctest.PIDPath(t)
	for _, args := range [][]string{{"--bogus"}, {"--json", "--bogus"}, {"-json"}, {"--ready=true"}, {"--JSON"}, {"--oknodo"}} {
		got := verbHere(t, pidfile, append([]string{"status"}, args...)...)
		require.Equal(t, 2, got.Code, args)
		require.Empty(t, got.Stdout)
		want := "daemon: unexpected argument " + args[len(args)-1] + ": flags go before the verb\nusage: daemon [flags] VERB\n"
		require.True(t, strings.HasPrefix(got.Stderr, want), got.Stderr)
	}
	require.Equal(t, 2, verbHere(t, pidfile, "status", "json").Code)
	require.Equal(t, 3, verbHere(t, pidfile, "status", "--json", "--json").Code)
}
