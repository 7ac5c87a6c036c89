package e2e

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// sweepFaultyStart makes a call fail in that stage of a start. It requires that the verbs then
// report the truth and that the next start works. It returns the outcome.
func sweepFaultyStart(t *testing.T, stage int, at string) (outcome string, p *sweptStart) {
	t.Helper()
	pidfile, log := proctest.PIDPath(t), logPlace(t)
	endAll(t, pidfile)
	begun := time.Now()
	p = startTraced(t, stage, at, pidfile, "log="+log, "start")
	code := p.awaitExit()
	took := time.Since(begun)
	left, free := p.processes(), isFree(t, pidfile)
	p.settle()
	p.letGo()
	running := p.settle()

	failed := p.numbers("failed")
	text, err := os.ReadFile(log)
	require.True(t, err == nil || errors.Is(err, os.ErrNotExist), "%v", err)
	what := fmt.Sprintf("failed %v, exit %d in %v, then %d; said:\n%s\nthe log:\n%s", failed, code, took, running, p.Out, text)
	requireCalm(t, p.Out.String()+string(text), what)
	said := readyText().FindStringSubmatch(p.Out.String())
	switch {
	case code == 0:
		require.NotNil(t, said, what)
		require.Equal(t, said[1], strconv.Itoa(running), what)
		outcome = "ready"
		if readsState := callVerb(t, pidfile, "status", "--ready").Code == 0; !readsState {
			require.Regexp(t, "level=WARN msg=.*state file, so status and reload report less", string(text), what)
			outcome += ", without a state"
		}
	default:
		require.NotEmpty(t, failed, what)
		require.NotContains(t, at, "EINTR", what)
		require.Contains(t, []int{1, 4}, code, what)
		require.Zero(t, running, "a daemon runs after a failed start; %s", what)
		require.Empty(t, left, "processes run after a failed start; %s", what)
		require.True(t, free, "the lock is held after a failed start; %s", what)
		require.Contains(t, p.Out.String(), "daemon: start failed: ", what)
		requireTold(t, at, p.Out.String(), what)
		if !strings.HasPrefix(at, "unlinkat:") {
			requireNothingLeft(t, pidfile)
		}
		outcome = "exit " + strconv.Itoa(code) + lastLine(p.Out.String(), pidfile, log)
		require.Equal(t, 3, callVerb(t, pidfile, "status").Code, what)
	}
	if took > 5*time.Second {
		outcome += ", slow"
	}
	requireStartAfter(t, pidfile, log, running, what)
	return outcome, p
}

func needsInjection(t *testing.T) {
	t.Helper()
	if !canInject {
		t.Skip("this test needs the registers of amd64")
	}
	needsTrace(t)
}

// A system call of the launcher, of stage 1 or of the daemon fails during a start.
// Rows B9, B10, B11, I1.
func TestAFaultDuringAStartLeavesADaemonOrNothing(t *testing.T) {
	needsInjection(t)
	t.Parallel()
	outcome, p := sweepFaultyStart(t, launcherStage, "openat:EIO:0")
	require.Equal(t, "ready", strings.TrimSuffix(outcome, ", slow"))
	calls := p.made()
	t.Logf("system calls of %v: %v", stageNames, calls)
	t.Run("that it is ready cannot be written", func(t *testing.T) {
		t.Parallel()
		outcome, _ := sweepFaultyStart(t, daemonStage, fmt.Sprintf("pwrite64:EIO:%d", calls[daemonStage]["pwrite64"]))
		require.Equal(t, "ready, without a state", strings.TrimSuffix(outcome, ", slow"))
	})
	for _, stage := range proctest.Few(1, []int{launcherStage, daemonStage, firstStage}) {
		t.Run(stageNames[stage], func(t *testing.T) {
			t.Parallel()
			sweepFaults(t, calls[stage], proctest.Rounds(1, 6, 6), func(t *testing.T, at string) string {
				outcome, _ := sweepFaultyStart(t, stage, at)
				return outcome
			})
		})
	}
}

