package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// sweepStart kills that stage of a start at that call. It requires that the verbs then report the
// truth and that the next start works. It returns the outcome.
func sweepStart(t *testing.T, stage, at int) (outcome string, counts []int) {
	t.Helper()
	pidfile := proctest.PIDPath(t)
	endAll(t, pidfile)
	log := pidfile + ".log"
	p := startTraced(t, stage, at, pidfile, "log="+log, "start")
	code := p.awaitExit()
	left, free := p.processes(), isFree(t, pidfile)
	p.settle()
	counts = p.letGo()
	running := p.settle()

	killed := p.numbers("killed")
	what := fmt.Sprintf("killed %v, exit %d, then %d; said:\n%s", killed, code, running, p.Out)
	hit := len(killed) > 0
	said := readyText().FindStringSubmatch(p.Out.String())
	launcherKilled := hit && killed[1] == p.numbers("launcher")[0]
	status := callVerb(t, pidfile, "status")
	switch {
	case launcherKilled:
		require.Equal(t, -1, code, what)
		if said != nil && running != 0 {
			require.Equal(t, said[1], strconv.Itoa(running), what)
		}
		require.False(t, said != nil && running == 0, "the daemon reported ready, but is gone; %s", what)
		outcome = "launcher killed, none"
		if running != 0 {
			outcome = "launcher killed, ready"
		}
	case code == 0:
		require.NotNil(t, said, what)
		outcome = "ready"
		if running != 0 {
			require.Equal(t, said[1], strconv.Itoa(running), what)
		} else {
			require.Equal(t, said[1], strconv.Itoa(killed[1]), "the daemon died without the kill: %s", what)
			require.Equal(t, 1, status.Code, "%s%s", status.Stdout, what)
			require.Contains(t, status.Stdout, "was ready ", what)
			outcome = "ready, killed later"
		}
	default:
		require.True(t, hit, what)
		require.Equal(t, 1, code, what)
		require.Nil(t, said, what)
		require.Contains(t, p.Out.String(), "daemon: start failed: ", what)
		require.Zero(t, running, "a daemon runs after a failed start; %s", what)
		require.Empty(t, left, "processes run after a failed start; %s", what)
		require.True(t, free, "the lock is held after a failed start; %s", what)
		outcome = "failed: " + strings.TrimPrefix(strings.SplitN(p.Out.String(), "\n", 2)[0], "daemon: start failed: ")
	}
	if running == 0 {
		require.Contains(t, []int{1, 3}, status.Code, "%s%s%s", status.Stdout, status.Stderr, what)
	}
	requireStartAfter(t, pidfile, log, running, what)
	return outcome, counts
}

// requireStartAfter requires that the next start behaves correctly, and that the daemon can be
// stopped. running is the PID of the daemon that already runs, or 0.
func requireStartAfter(t *testing.T, pidfile, log string, running int, what string) {
	t.Helper()
	next := callVerb(t, pidfile, "log="+log, "start")
	if running != 0 {
		require.Equal(t, proctest.Result{Stderr: alreadyRunning(running), Code: 1}, next, what)
	} else {
		require.Equal(t, 0, next.Code, "%s%s", next.Stderr, what)
		require.Regexp(t, readyText(), next.Stderr, what)
		running, _ = strconv.Atoi(readyText().FindStringSubmatch(next.Stderr)[1])
		requireVerbAlone(t, pidfile, running)
		requireRunning(t, pidfile, running)
	}
	stopped := callVerb(t, pidfile, "stop")
	require.Equal(t, 0, stopped.Code, "%s%s", stopped.Stderr, what)
	require.Contains(t, stopped.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", running))
	require.Empty(t, processesOf(pidfile), what)
	require.NoFileExists(t, pidfile)
	require.NoFileExists(t, proctest.StatePath(pidfile))
}

// traceRefused contains the reason why tracing is impossible, or "".
var traceRefused struct {
	once sync.Once
	why  string
}

// needsTrace skips a test if a sandbox forbids tracing, even of its own children.
func needsTrace(t *testing.T) {
	t.Helper()
	proctest.Use(tracer)
	traceRefused.once.Do(func() {
		p := startTraced(t, launcherStage, 0, proctest.PIDPath(t), "status")
		proctest.Eventually(t, func() bool { return len(p.notes.String()) > 0 }, "the tracer")
		if len(p.numbers("launcher")) == 0 {
			traceRefused.why = p.notes.String()
			return
		}
		p.awaitExit()
		p.letGo()
	})
	if traceRefused.why != "" {
		t.Skipf("this test needs the right to ptrace(2): %s", traceRefused.why)
	}
}

// spare is how much the number of calls may vary between runs.
const spare = 10

// sweepAll calls step for every call up to last and some more. Unless LIFECYCLE_LONG is set, it
// selects a few of them.
func sweepAll(t *testing.T, last, few int, step func(t *testing.T, at int) (outcome string)) {
	t.Helper()
	sweepEach(t, sweptCalls(last, few), step)
}

func sweptCalls(last, few int) (all []int) {
	for i := range last + spare {
		all = append(all, i+1)
	}
	if !proctest.Long() {
		all = fewOf(all[:last], few)
	}
	return all
}

// sweepParts does the same as sweepAll, but handles several calls at the same time.
func sweepParts(t *testing.T, last, few int, step func(t *testing.T, at int) (outcome string)) {
	t.Helper()
	all := sweptCalls(last, few)
	parts := min(len(all), proctest.Rounds(1, 2, 6))
	for n := range parts {
		t.Run(fmt.Sprintf("part %d", n+1), func(t *testing.T) {
			t.Parallel()
			var part []int
			for i := n; i < len(all); i += parts {
				part = append(part, all[i])
			}
			sweepEach(t, part, step)
		})
	}
}

// fewOf returns a few elements, spread evenly.
func fewOf[T any](all []T, few int) (some []T) {
	for i := range few {
		some = append(some, all[(len(all)-1)*(i+1)/(few+1)])
	}
	return some
}

// sweepEach calls step for each element, and logs how often each outcome occurred.
func sweepEach[T any](t *testing.T, all []T, step func(t *testing.T, at T) (outcome string)) {
	t.Helper()
	outcomes := map[string]int{}
	for _, at := range all {
		t.Run(fmt.Sprint(at), func(t *testing.T) { outcomes[step(t, at)]++ })
	}
	for outcome, n := range outcomes {
		t.Logf("%3d of %d: %s", n, len(all), outcome)
	}
}

// The launcher, stage 1 or the daemon is killed at any of its system calls during a start.
// Rows D1, D2, D3, D4, D5.
func TestAKillDuringAStartLeavesADaemonOrNothing(t *testing.T) {
	needsTrace(t)
	t.Parallel()
	outcome, counts := sweepStart(t, launcherStage, 0)
	require.Equal(t, "ready", outcome)
	t.Logf("system calls of %v: %v", stageNames, counts)
	for stage, name := range stageNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sweepAll(t, counts[stage], proctest.Rounds(1, 4, 4), func(t *testing.T, at int) string {
				outcome, _ := sweepStart(t, stage, at)
				return outcome
			})
		})
	}
}

