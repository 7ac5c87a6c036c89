package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// limited runs the program daemon under a limit of prlimit(1), such as --nofile=8.
func (b *background) limited(limit string, args ...string) proctest.Result {
	b.t.Helper()
	proctest.Needs(b.t, "prlimit")
	return proctest.CallCommand(b.t, proctest.Wrapped([]string{"prlimit", limit}, daemon, b.args(args...)...))
}

// setLimit sets a limit of a running process.
func setLimit(t *testing.T, pid, resource int, limit uint64) {
	t.Helper()
	var now unix.Rlimit
	require.NoError(t, unix.Prlimit(pid, resource, nil, &now))
	require.NoError(t, unix.Prlimit(pid, resource, &unix.Rlimit{Cur: min(limit, now.Max), Max: now.Max}, nil))
}

// requireStartsHere requires that the daemon starts and stops without other output.
func (b *background) requireStartsHere() {
	b.t.Helper()
	b.start()
	b.stop()
}

// Row I1.
func TestAStartWithFewDescriptorsSucceedsOrReportsTheReason(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	// With fewer descriptors, the Go runtime does not start.
	for _, n := range []int{7, 8, 10, 13, 16, 18, 20, 22, 24, 28} {
		got := b.limited(fmt.Sprintf("--nofile=%d", n), "start")
		if got.Code != 0 {
			require.Equal(t, 1, got.Code, "%d: %s", n, got.Stderr)
			require.Regexp(t, `^daemon: start failed: .*too many open files\n(  log: \S+\n)?$`, got.Stderr)
			require.Less(t, n, 28)
			b.requireNothingLeft()
			continue
		}
		pid := b.readied(got)
		// This line is logged for root without CAP_SYS_RESOURCE.
		const kept = `level=WARN msg="the daemon inherited settings of its caller`
		require.NotContains(t, strings.ReplaceAll(b.said(), kept, ""), "level=WARN")
		for _, verb := range []string{"status", "reload", "reopen"} {
			got := b.limited(fmt.Sprintf("--nofile=%d", n), verb)
			require.Equal(t, 0, got.Code, "%d: %s%s", n, got.Stdout, got.Stderr)
		}
		requireRunning(t, b.pidfile, pid)
		b.stop()
		return
	}
}

// Rows I1, K13.
func TestADaemonThatRunsOutOfDescriptorsKeepsItsLogAndRuns(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	pid := b.start()
	require.NoError(t, os.Rename(b.log, b.log+".1"))
	setLimit(t, pid, unix.RLIMIT_NOFILE, 3)
	const why = "too many open files"
	require.Equal(t, proctest.Result{Stderr: "daemon: reopen: log file " + b.log + ": open: " + why + "\n", Code: 1}, b.call("reopen"))
	reloaded := b.call("reload")
	require.Equal(t, 0, reloaded.Code, reloaded.Stderr)
	awaitLog(t, b.log+".1", "cannot reopen the log, so the daemon keeps writing to the old one", 2)
	awaitLog(t, b.log+".1", "msg=reloaded")
	status := b.call("status")
	require.Equal(t, 0, status.Code)
	require.Contains(t, status.Stdout, why)
	setLimit(t, pid, unix.RLIMIT_NOFILE, 256)
	require.Equal(t, 0, b.call("reopen").Code)
	setLimit(t, pid, unix.RLIMIT_NOFILE, 3)
	b.stop()
	require.Contains(t, b.said(), "msg=stopped")
}

// A start makes the same number of system calls with any limit of descriptors, because no code
// iterates up to the limit.
// Rows I1, I12.
func TestTheTimeOfAStartDoesNotDependOnTheLimitOfDescriptors(t *testing.T) {
	proctest.Needs(t, "prlimit")
	needsTrace(t)
	t.Parallel()
	highest := strings.TrimSpace(string(readFile(t, "/proc/sys/fs/nr_open")))
	if exec.Command("prlimit", "--nofile="+highest, "true").Run() != nil {
		var limit unix.Rlimit
		require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
		highest = strconv.FormatUint(limit.Max, 10)
	}
	fewest := func(limit string) (least []int) {
		for range proctest.Rounds(2, 3, 3) { // the calls of the Go runtime vary
			pidfile := proctest.PIDPath(t)
			endAll(t, pidfile)
			p := followTraced(t, proctest.Wrapped([]string{"prlimit", "--nofile=" + limit}, tracer, "0", "0", "pidfile="+pidfile, "start"), pidfile)
			require.Equal(t, 0, p.awaitExit(), "%s", p.Out)
			p.settle()
			counts := p.letGo()
			require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
			for stage, n := range counts {
				if len(least) <= stage {
					least = append(least, n)
				}
				least[stage] = min(least[stage], n)
			}
		}
		return least
	}
	low, high := fewest("256"), fewest(highest)
	t.Logf("system calls of %v: %v with 256 descriptors, %v with %s", stageNames, low, high, highest)
	for stage := range low {
		require.InDelta(t, low[stage], high[stage], 3*spare)
	}
}

