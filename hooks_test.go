package lifecycle

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// crasher is a life in which an application's own goroutine panics on USR2.
var crasher = registerProgram("crasher", func(args []string) int {
	crash := make(chan struct{})
	go func() {
		<-crash
		panic("an own goroutine panics on purpose")
	}()
	return ExitCode(Run(nil, PIDFile(args[0]), OnSignal(syscall.SIGUSR2, func(context.Context) error { close(crash); return nil })))
})

// Row G5.
func TestAPanicInAnOwnGoroutineIsACrashThatTheNextStartSurvives(t *testing.T) {
	t.Parallel()
	pidfile := pidPath(t)
	p := start(t, crasher, pidfile)
	p.await("INFO ready")
	p.signal(syscall.SIGUSR2)
	require.Equal(t, 2, p.wait(), "as Go ends on a panic")
	p.await("panic: an own goroutine panics on purpose")
	p.await("goroutine ")

	require.Equal(t, 1, callProgram(t, daemon, "pidfile="+pidfile, "status").code)
	next := start(t, daemon, "pidfile="+pidfile)
	next.await("msg=ready")
}

// Row G8.
func TestOsExitInAHookLeavesAStaleFileAndNoLock(t *testing.T) {
	t.Parallel()
	for hook, sig := range map[string]syscall.Signal{
		"start": 0, "run": 0, "reload": syscall.SIGHUP, "check": syscall.SIGHUP, "stop": syscall.SIGTERM, "exit": syscall.SIGTERM,
	} {
		t.Run(hook, func(t *testing.T) {
			t.Parallel()
			pidfile := pidPath(t)
			p := start(t, daemon, "pidfile="+pidfile, hook+"=exit:37")
			if sig != 0 {
				p.await("msg=ready")
				p.signal(sig)
			}
			require.Equal(t, 37, p.wait())
			require.FileExists(t, pidfile)
			got := callProgram(t, daemon, "pidfile="+pidfile, "status")
			require.Equal(t, 1, got.code)
			require.Contains(t, got.stdout, fmt.Sprintf("daemon: dead: pid %d left %s, was ", p.pid(), pidfile))
			if hook != "run" {
				require.Regexp(t, "(?i), in On"+hook+" of daemon\n$", got.stdout)
			}
			next := start(t, daemon, "pidfile="+pidfile)
			next.await("msg=ready")
		})
	}
}

// A log.Fatal is an os.Exit(1) after a line: one row, one test more.
// Row G9.
func TestExitWithOneIsNoDifferent(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t, "reload=exit:1")
	p.signal(syscall.SIGHUP)
	require.Equal(t, 1, p.wait())
	require.Equal(t, 1, callProgram(t, daemon, "pidfile="+pidfile, "status").code)
}

func TestFailuresOfHooksReachTheShell(t *testing.T) {
	t.Parallel()
	for what, want := range map[string]result{
		"start=error":  {stderr: "daemon: start failed: OnStart failed on purpose\n", code: 1},
		"start=panic":  {stderr: "daemon: start failed: panic: OnStart panics on purpose\n", code: 70},
		"start=goexit": {stderr: "daemon: start failed: panic: runtime.Goexit was called\n", code: 70},
		"start=hang":   {stderr: "daemon: start failed: OnStart of daemon did not return in 20ms\n", code: 1},
		"run=error":    {stderr: ": fn failed on purpose\n", code: 1}, // as a failed start or as a failed body: whichever was first,
		"stop=hang":    {stderr: "daemon: OnStop of daemon did not return in 200ms\n", code: 1},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			pidfile := pidPath(t)
			args := []string{"pidfile=" + pidfile, what, "run", "stoptimeout=200ms"}
			if what == "start=hang" {
				args = append(args, "starttimeout=20ms")
			}
			p := start(t, daemon, args...)
			if what == "stop=hang" {
				p.await("msg=ready")
				p.signal(syscall.SIGTERM)
			}
			require.Equal(t, want.code, p.wait(), "%s", p.out)
			require.Contains(t, p.out.String(), want.stderr)
			require.NoFileExists(t, pidfile)
		})
	}
}

func TestCheckRunsOnCheckAndNothingElse(t *testing.T) {
	t.Parallel()
	pidfile := filepath.Join(t.TempDir(), "no", "such", "directory", "daemon.pid")
	require.Equal(t, result{"OnCheck\nOnCheck done\n", "daemon: check passed\n", 0}, callProgram(t, daemon, "pidfile="+pidfile, "check"))
	require.Equal(t, result{"OnCheck\nOnCheck done\n", "daemon: check failed: OnCheck failed on purpose\n", 6},
		callProgram(t, daemon, "pidfile="+pidfile, "check=error", "check"))
	panicked := callProgram(t, daemon, "pidfile="+pidfile, "check=panic", "check")
	require.Equal(t, 6, panicked.code)
	require.Contains(t, panicked.stderr, "daemon: check failed: panic: OnCheck panics on purpose\n")
	_, err := os.Stat(filepath.Dir(pidfile))
	require.Error(t, err)
}