// sweepVerb kills the daemon at that call while it handles the verb.
func sweepVerb(t *testing.T, verb string, at int) (outcome string, counts []int) {
	t.Helper()
	pidfile := proctest.PIDPath(t)
	endAll(t, pidfile)
	log := pidfile + ".log"
	p := startTraced(t, daemonStage, 0, pidfile, "log="+log, "start")
	require.Equal(t, 0, p.awaitExit(), "%s", p.Out)
	pid := p.settle()
	p.countAnew(at)
	got := callVerb(t, pidfile, "log="+log, verb)
	p.settle()
	counts = p.letGo()
	running := p.settle()

	killed := p.numbers("killed")
	if len(killed) != 0 { // a killed daemon takes some time to end
		proctest.Eventually(t, func() bool { running = p.settle(); return running != pid }, "the end of the killed process")
	}
	what := fmt.Sprintf("killed %v, then %d; %s has said:\n%s", killed, running, verb, got.Stderr)
	outcome = "exit " + strconv.Itoa(got.Code)
	switch text := string(readFile(t, log)); {
	case verb == "stop":
		died := strings.Contains(got.Stderr, "), but it died before its stop was over")
		require.Equal(t, died, got.Code == 1, what)
		require.False(t, died && len(killed) == 0, what)
		require.Contains(t, got.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", pid), what)
		require.Zero(t, running, what)
	case verb == "restart":
		require.Equal(t, 0, got.Code, what)
		require.Contains(t, got.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", pid), what)
		require.Equal(t, strconv.Itoa(running), readyText().FindStringSubmatch(got.Stderr)[1], what)
	case verb == "reopen" && got.Code == 0:
		require.Contains(t, got.Stderr, fmt.Sprintf("daemon: log reopened (pid %d)\n", pid), what)
	case verb == "reopen":
		require.Equal(t, proctest.Result{Stderr: notRunning(pidfile), Code: 7}, got, what)
	case got.Code == 0:
		require.Contains(t, text, "OnReload done\n", what)
	default:
		require.Equal(t, 1, got.Code, what)
		require.Contains(t, got.Stderr, fmt.Sprintf("daemon: reload: no verdict: pid %d ended during the reload\n", pid), what)
	}
	switch {
	case verb == "restart":
		require.NotEqual(t, pid, running, what)
	case running != 0:
		require.Empty(t, killed, what)
		require.Equal(t, pid, running, what)
	default:
		status := callVerb(t, pidfile, "status")
		require.Contains(t, []int{1, 3}, status.Code, "%s%s%s", status.Stdout, status.Stderr, what)
		if status.Code == 1 {
			require.Contains(t, status.Stdout, fmt.Sprintf("daemon: dead: pid %d left %s", pid, pidfile), what)
			outcome += ", a stale file"
		}
	}
	requireStartAfter(t, pidfile, log, running, what)
	return outcome, counts
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return text
}

// A daemon is killed at any of its system calls while it handles a verb.
// Rows D6, D7, D8, D9.
func TestAKillDuringAReloadOrAStopLeavesNoLock(t *testing.T) {
	needsTrace(t)
	t.Parallel()
	for _, verb := range proctest.Few(1, []string{"stop", "reload", "restart", "reopen"}) {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			_, counts := sweepVerb(t, verb, 0)
			sweepAll(t, counts[daemonStage], proctest.Rounds(1, 3, 3), func(t *testing.T, at int) string {
				outcome, _ := sweepVerb(t, verb, at)
				return outcome
			})
		})
	}
}