// Row I3.
func TestAStartThatMayNotWriteFilesReportsTheReason(t *testing.T) {
	t.Parallel()
	b := inBackground(t).quietly()
	require.Equal(t, proctest.Result{Stderr: "daemon: start failed: PID file " + b.pidfile + ": write: file too large\n", Code: 1}, b.limited("--fsize=0", "start"))
	b.requireNothingLeft()
	b.requireStartsHere()
}

// The limit has the same effect as a full disk. In addition, each failed write sends SIGXFSZ to the
// daemon.
// Rows I3, I5.
func TestADaemonRunsWhenItsFilesMayNotGrow(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	pid := b.start()
	before := b.said()
	setLimit(t, pid, unix.RLIMIT_FSIZE, 0)
	for range 3 {
		require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
	}
	reloaded := b.call("reload")
	require.Equal(t, 1, reloaded.Code)
	require.Equal(t, "daemon: reload: no verdict: state file "+proctest.StatePath(b.pidfile)+": the record is damaged\n", reloaded.Stderr)
	status := b.call("status")
	require.Equal(t, proctest.Result{
		Stdout: fmt.Sprintf("daemon: running (pid %d); cannot read its state: state file %s: the record is damaged\n", pid, proctest.StatePath(b.pidfile)),
	}, status)
	require.Equal(t, before, b.said())

	setLimit(t, pid, unix.RLIMIT_FSIZE, unix.RLIM_INFINITY)
	require.Equal(t, 0, b.call("reload").Code)
	requireRunning(t, b.pidfile, pid)
	require.Contains(t, b.said(), "msg=reloaded")
	setLimit(t, pid, unix.RLIMIT_FSIZE, 0)
	b.stop()
	b.requireStartsHere()
}

// crowded is the ID of a user without other processes. Each run of the tests uses another ID.
var crowded = 30_000 + os.Getpid()%20_000

// Row I2.
func TestAStartWithTooFewThreadsReportsTheCrash(t *testing.T) {
	proctest.Needs(t, "root", "setpriv", "prlimit")
	t.Parallel()
	dir := nobodys(t)
	require.NoError(t, os.Chown(dir, crowded, crowded))
	binary := filepath.Join(dir, "program")
	require.NoError(t, os.Rename(copyOfTestBinary(t), binary))
	pidfile := filepath.Join(dir, "daemon.pid")
	endAll(t, pidfile)
	call := func(limit int, verb string) proctest.Result {
		cmd := proctest.Wrapped([]string{
			"setpriv", fmt.Sprintf("--reuid=%d", crowded), fmt.Sprintf("--regid=%d", crowded), "--clear-groups",
			"prlimit", fmt.Sprintf("--nproc=%d", limit), binary, "pidfile=" + pidfile, "name=daemon", "log=" + filepath.Join(dir, "log"), verb,
		}, daemon)
		cmd.Args = cmd.Args[:len(cmd.Args)-1] // without the test binary: binary is a copy
		return proctest.CallCommand(t, cmd)
	}
	told, crash := 0, `(failed to create new OS thread|pthread_create failed|resource temporarily unavailable|newosproc)`
	for limit := 7; limit < 17; limit += 2 {
		got := call(limit, "start")
		if got.Code != 0 {
			require.Regexp(t, crash, got.Stderr)
		}
		failed := strings.HasPrefix(got.Stderr, "daemon: start failed: ")
		if failed {
			told++
		}
		ready := false
		proctest.Eventually(t, func() bool {
			ready = callVerb(t, pidfile, "status", "--ready").Code == 0
			return ready || len(processesOf(pidfile)) == 0 && isFree(t, pidfile)
		}, "the end of a start with %d threads", limit)
		if ready { // otherwise the launcher died after the verdict
			require.False(t, failed, got.Stderr)
			require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
		}
	}
	require.NotZero(t, told)
	require.Equal(t, 0, call(1000, "start").Code)
	require.Equal(t, 0, call(1000, "stop").Code)
	require.NoFileExists(t, pidfile)
}

// cgroup makes a cgroup of that controller and returns its directory. The end of the test kills all
// processes in it. cgroup supports only version 1.
func cgroup(t *testing.T, controller string, settings map[string]string) (dir string) {
	t.Helper()
	proctest.Needs(t, "root")
	dir = filepath.Join("/sys/fs/cgroup", controller, fmt.Sprintf("lifecycle-test-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "cgroup.procs")); err != nil {
		t.Skipf("this test needs the controller %s of cgroups, version 1: %v", controller, err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("this test needs the right to make a cgroup: %v", err)
	}
	t.Cleanup(func() {
		if controller == "freezer" {
			_ = os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0)
		}
		for deadline := time.Now().Add(proctest.Patience); os.Remove(dir) != nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			for _, pid := range strings.Fields(string(text)) {
				n, _ := strconv.Atoi(pid)
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
	})
	for name, value := range settings {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0); err != nil {
			t.Skipf("this test needs %s of cgroups: %v", name, err)
		}
	}
	return dir
}
