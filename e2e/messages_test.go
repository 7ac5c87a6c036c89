package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// versioned is a program with a version, without OnCheck, and with the body that FN selects.
//
//	versioned PIDFILE FN verb
var versioned = proctest.Register("versioned", func(args []string) int {
	fn, db := untilStopped, untilStopped
	switch args[1] {
	case "fn returns":
		fn = func(context.Context) error { return nil }
	case "db returns":
		db = func(context.Context) error { return nil }
	}
	return lifecycle.Main(args[2:], fn, lifecycle.Name("app"), lifecycle.Version("1.2\x1b[2J"), lifecycle.PIDFile(args[0]), lifecycle.LogFile(""),
		lifecycle.With(lifecycle.Hooks{Name: "db", OnStart: func(context.Context) error { return nil }, Run: db}),
		lifecycle.ReadyWhen(func(ctx context.Context) error {
			if args[1] != "" {
				<-ctx.Done()
			}
			return ctx.Err()
		}))
})

func untilStopped(ctx context.Context) error { <-ctx.Done(); return nil }

func TestHelpAndVersionGoToStdoutAndAreNoError(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	usage := proctest.Call(t, versioned, pidfile, "", "help")
	require.True(t, strings.HasPrefix(usage.Stdout, "usage: app [flags] VERB\n  start           start in"), usage.Stdout)
	require.Contains(t, usage.Stdout, "  version         print the version of the program\n  VERB --quiet    print errors only\n")
	require.Equal(t, proctest.Result{Stdout: usage.Stdout}, usage)
	for _, args := range [][]string{{"--help"}, {"-h"}, {"start", "--help"}, {"stop", "--oknodo", "-h"}} {
		require.Equal(t, usage, proctest.Call(t, versioned, append([]string{pidfile, ""}, args...)...), args)
	}
	version := proctest.Result{Stdout: "app 1.2\uFFFD[2J\n"}
	require.Equal(t, version, proctest.Call(t, versioned, pidfile, "", "--version"))
	require.Equal(t, version, proctest.Call(t, versioned, pidfile, "", "version"))
	require.NoFileExists(t, pidfile)

	none := proctest.Call(t, verbless, "--version")
	require.Equal(t, 2, none.Code)
	require.NotContains(t, none.Stderr, "print the version")
}

func TestQuietVerbsPrintNothingOnSuccess(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	requireQuiet := func(code int, args ...string) {
		t.Helper()
		require.Equal(t, proctest.Result{Code: code}, proctest.Call(t, versioned, append([]string{pidfile, ""}, append(args, "--quiet")...)...), args)
	}
	requireQuiet(0, "stop", "--oknodo")
	requireQuiet(0, "try-restart")
	requireQuiet(3, "status")
	requireQuiet(150, "status", "--ready")
	requireQuiet(0, "start")
	requireQuiet(0, "start", "--oknodo")
	requireQuiet(0, "restart")
	requireQuiet(0, "try-restart")
	requireQuiet(0, "reopen")
	requireQuiet(0, "check")
	requireQuiet(0, "force-reload")
	requireQuiet(0, "status")
	requireQuiet(0, "status", "--ready")
	requireQuiet(0, "stop")
}

