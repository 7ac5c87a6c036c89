package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// requireRefused requires that a start fails with that exit code and text before it calls any hook.
func requireRefused(t *testing.T, code int, text, pidfile string, args ...string) {
	t.Helper()
	got := callVerb(t, pidfile, append(args, "run")...)
	require.Equal(t, code, got.Code, "%s%s", got.Stdout, got.Stderr)
	requireLogged(t, got.Stderr, text)
	require.NotContains(t, got.Stdout, "OnStart")
}

// requireLogged requires that stderr contains text. For a start in the foreground, the part after
// "start failed: " must be in the only ERROR record.
func requireLogged(t *testing.T, stderr, text string) {
	t.Helper()
	text = strings.TrimSuffix(text, "\n")
	if _, cause, failed := strings.Cut(text, "start failed: "); failed {
		require.Equal(t, 1, strings.Count(stderr, "ERROR"), "%s", stderr)
		text = `level=ERROR msg="start failed" err="` + cause
	}
	require.Contains(t, strings.ReplaceAll(stderr, `\"`, `"`), text)
}

// withoutLog removes the line with the path of the log from the output of a verb.
func withoutLog(got proctest.Result) proctest.Result {
	got.Stderr = logLine().ReplaceAllString(got.Stderr, "")
	return got
}

var logLine = proctest.Pattern(`(?m)^  log: /.*\n`)

func requireRunning(t *testing.T, pidfile string, pid int) {
	t.Helper()
	requireReady(t, pid, callVerb(t, pidfile, "status"))
}

// requireReady requires the answer of status for a daemon that is ready and has nothing else to
// report.
func requireReady(t *testing.T, pid int, got proctest.Result) {
	t.Helper()
	require.Equal(t, 0, got.Code, "%s%s", got.Stdout, got.Stderr)
	require.Empty(t, got.Stderr)
	require.Regexp(t, fmt.Sprintf(`^daemon: ready \(pid %d\) for \d+[sm]\n(  runs (in the foreground|as process 1 of its container)\n)?(  log: \S+\n)?$`, pid), got.Stdout)
}

// requireStarts starts a daemon on that PID file and stops it.
func requireStarts(t *testing.T, pidfile string, args ...string) {
	t.Helper()
	p := proctest.Start(t, daemon, append([]string{"pidfile=" + pidfile}, args...)...)
	p.Await("msg=ready")
	proctest.RequireText(t, pidfile, fmt.Sprintln(p.PID()))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait(), "%s", p.Out)
	require.NoFileExists(t, pidfile)
}

func alreadyRunning(pid int) string { return fmt.Sprintf("daemon: already running (pid %d)\n", pid) }

const lostWarning = "the PID file was deleted or replaced"

// Row A1.
func TestOneOfFiftyStartsWins(t *testing.T) {
	pidfile := proctest.PIDPath(t)
	var all []*proctest.Process
	for range 50 {
		all = append(all, proctest.Start(t, daemon, "pidfile="+pidfile, "run"))
	}
	losers := make(chan *proctest.Process, len(all))
	for _, p := range all {
		go func() {
			<-p.Done
			losers <- p
		}()
	}
	lost := map[*proctest.Process]bool{}
	proctest.Eventually(t, func() bool {
		select {
		case p := <-losers:
			lost[p] = true
		default:
		}
		return len(lost) == len(all)-1
	}, "the end of all but one")
	for _, winner := range all {
		if lost[winner] {
			continue
		}
		winner.Await("msg=ready")
		proctest.RequireText(t, pidfile, fmt.Sprintln(winner.PID()))
		for p := range lost {
			require.Equal(t, 1, p.Wait())
			said := strings.Replace(p.Out.String(), ", not ready yet\n", "\n", 1) // as it was then
			require.Equal(t, alreadyRunning(winner.PID()), said, "the daemon did nothing else")
		}
		winner.Signal(syscall.SIGTERM)
		require.Equal(t, 0, winner.Wait())
	}
	requireNothingLeft(t, pidfile)
}

// Row A3.
func TestAStartDuringOnStopIsRefused(t *testing.T) {
	t.Parallel()
	for _, hook := range []string{"stop", "exit"} {
		t.Run(hook, func(t *testing.T) {
			t.Parallel()
			gate := filepath.Join(t.TempDir(), "gate")
			p, pidfile := startDaemon(t, hook+"=until:"+gate)
			p.Signal(syscall.SIGTERM)
			p.Await(map[string]string{"stop": "OnStop", "exit": "OnExit"}[hook])
			requireRefused(t, 1, fmt.Sprintf("daemon: already running (pid %d), stopping\n", p.PID()), pidfile)
			require.Contains(t, callVerb(t, pidfile, "status").Stdout, fmt.Sprintf("daemon: stopping (pid %d) for ", p.PID()))
			proctest.Touch(t, gate)
			require.Equal(t, 0, p.Wait())
			requireStarts(t, pidfile)
		})
	}
}

