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

// crasher is a life in which a goroutine of the application panics on USR2.
var crasher = proctest.Register("crasher", func(args []string) int {
	crash := make(chan struct{})
	go func() {
		<-crash
		panic("an own goroutine panics on purpose")
	}()
	return lifecycle.ExitCode(lifecycle.Run(nil, lifecycle.PIDFile(args[0]), lifecycle.OnSignal(syscall.SIGUSR2, func(context.Context) error { close(crash); return nil })))
})

// Row G5.
func TestAPanicInAnotherGoroutineIsACrashAndTheNextStartWorks(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	p := proctest.Start(t, crasher, pidfile)
	p.Await("INFO ready")
	p.Signal(syscall.SIGUSR2)
	require.Equal(t, 2, p.Wait(), "Go exits with 2 after a panic")
	p.Await("panic: an own goroutine panics on purpose")
	p.Await("goroutine ")

	require.Equal(t, 1, proctest.Call(t, daemon, "pidfile="+pidfile, "status").Code)
	next := proctest.Start(t, daemon, "pidfile="+pidfile)
	next.Await("msg=ready")
}

// Row G8.
func TestOsExitInAHookLeavesAStaleFileAndNoLock(t *testing.T) {
	t.Parallel()
	for hook, sig := range map[string]syscall.Signal{
		"start": 0, "run": 0, "reload": syscall.SIGHUP, "check": syscall.SIGHUP, "stop": syscall.SIGTERM, "exit": syscall.SIGTERM,
	} {
		t.Run(hook, func(t *testing.T) {
			t.Parallel()
			pidfile := proctest.PIDPath(t)
			p := proctest.Start(t, daemon, "pidfile="+pidfile, hook+"=exit:37")
			if sig != 0 {
				p.Await("msg=ready")
				p.Signal(sig)
			}
			require.Equal(t, 37, p.Wait())
			require.FileExists(t, pidfile)
			got := proctest.Call(t, daemon, "pidfile="+pidfile, "status")
			require.Equal(t, 1, got.Code)
			require.Contains(t, got.Stdout, fmt.Sprintf("daemon: dead: pid %d left %s, was ", p.PID(), pidfile))
			if hook != "run" {
				require.Regexp(t, "(?i), in On"+hook+" of daemon\n$", got.Stdout)
			}
			next := proctest.Start(t, daemon, "pidfile="+pidfile)
			next.Await("msg=ready")
		})
	}
}

// log.Fatal prints a line and calls os.Exit(1).
// Row G9.
func TestAnExitWithOneInOnReloadIsACrash(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t, "reload=exit:1")
	p.Signal(syscall.SIGHUP)
	require.Equal(t, 1, p.Wait())
	require.Equal(t, 1, proctest.Call(t, daemon, "pidfile="+pidfile, "status").Code)
}

func TestFailuresOfHooksReachTheShell(t *testing.T) {
	t.Parallel()
	for what, want := range map[string]proctest.Result{
		"start=error":  {Stderr: `msg="OnStart of daemon failed" err="OnStart failed on purpose" component=daemon hook=OnStart`, Code: 1},
		"start=panic":  {Stderr: `msg="panic in OnStart of daemon" err="panic: OnStart panics on purpose" component=daemon hook=OnStart stack=`, Code: 70},
		"start=goexit": {Stderr: `msg="panic in OnStart of daemon" err="panic: runtime.Goexit was called" component=daemon hook=OnStart stack=`, Code: 70},
		"start=hang":   {Stderr: `msg="OnStart of daemon was abandoned: it did not return in time" err="did not return in 20ms" component=daemon hook=OnStart stack=`, Code: 1},
		"run=error":    {Stderr: `msg="Run of daemon failed" err="fn failed on purpose" component=daemon hook=Run`, Code: 1},
		"stop=error":   {Stderr: `msg="OnStop of daemon failed" err="OnStop failed on purpose" component=daemon hook=OnStop`, Code: 1},
		"exit=error":   {Stderr: `msg="OnExit of daemon failed" err="OnExit failed on purpose" component=daemon hook=OnExit`, Code: 1},
		"stop=hang":    {Stderr: `msg="OnStop of daemon was abandoned: it did not return in time" err="did not return in 2s" component=daemon hook=OnStop stack=`, Code: 1},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			pidfile := proctest.PIDPath(t)
			args := []string{"pidfile=" + pidfile, what, "run", "stoptimeout=2s"}
			if what == "start=hang" {
				args = append(args, "starttimeout=20ms")
			}
			p := proctest.Start(t, daemon, args...)
			if strings.HasPrefix(what, "stop") || strings.HasPrefix(what, "exit") {
				p.Await("msg=ready")
				p.Signal(syscall.SIGTERM)
			}
			require.Equal(t, want.Code, p.Wait(), "%s", p.Out)
			require.Contains(t, p.Out.String(), "level=ERROR "+want.Stderr)
			require.Equal(t, 1, p.Out.Count("level=ERROR"), "%s", p.Out)
			require.NotRegexp(t, "(?m)^daemon: ", p.Out.String(), "every line has a time and a level")
			require.NoFileExists(t, pidfile)
		})
	}
}

func TestCheckRunsOnCheckAndNothingElse(t *testing.T) {
	t.Parallel()
	pidfile := filepath.Join(t.TempDir(), "no", "such", "directory", "daemon.pid")
	require.Equal(t, proctest.Result{Stdout: "OnCheck\nOnCheck done\n", Stderr: "daemon: check passed\n"}, proctest.Call(t, daemon, "pidfile="+pidfile, "check"))
	require.Equal(t, proctest.Result{Stdout: "OnCheck\nOnCheck done\n", Stderr: "daemon: check failed: OnCheck failed on purpose\n", Code: 6},
		proctest.Call(t, daemon, "pidfile="+pidfile, "check=error", "check"))
	panicked := proctest.Call(t, daemon, "pidfile="+pidfile, "check=panic", "check")
	require.Equal(t, 6, panicked.Code)
	require.Contains(t, panicked.Stderr, "daemon: check failed: panic: OnCheck panics on purpose\n")
	_, err := os.Stat(filepath.Dir(pidfile))
	require.Error(t, err)
}