func TestQuietVerbsStillPrintErrors(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	for line, want := range map[string]proctest.Result{
		"check --quiet":             {Code: 0, Stdout: "OnCheck\nOnCheck done\n"}, // from the hook
		"check=error check --quiet": {Code: 6, Stdout: "OnCheck\nOnCheck done\n", Stderr: "daemon: check failed: OnCheck failed on purpose\n"},
		"reload --quiet":            {},
	} {
		require.Equal(t, want, callVerb(t, pidfile, strings.Fields(line)...), line)
	}
	got := callVerb(t, pidfile, "start", "--quiet")
	require.Equal(t, 1, got.Code)
	require.Contains(t, got.Stderr, "daemon: already running (pid ")
	require.Equal(t, proctest.Result{}, callVerb(t, pidfile, "stop", "--quiet"))
	require.Equal(t, 0, p.Wait())
	require.Equal(t, proctest.Result{Stderr: notRunning(pidfile), Code: 7}, callVerb(t, pidfile, "reload", "--quiet"))
	require.Contains(t, callVerb(t, pidfile, "start", "--quiet", "start=error").Stderr, "daemon: start failed: OnStart failed on purpose\n")
	require.NoError(t, os.Mkdir(pidfile, 0o755))
	unknown := callVerb(t, pidfile, "status", "--quiet")
	require.Equal(t, 4, unknown.Code)
	require.Empty(t, unknown.Stdout)
	require.True(t, strings.HasPrefix(unknown.Stderr, "daemon: unknown: "), unknown.Stderr)
	both := callVerb(t, pidfile, "status", "--quiet", "--json")
	require.Equal(t, 2, both.Code)
	require.True(t, strings.HasPrefix(both.Stderr, "daemon: status takes --json or --quiet, not both\nusage: "), both.Stderr)
}

func TestCheckPassedIsPrintedOnlyIfThereIsAnOnCheck(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	require.Equal(t, proctest.Result{Stderr: "app: nothing to check: this program has no OnCheck\n"}, proctest.Call(t, versioned, pidfile, "", "check"))
	require.Regexp(t, `^app: ready \(.*\)\n$`, proctest.Call(t, versioned, pidfile, "", "restart").Stderr)
	require.Regexp(t, `^app: stopped \(.*\)\napp: ready \(.*\)\n$`, proctest.Call(t, versioned, pidfile, "", "restart").Stderr)
	require.Equal(t, 0, proctest.Call(t, versioned, pidfile, "", "stop").Code)
}

func TestABodyThatReturnsTooSoonIsNamedWithAdvice(t *testing.T) {
	t.Parallel()
	const must = " returned before the daemon was ready; it must block until its context ends\n"
	for which, said := range map[string]string{"fn returns": "fn", "db returns": "Run of db"} {
		pidfile := verbPlace(t)
		require.Equal(t, proctest.Result{Stderr: "app: start failed: " + said + must, Code: 1}, proctest.Call(t, versioned, pidfile, which, "start"))
		require.NoFileExists(t, pidfile)
	}
}

// nameless is a program without the option Name.
//
//	nameless PIDFILE verb
var nameless = proctest.Register("nameless", func(args []string) int {
	return lifecycle.Main(args[1:], nil, lifecycle.PIDFile(args[0]), lifecycle.LogFile(""))
})

func TestAProgramThatWasCalledWithoutAFileNameIsNamedAfterItsExecutable(t *testing.T) {
	t.Parallel()
	name := strings.TrimSuffix(filepath.Base(proctest.Binary()), ".exe")
	for called, want := range map[string]string{"": name, "/": name, "..": name, "x\ny": name, "dir/app": "app", "-app": "-app"} {
		pidfile := verbPlace(t)
		call := func(verb string) proctest.Result {
			cmd := proctest.Command(nameless, pidfile, verb)
			cmd.Args[0] = called
			return proctest.CallCommand(t, cmd)
		}
		require.Equal(t, proctest.Result{Stdout: want + ": not running (nobody holds " + pidfile + ")\n", Code: 3}, call("status"), "%q", called)
		if called == "" {
			require.Regexp(t, "^"+name+`: ready \(pid \d+, .*\)\n$`, call("start").Stderr)
			require.Equal(t, 0, call("stop").Code)
		}
	}
}

func TestNoMessageOfRunNamesAVerb(t *testing.T) {
	t.Parallel()
	got := proctest.Call(t, daemon, "detach=", "log=/dev/stdout", "pidfile="+proctest.PIDPath(t))
	require.Equal(t, 1, got.Code)
	require.Contains(t, got.Stdout, "run it in the foreground to see the output on the terminal")
	require.NotContains(t, got.Stdout+got.Stderr, "verb")
}
