package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// The launcher reports why a start has failed, with and without a log. The start leaves no process
// and no file.
func TestAFailedStartReportsTheReasonToTheShell(t *testing.T) {
	t.Parallel()
	soon := []string{"starttimeout=2s", "stoptimeout=2s"}
	const late = `|its main did not call Run in 2s; killed` // on a busy machine
	for name, tt := range map[string]struct {
		args []string
		code int
		says string // a pattern for its first line
		rest string // a part of the other lines
	}{
		"an error of OnStart":       {[]string{"start=error"}, 1, "OnStart failed on purpose", ""},
		"a panic in OnStart":        {[]string{"start=panic"}, 70, `panic: OnStart panics on purpose`, "  | example.com/lifecycle/e2e."},
		"Goexit in OnStart":         {[]string{"start=goexit"}, 70, "panic: runtime.Goexit was called", "  | example.com/lifecycle/e2e."},
		"a body that returns":       {[]string{"run=:", "ready=wait"}, 1, "fn returned before the daemon was ready; it must block until its context ends", ""},
		"a body that fails":         {[]string{"run=error", "ready=wait"}, 1, "fn failed on purpose", ""},
		"a body that panics":        {[]string{"run=panic", "ready=wait"}, 70, "panic: fn panics on purpose", "  | example.com/lifecycle/e2e."},
		"no such directory":         {[]string{"workdir=/no/such/place"}, 1, "working directory: chdir /no/such/place: no such file or directory", ""},
		"OnStart that hangs":        {append(soon, "start=hang"), 1, `OnStart of daemon did not return in 2s; stopped, nothing left` + late, ""},
		"OnStart that is slow":      {append(soon, "start=wait"), 1, `OnStart of daemon did not return in 2s(, then returned: context canceled)?; stopped, nothing left` + late, ""},
		"OnStart and its roll-back": {[]string{"start=error", "name=other"}, 1, "OnStart failed on purpose", ""},
	} {
		for where, quiet := range map[string]bool{"with a log": false, "without": true} {
			t.Run(name+" "+where, func(t *testing.T) {
				t.Parallel()
				b := inBackground(t)
				at := b
				if quiet {
					at = b.quietly()
				}
				got := at.call(slices.Concat(tt.args, []string{"start"})...)
				first, rest, _ := strings.Cut(got.Stderr, "\n")
				_, said, _ := strings.Cut(first, ": ")
				require.Regexp(t, "^start failed: ("+tt.says+")$", said)
				require.Equal(t, tt.code, got.Code)
				require.Contains(t, rest, tt.rest)
				rest = withoutLog(proctest.Result{Stderr: rest}).Stderr
				require.Equal(t, tt.rest == "", rest == "", "%s", got.Stderr)
				require.Equal(t, !quiet, strings.HasSuffix(got.Stderr, "\n  log: "+b.log+"\n"), "%s", got.Stderr)
				require.Empty(t, got.Stdout)
				b.requireNothingLeft()
			})
		}
	}
}

// The daemon changes its directory before it calls a hook, and reports the error.
// Row E18.
func TestAnInvalidWorkingDirectoryFailsTheStart(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	file := filepath.Join(t.TempDir(), "file")
	proctest.Touch(t, file)
	got := b.call("workdir="+file, "start")
	require.Equal(t, proctest.Result{Stderr: "daemon: start failed: working directory: chdir " + file + ": not a directory\n", Code: 1}, withoutLog(got))
	require.NotContains(t, b.said(), "OnStart")
	b.requireNothingLeft()
	b.start()
}

func TestAStartNeverReportsReadyForADeadDaemon(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	for range proctest.Rounds(5, 30, 30) {
		got := b.call("run=error", "start")
		// On a slow machine, the body may have lived so long that the daemon became ready.
		if got.Code == 0 {
			b.awaitSaid("msg=ready")
			proctest.Eventually(t, func() bool { return b.call("status").Code == 3 }, "its end")
			continue
		}
		require.Equal(t, proctest.Result{Stderr: "daemon: start failed: fn failed on purpose\n", Code: 1}, withoutLog(got))
		b.requireNothingLeft()
	}
	b.start()
}

// Run is called in a separate main. The launcher continues when the daemon is ready.
func TestRunDetachedReturnsInTheLauncherWhenTheDaemonIsReady(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := b.call("detach=")
	require.Equal(t, proctest.Result{Stdout: "Run returned: <nil>\n"}, got)
	status := b.call("status")
	require.Equal(t, 0, status.Code)
	require.Contains(t, status.Stdout, "daemon: ready (pid ")
	require.NotContains(t, b.said(), "Run returned")
	b.stop()
	b.awaitSaid("Run returned: <nil>\n") // in the daemon
}

