package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// Rows C12, C14.
func TestVerbsThatNeedADaemonReportThatNoneRuns(t *testing.T) {
	t.Parallel()
	path := proctest.PIDPath(t)
	requireUntouched := proctest.Untouched(t, path)
	require.Equal(t, proctest.Result{Stdout: notRunning(path), Code: 3}, callVerb(t, path, "status"))
	require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "stop"))
	require.Equal(t, proctest.Result{Stderr: notRunning(path)}, callVerb(t, path, "stop", "--oknodo"))
	require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "reload"))
	requireUntouched()

	missing := filepath.Join(filepath.Dir(path), "no", "such", "directory", "x.pid")
	require.Equal(t, proctest.Result{Stdout: notRunning(missing), Code: 3}, callVerb(t, missing, "status"))
	require.Equal(t, proctest.Result{Stderr: notRunning(missing), Code: 7}, callVerb(t, missing, "stop"))
	requireUntouched()
}

// Row C13.
func TestASecondStartIsRefusedWithThePIDOfTheDaemon(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	requireUntouched := proctest.Untouched(t, path)
	again := callVerb(t, path, "run")
	require.Equal(t, proctest.Result{Stderr: fmt.Sprintf("daemon: already running (pid %d)\n", p.PID()), Code: 1}, again, "no daemon was started")
	requireUntouched()
	requireLives(t, p)
}

// Row C19.
func TestAFailedReloadKeepsTheOldConfiguration(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"check=error", "reload=error", "reload=panic"} {
		p, path := startDaemon(t, how)
		got := callVerb(t, path, "reload")
		require.Equal(t, 1, got.Code)
		require.Contains(t, got.Stderr, "daemon: reload rejected, old configuration kept: ")
		require.Contains(t, got.Stderr, "on purpose\n")
		p.Await(`level=ERROR msg="reload rejected, old configuration kept"`)
		require.Equal(t, 0, callVerb(t, path, "status").Code)
		require.Equal(t, 0, callVerb(t, path, "stop").Code)
		require.Equal(t, 0, p.Wait())
	}
}

// Row C21.
func TestABrokenStdoutDoesNotChangeTheExitCode(t *testing.T) {
	t.Parallel()
	for how, run := range mutes {
		none := proctest.PIDPath(t)
		p, path := startDaemon(t)
		for _, tt := range []struct {
			want int
			args []string
		}{
			{2, []string{"pidfile=" + none, "no-such-verb"}},
			{3, []string{"pidfile=" + none, "status"}},
			{7, []string{"pidfile=" + none, "stop"}},
			{0, []string{"pidfile=" + none, "stop", "--oknodo"}},
			{7, []string{"pidfile=" + none, "reload"}},
			{0, []string{"pidfile=" + none, "check"}},
			{6, []string{"pidfile=" + none, "check=error", "check"}},
			{1, []string{"pidfile=" + none, "start=error", "run"}},
			{0, []string{"pidfile=" + none, "run=:", "run"}},
			{1, []string{"pidfile=" + path, "run"}},
			{1, []string{"pidfile=" + path, "start"}},
			{0, []string{"pidfile=" + path, "status"}},
			{0, []string{"pidfile=" + path, "reload"}},
			{0, []string{"pidfile=" + path, "stop"}},
			{3, []string{"pidfile=" + path, "status"}},
		} {
			require.Equal(t, tt.want, run(t, tt.args...), "%v with %s", tt.args, how)
		}
		require.Equal(t, 0, p.Wait())
	}
}