// sweepFaultyVerb makes a call of the daemon fail while it handles the verb. The verb must report
// the truth, and the daemon must continue.
func sweepFaultyVerb(t *testing.T, verb, at string) (outcome string, p *sweptStart) {
	t.Helper()
	pidfile, log := proctest.PIDPath(t), logPlace(t)
	endAll(t, pidfile)
	p = startTraced(t, daemonStage, 0, pidfile, "log="+log, "start")
	require.Equal(t, 0, p.awaitExit(), "%s", p.Out)
	pid := p.settle()
	require.NoError(t, os.Rename(log, log+".1"))
	p.countAnew(at)
	begun := time.Now()
	got := callVerb(t, pidfile, verb)
	took := time.Since(begun)
	p.settle()
	p.letGo()
	running := p.settle()

	failed := p.numbers("failed")
	text := string(readFile(t, log+".1"))
	now, err := os.ReadFile(log)
	require.True(t, err == nil || errors.Is(err, os.ErrNotExist), "%v", err)
	text += string(now)
	what := fmt.Sprintf("failed %v, exit %d in %v, then %d; %s has said:\n%s\nthe log:\n%s", failed, got.Code, took, running, verb, got.Stderr, text)
	requireCalm(t, got.Stderr+text, what)
	interrupted := len(failed) == 0 || strings.Contains(at, ":EINTR:")
	outcome = "exit " + strconv.Itoa(got.Code)
	switch verb {
	case "stop":
		require.Equal(t, 0, got.Code, what)
		require.Contains(t, got.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", pid), what)
		require.Zero(t, running, what)
		require.Equal(t, 3, callVerb(t, pidfile, "status").Code, what)
		if !strings.HasPrefix(at, "unlinkat:") {
			requireNothingLeft(t, pidfile)
		}
		if interrupted || !strings.HasPrefix(at, "write:") { // or the missing line is that
			require.Equal(t, 1, strings.Count(text, "OnExit\n"), what)
		}
	default:
		require.Equal(t, pid, running, what)
		switch {
		case interrupted:
			require.Equal(t, 0, got.Code, what)
		case got.Code != 0:
			require.Equal(t, 1, got.Code, what)
			require.Contains(t, got.Stderr, "daemon: "+verb, what)
			requireTold(t, at, got.Stderr+text, what)
			outcome += lastLine(got.Stderr, pidfile, log)
		}
		if verb == "reopen" && got.Code == 0 {
			require.FileExists(t, log, what)
		}
		// The next reopen must work, because the call fails only once.
		require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code, what)
		require.FileExists(t, log, what)
		reloaded := callVerb(t, pidfile, "reload")
		require.Equal(t, 0, reloaded.Code, "%s%s", reloaded.Stderr, what)
		requireRunning(t, pidfile, pid)
	}
	if took > 5*time.Second {
		outcome += ", slow"
	}
	requireStartAfter(t, pidfile, log, running, what)
	return outcome, p
}

// Any system call of a daemon fails while it handles a verb.
// Rows B12, B13, K13, I5, I7.
func TestAFaultInADaemonIsReportedAndDoesNotEndTheDaemon(t *testing.T) {
	needsInjection(t)
	t.Parallel()
	for _, verb := range proctest.Few(1, []string{"reload", "reopen", "stop"}) {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			_, p := sweepFaultyVerb(t, verb, "openat:EIO:0")
			sweepFaults(t, p.made()[daemonStage], proctest.Rounds(1, 4, 4), func(t *testing.T, at string) string {
				outcome, _ := sweepFaultyVerb(t, verb, at)
				return outcome
			})
		})
	}
}

// sweepFaultyCaller makes a call in the process of the verb fail.
func sweepFaultyCaller(t *testing.T, verb, at string) (outcome string, p *sweptStart) {
	t.Helper()
	pidfile, log := proctest.PIDPath(t), logPlace(t)
	endAll(t, pidfile)
	started := callVerb(t, pidfile, "log="+log, "start")
	require.Equal(t, 0, started.Code, started.Stderr)
	pid := verbSays(t, verbReady, started.Stderr)
	begun := time.Now()
	p = startTraced(t, launcherStage, at, pidfile, "log="+log, verb)
	code := p.awaitExit()
	took := time.Since(begun)
	p.settle()
	p.letGo()
	running := p.settle()

	failed := p.numbers("failed")
	what := fmt.Sprintf("failed %v, exit %d in %v, then %d of %d; said:\n%s", failed, code, took, running, pid, p.Out)
	requireCalm(t, p.Out.String(), what)
	outcome = "exit " + strconv.Itoa(code)
	if len(failed) == 0 || strings.Contains(at, ":EINTR:") {
		require.Equal(t, 0, code, what)
	}
	if code != 0 {
		require.Contains(t, []int{1, 4}, code, what)
		requireTold(t, at, p.Out.String(), what)
		outcome += lastLine(p.Out.String(), pidfile, log)
	}
	switch {
	case verb == "stop" && code == 0:
		require.Zero(t, running, what)
		requireNothingLeft(t, pidfile)
	case verb == "restart" && code == 0:
		require.NotZero(t, running, what)
		require.NotEqual(t, pid, running, what)
	case verb == "restart" && strings.Contains(p.Out.String(), "start failed: "):
		require.Zero(t, running, what)
	case code == 0:
		require.Equal(t, pid, running, what)
	default:
		// The daemon may have ended although the verb could not observe that.
		require.Contains(t, []int{0, pid}, running, what)
		require.True(t, running == pid || verb == "stop" || verb == "restart", what)
	}
	if took > 5*time.Second {
		outcome += ", slow"
	}
	requireStartAfter(t, pidfile, log, running, what)
	return outcome, p
}

// Any system call of a verb's process fails.
// Rows I1, B19.
func TestAFaultInAVerbIsReported(t *testing.T) {
	needsInjection(t)
	t.Parallel()
	for _, verb := range proctest.Few(1, []string{"status", "reload", "restart", "reopen", "stop"}) {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			_, p := sweepFaultyCaller(t, verb, "openat:EIO:0")
			sweepFaults(t, p.made()[launcherStage], proctest.Rounds(1, 2, 2), func(t *testing.T, at string) string {
				outcome, _ := sweepFaultyCaller(t, verb, at)
				return outcome
			})
		})
	}
}