// heedful is a daemon whose OnStart waits until a stop is requested, and then returns an error or
// nil, as the argument selects.
var heedful = proctest.Register("heedful", func(args []string) int {
	return lifecycle.ExitCode(lifecycle.Run(nil, lifecycle.PIDFile(args[0]), lifecycle.OnStop(behave("OnStop", "")), lifecycle.OnExit(behave("OnExit", "")),
		lifecycle.OnStart(func(ctx context.Context) error {
			fmt.Println("OnStart")
			<-ctx.Done()
			fmt.Println("OnStart was told")
			if args[1] == "error" {
				return ctx.Err()
			}
			return nil
		})))
})

// Row A4.
func TestAStopDuringOnStartEndsItAndRollsBackWhatSucceeded(t *testing.T) {
	t.Parallel()
	for returns, stops := range map[string]int{"error": 0, "nil": 1} {
		t.Run(returns, func(t *testing.T) {
			t.Parallel()
			pidfile := proctest.PIDPath(t)
			p := proctest.Start(t, heedful, pidfile, returns)
			p.Await("OnStart")
			require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
			requireNothingLeft(t, pidfile)
			require.Equal(t, 0, p.Wait())
			require.Equal(t, 1, p.Out.Count("OnStart was told"))
			require.Equal(t, stops, p.Out.Count("OnStop done"))
			require.Equal(t, stops, p.Out.Count("OnExit done"))
			require.Zero(t, p.Out.Count("msg=ready"))
		})
	}
}

// Row A5.
func TestAStopOfADaemonThatCrashesAtThatMomentSucceeds(t *testing.T) {
	t.Parallel()
	t.Run("found before", func(t *testing.T) {
		p, pidfile := startDaemon(t)
		found, err := lifecycle.Find(pidfile)
		require.NoError(t, err)
		defer found.Close()
		p.Signal(syscall.SIGKILL)
		p.Wait()
		next := proctest.Start(t, daemon, "pidfile="+pidfile)
		next.Await("msg=ready")
		require.NoError(t, found.Stop(t.Context()))
		// The daemon that stop found is gone. This is another daemon.
		requireRunning(t, pidfile, next.PID())
		require.Zero(t, next.Out.Count("msg=stopping"))
	})
	t.Run("races", func(t *testing.T) {
		for range 5 {
			p, pidfile := startDaemon(t)
			stop := proctest.Start(t, daemon, "pidfile="+pidfile, "stop")
			_ = p.Cmd.Process.Kill() // the stop may have been faster
			code := stop.Wait()
			if code == 1 { // it has seen the death
				require.Contains(t, stop.Out.String(), ", but it died before its stop was over")
				code = 0
			}
			require.Contains(t, []int{0, 7}, code, "stopped, or not running: %s", stop.Out)
			p.Wait()
			requireStarts(t, pidfile)
		}
	})
}

// Row A6.
func TestTwoConcurrentStopsBothSucceed(t *testing.T) {
	t.Parallel()
	t.Run("both found it before", func(t *testing.T) {
		p, pidfile := startDaemon(t)
		var found [2]*lifecycle.Process
		for i := range found {
			var err error
			found[i], err = lifecycle.Find(pidfile)
			require.NoError(t, err)
			defer found[i].Close()
		}
		done := make(chan error)
		for _, daemon := range found {
			go func() { done <- daemon.Stop(t.Context()) }()
		}
		require.NoError(t, errors.Join(<-done, <-done))
		requireNothingLeft(t, pidfile)
		require.Equal(t, 0, p.Wait())
		require.Equal(t, 1, p.Out.Count("OnStop done"))
		require.Equal(t, 1, p.Out.Count("OnExit done"))
	})
	t.Run("verbs", func(t *testing.T) {
		gate := filepath.Join(t.TempDir(), "gate")
		p, pidfile := startDaemon(t, "stop=until:"+gate)
		one := proctest.Start(t, daemon, "pidfile="+pidfile, "stop")
		p.Await("OnStop")
		// The second stop may come too late.
		two := proctest.Start(t, daemon, "pidfile="+pidfile, "stop", "--oknodo")
		proctest.Touch(t, gate)
		for _, stop := range []*proctest.Process{one, two} {
			require.Equal(t, 0, stop.Wait(), "%s", stop.Out)
		}
		requireNothingLeft(t, pidfile)
		require.Equal(t, 0, p.Wait())
		require.Equal(t, 1, p.Out.Count("OnStop done"))
	})
}