// Row C22.
func TestAnUnknownVerbPrintsTheUsageAndDoesNothing(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	requireUntouched := proctest.Untouched(t, path)
	for _, tt := range []struct {
		says string
		args []string
	}{
		{"unknown verb ", []string{""}},
		{"unknown verb stopp; did you mean stop?", []string{"stopp"}},
		{"unknown verb STOP; did you mean stop?", []string{"STOP"}},
		{"unknown verb -x", []string{"-x"}},
		{"unknown verb --version", []string{"--version"}},
		{"unknown verb --oknodo; the flags of a verb go after it", []string{"--oknodo", "stop"}},
		{"unexpected argument now", []string{"stop", "now"}},
		{"unexpected argument stop", []string{"stop", "stop"}},
		{"unexpected argument now", []string{"stop", "--oknodo", "now"}},
		{"stop takes no -config; flags of the program go before the verb", []string{"stop", "-config", "x"}},
		{"stop takes no -oknodo; did you mean --oknodo?", []string{"stop", "-oknodo"}},
		{"reload takes no --oknodo; flags of the program go before the verb", []string{"reload", "--oknodo"}},
		{"stop takes no --; flags of the program go before the verb", []string{"stop", "--"}},
		{"unexpected argument now", []string{"reload", "now"}},
		{"status takes no -v; flags of the program go before the verb", []string{"status", "-v"}},
		{"unexpected argument x", []string{"check", "x"}},
		{"unexpected argument x", []string{"run", "x"}},
	} {
		got := callVerb(t, path, tt.args...)
		require.Equal(t, 2, got.Code, "%q", tt.args)
		require.Empty(t, got.Stdout, "%q: no hook was called", tt.args)
		require.True(t, strings.HasPrefix(got.Stderr, "daemon: "+tt.says+"\nusage: daemon [flags] VERB\n"), "%q: %s", tt.args, got.Stderr)
	}
	requireUntouched()
	requireLives(t, p)
}

// Row C22.
func TestNoVerbPrintsTheUsage(t *testing.T) {
	t.Parallel()
	got := proctest.Call(t, verbless)
	require.Equal(t, 2, got.Code)
	require.Empty(t, got.Stdout)
	require.True(t, strings.HasPrefix(got.Stderr, "verbless: no verb given\nusage: verbless [flags] VERB\n"), got.Stderr)
}

// verbless calls Main with its arguments.
var verbless = proctest.Register("verbless", func(args []string) int {
	return lifecycle.Main(args, nil, lifecycle.Name("verbless"), lifecycle.PIDFile(""), lifecycle.OnStart(func(context.Context) error {
		fmt.Println("started")
		return nil
	}))
})

func TestVerbsReportARunningDaemon(t *testing.T) {
	p, pidfile := startDaemon(t)
	verb := func(name ...string) proctest.Result {
		return proctest.Call(t, daemon, append([]string{"pidfile=" + pidfile}, name...)...)
	}

	requireReady(t, p.PID(), verb("status"))

	second := verb("run")
	require.Equal(t, 1, second.Code)
	require.Contains(t, second.Stderr, fmt.Sprintf("daemon: already running (pid %d)\n", p.PID()))

	reloaded := verb("reload")
	require.Equal(t, 0, reloaded.Code)
	require.Regexp(t, `^daemon: reloaded \(\d+ ms\)\n$`, reloaded.Stderr)
	p.Await("msg=reloaded")

	stopped := verb("stop")
	require.Equal(t, 0, stopped.Code)
	require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, \d+ ms\)\n$`, p.PID()), stopped.Stderr)
	require.Equal(t, 0, p.Wait())
	require.NoFileExists(t, pidfile)

	require.Equal(t, proctest.Result{Stdout: "daemon: not running (nobody holds " + pidfile + ")\n", Code: 3}, verb("status"))
}

func TestStatusReportsADeadDaemon(t *testing.T) {
	p, pidfile := startDaemon(t)
	p.Signal(syscall.SIGKILL)
	p.Wait()
	got := proctest.Call(t, daemon, "pidfile="+pidfile, "status")
	require.Equal(t, 1, got.Code)
	require.Regexp(t, fmt.Sprintf(`^daemon: dead: pid %d left %s, was ready \d+s ago\n$`, p.PID(), pidfile), got.Stdout)
	require.FileExists(t, pidfile, "status never deletes a file")

	next := proctest.Start(t, daemon, "pidfile="+pidfile)
	next.Await("msg=ready")
	number, err := os.ReadFile(pidfile)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%d\n", next.PID()), string(number))
}

func TestAVerbThatMayNotSignalNamesTheSignalAndTheProcess(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root", "setpriv")
	p, pidfile := startDaemon(t)
	for _, dir := range []string{filepath.Dir(pidfile), filepath.Dir(filepath.Dir(pidfile))} {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	for verb, sig := range map[string]string{"stop": "SIGTERM", "reload": "SIGHUP", "reopen": "SIGUSR1"} {
		got := proctest.CallCommand(t, proctest.Wrapped([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, daemon, "pidfile="+pidfile, verb))
		require.Equal(t, proctest.Result{Stderr: fmt.Sprintf("daemon: %s: cannot send %s to pid %d: operation not permitted\n", verb, sig, p.PID()), Code: 4}, got)
	}
}
