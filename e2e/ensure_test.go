package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

func TestEnsureStartsADaemonAndThenFindsIt(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	code, says := callEnsure(t, "once", pidfile)
	require.Equal(t, 0, code, says)
	pid := verbSays(t, ensureReady, says)
	requireVerbRuns(t, pidfile, pid)
	for range 2 {
		code, says = callEnsure(t, "once", pidfile)
		require.Equal(t, 0, code, says)
		require.Equal(t, pid, verbSays(t, ensureReady, says))
	}
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	requireVerbLeftNothing(t, pidfile)
}

func TestEnsureFindsADaemonThatAnyProcessStarted(t *testing.T) {
	t.Parallel()
	p, foreground := startDaemon(t)
	code, says := callEnsure(t, "once", foreground)
	require.Equal(t, 0, code, says)
	require.Equal(t, p.PID(), verbSays(t, ensureReady, says))
	requireLives(t, p)

	pid, background := verbStart(t)
	code, says = callEnsure(t, "once", background)
	require.Equal(t, 0, code, says)
	require.Equal(t, pid, verbSays(t, ensureReady, says))
	requireVerbRuns(t, background, pid)
}

func TestEnsureTakesOverTheFileOfADeadDaemon(t *testing.T) {
	t.Parallel()
	dead, pidfile := verbStart(t)
	require.NoError(t, syscall.Kill(dead, syscall.SIGKILL))
	proctest.Eventually(t, func() bool { _, err := lifecycle.Find(pidfile); return errors.Is(err, lifecycle.ErrNotRunning) }, "the end of pid %d", dead)
	code, says := callEnsure(t, "once", pidfile)
	require.Equal(t, 0, code, says)
	pid := verbSays(t, ensureReady, says)
	require.NotEqual(t, dead, pid)
	requireVerbRuns(t, pidfile, pid)
}

// Row A1.
func TestFiftyProcessesThatEnsureGetOneDaemon(t *testing.T) {
	t.Parallel()
	pidfile, log := verbPlace(t), logPlace(t)
	var all []*proctest.Process
	for range 50 {
		all = append(all, ensureProgram(t, "once", pidfile, "log="+log))
	}
	pids := map[int]int{}
	for _, p := range all {
		require.Equal(t, 0, p.Wait(), p.Out)
		pids[verbSays(t, ensureReady, p.Out.String())]++
	}
	require.Len(t, pids, 1)
	require.Equal(t, 1, strings.Count(logText(t, log), "OnStart\n"))
	requireVerbRuns(t, pidfile, slices.Collect(maps.Keys(pids))[0])
}

// Row A1.
func TestFiftyGoroutinesThatEnsureGetOneDaemon(t *testing.T) {
	t.Parallel()
	pidfile, log := verbPlace(t), logPlace(t)
	code, says := callEnsure(t, "many:50", pidfile, "log="+log)
	require.Equal(t, 0, code)
	pids := map[string]int{}
	for _, match := range regexp.MustCompile(ensureReady).FindAllStringSubmatch(says, -1) {
		pids[match[1]]++
	}
	require.Len(t, pids, 1, says)
	for pid, n := range pids {
		require.Equal(t, 50, n, says)
		proctest.RequireText(t, pidfile, pid+"\n")
	}
	require.Equal(t, 1, strings.Count(logText(t, log), "OnStart\n"))
}

func TestTheNextEnsureReplacesAKilledStarter(t *testing.T) {
	t.Parallel()
	for _, waiting := range []string{"one that waits", "one that comes later"} {
		t.Run(waiting, func(t *testing.T) {
			t.Parallel()
			pidfile, log, gate := verbPlace(t), logPlace(t), filepath.Join(t.TempDir(), "gate")
			first := ensureProgram(t, "once", pidfile, "log="+log, "start=until:"+gate)
			awaitLog(t, log, "OnStart\n")
			begun, err := os.ReadFile(pidfile)
			require.NoError(t, err)
			var next *proctest.Process
			if waiting == "one that waits" {
				next = ensureProgram(t, "once", pidfile, "log="+log)
				next.Await("calls Ensure")
			}
			first.Signal(syscall.SIGKILL)
			first.Wait()
			if next == nil {
				next = ensureProgram(t, "once", pidfile, "log="+log)
				next.Await("calls Ensure")
			}
			awaitLog(t, log, "msg=stopping")
			proctest.Touch(t, gate)
			require.Equal(t, 0, next.Wait(), next.Out)
			pid := verbSays(t, ensureReady, next.Out.String())
			require.NotEqual(t, strings.TrimSpace(string(begun)), strconv.Itoa(pid), "the start without a waiting caller is undone")
			requireVerbRuns(t, pidfile, pid)
			require.Equal(t, 2, strings.Count(logText(t, log), "OnStart\n"))
		})
	}
}