func TestRunDetachedReturnsTheResultOfTheStart(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	require.Equal(t, proctest.Result{Stdout: "Run returned: lifecycle: OnStart of daemon: OnStart failed on purpose (log " + b.log + ")\n", Code: 1}, b.call("detach=", "start=error"))
	b.requireNothingLeft()
	got := b.call("detach=", "start=panic")
	require.Equal(t, proctest.Result{Stdout: "Run returned: lifecycle: OnStart of daemon: panic: OnStart panics on purpose (log " + b.log + ")\n", Code: 70}, got)
	b.requireNothingLeft()
}

func TestTheDaemonIsStartedWithArgs(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := proctest.Call(t, argsGiver, b.args("from the shell")...)
	require.Equal(t, proctest.Result{Stdout: "InDaemon: false [from the shell]\nRun returned: <nil>\nInDaemon: false\n"}, got)
	b.awaitSaid("InDaemon: true [from the launcher  ]\n")
	b.stop()
	b.awaitSaid("Run returned: <nil>\nInDaemon: true\n")
}

// argsGiver gives its daemon other arguments than its own.
var argsGiver = proctest.Register("args giver", func(args []string) int {
	pidfile, log := strings.TrimPrefix(args[0], "pidfile="), strings.TrimPrefix(args[1], "log=")
	words := args[2:]
	say := func() { fmt.Println("InDaemon:", lifecycle.InDaemon(), words) }
	opts := []lifecycle.Option{lifecycle.PIDFile(pidfile), lifecycle.LogFile(log), lifecycle.Detach(), lifecycle.Args(args[0], args[1], "from the launcher", " ")}
	if !lifecycle.InDaemon() {
		say()
	}
	err := lifecycle.Run(nil, append(opts, lifecycle.OnStart(func(context.Context) error { say(); return nil }))...)
	fmt.Printf("Run returned: %v\nInDaemon: %v\n", err, lifecycle.InDaemon())
	return lifecycle.ExitCode(err)
})

// In a test, a start would execute the test binary again. It is refused before it makes any file.
func TestNoProcessIsDetachedUnderGoTest(t *testing.T) {
	pidfile, log := proctest.PIDPath(t), filepath.Join(t.TempDir(), "log")
	fn := func(context.Context) error { t.Error("it was called"); return nil }
	for option, o := range map[string]lifecycle.Option{"Detach": lifecycle.Detach(), "LogFile": lifecycle.LogFile(log), "ErrorLogFile": lifecycle.ErrorLogFile(log)} {
		want := "lifecycle: wrong option: " + option + ": not possible under go test, because it would start the test binary again: " +
			"use Embedded or package lifecycletest, or build the program"
		require.EqualError(t, lifecycle.Run(fn, lifecycle.PIDFile(pidfile), o), want)
	}
	for option, o := range map[string]lifecycle.Option{"User": lifecycle.User("nobody"), "Chroot": lifecycle.Chroot("/")} {
		require.ErrorContains(t, lifecycle.Run(fn, lifecycle.PIDFile(pidfile), o), "lifecycle: wrong option: "+option+": not possible under go test, because it would change ")
	}
	require.False(t, lifecycle.InDaemon())
	for _, verb := range []string{"start", "restart"} {
		require.Equal(t, 1, lifecycle.Main([]string{verb}, fn, lifecycle.PIDFile(pidfile), lifecycle.LogFile("")), verb)
	}
	requireNothingLeft(t, pidfile)
	require.NoFileExists(t, log)
}

func TestAnEmbeddedLifeIsNotDetached(t *testing.T) {
	t.Parallel()
	var said proctest.Lines
	log := filepath.Join(t.TempDir(), "log")
	called := false
	err := lifecycle.Run(func(context.Context) error { called = true; return nil }, lifecycle.Embedded(), lifecycle.Logger(slog.New(slog.NewTextHandler(&said, nil))),
		lifecycle.Detach(), lifecycle.LogFile(log), lifecycle.ErrorLogFile(log), lifecycle.WorkDir("/no/such/place"), lifecycle.Umask(0), lifecycle.Args("x"),
		lifecycle.User("no-such-user"), lifecycle.Chroot("/no/such/place"))
	require.NoError(t, err)
	require.True(t, called)
	require.Equal(t, 1, said.Count(`msg="an embedded life ignores options that need a process" options="Detach, LogFile, ErrorLogFile, WorkDir, Umask, Args, User, Chroot"`), "%s", &said)
	require.NoFileExists(t, log)
}