func TestEnsureReturnsTheErrorOfAStartThatFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args []string
		code int
		says string
	}{
		"OnStart":           {[]string{"start=error"}, 1, "error: lifecycle: OnStart of daemon: OnStart failed on purpose\nhook: OnStart of daemon\n"},
		"another component": {[]string{"db=42"}, 42, "error: lifecycle: OnStart of db: no disk\nhook: OnStart of db\n"},
		"panic": {
			[]string{"start=panic"},
			70,
			"error: lifecycle: OnStart of daemon: panic: OnStart panics on purpose\nhook: OnStart of daemon\npanic: OnStart panics on purpose, with a stack: true\n",
		},
		"os.Exit": {[]string{"start=exit:3"}, 1, "error: lifecycle: died before it was ready\n"},
		"the log": {[]string{"log=/no/such/directory/log"}, 1, "error: lifecycle: log file /no/such/directory/log: open: no such file or directory (the directory /no/such/directory must exist)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pidfile := verbPlace(t)
			code, says := callEnsure(t, "once", pidfile, tt.args...)
			require.Equal(t, tt.says, says)
			require.Equal(t, tt.code, code)
			requireVerbLeftNothing(t, pidfile)
		})
	}
}

func TestEnsureReturnsErrStartTimeoutOfAStartThatTakesTooLong(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	code, says := callEnsure(t, "once", pidfile, "start=hang", "starttimeout=2s", "stoptimeout=100ms")
	require.Equal(t, 1, code)
	require.Regexp(t, `^error: (lifecycle: )?(OnStart of daemon: did not return|its main did not call Run) in 2s(; killed)?\n(hook: OnStart of daemon\n)?is: ErrStartTimeout\n$`, says,
		"where the machine is slow the time may be over before OnStart is called")
	requireVerbLeftNothing(t, pidfile)
}

func TestEnsureReturnsErrStartTimeoutOfADaemonThatIsNotReadyInTime(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	code, says := callEnsure(t, "once", pidfile, "ready=error", "starttimeout=2s")
	require.Equal(t, 1, code)
	require.Regexp(t, `(?m)^is: ErrStartTimeout$`, says)
	require.Regexp(t, `ReadyWhen of daemon: not ready after 2s: ReadyWhen failed on purpose\n|did not`, says)
	requireVerbLeftNothing(t, pidfile)
}

func TestEnsureReturnsTheErrorOfAWrongOption(t *testing.T) {
	t.Parallel()
	code, says := callEnsure(t, "wrong", verbPlace(t))
	require.Equal(t, 1, code)
	for _, wrong := range []string{`error: lifecycle: wrong option: `, `Umask(-01): must be`, `Name("a/b"): must be`, `LogFile("/dev/stderr"): `} {
		require.Contains(t, says, wrong)
	}
}

func TestEnsureNeedsAPIDFile(t *testing.T) {
	t.Parallel()
	code, says := callEnsure(t, "without", verbPlace(t))
	require.Equal(t, 1, code)
	require.Equal(t, "error: lifecycle: cannot find the daemon without a PID file: unsupported operation\n", says)
}

func TestEnsureReportsThatThePIDFilesMustBeTheSame(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	code, says := callEnsure(t, "elsewhere", pidfile)
	require.Equal(t, 1, code)
	require.Equal(t, fmt.Sprintf("error: lifecycle: the launcher uses the PID file %q, but the daemon uses %q: pass both the same PID file, or set Args so that the main of the daemon calls Run for it\n",
		pidfile, pidfile+".other"), says)
	requireVerbLeftNothing(t, pidfile)
}

// Row I10.
func TestEnsureLeavesNothingInAProcessThatLivesLong(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "linux")
	pidfile := verbPlace(t)
	code, says := callEnsure(t, fmt.Sprintf("rounds:%d", proctest.Rounds(5, 20, 20)), pidfile, "stoptimeout=5s")
	require.Equal(t, 0, code, says)
	require.Equal(t, "nothing is left\n", says)
	requireVerbLeftNothing(t, pidfile)
}

func TestEnsureLeavesNoZombie(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "linux")
	for _, fails := range []string{"fails=0", "fails=1"} {
		pidfile, gate := verbPlace(t), filepath.Join(t.TempDir(), "gate")
		code, says := callEnsure(t, "orphan:"+gate, pidfile, "orphan="+gate, fails)
		require.Equal(t, 0, code, says)
	}
}

func TestEnsureReturnsAnErrorUnderGoTest(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	_, err := lifecycle.Ensure(t.Context(), lifecycle.PIDFile(pidfile))
	require.ErrorContains(t, err, "lifecycle: start: not possible under go test, because it would start the test binary again")
	requireNothingLeft(t, pidfile)
}
