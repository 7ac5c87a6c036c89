package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
)

// limited is the program daemon under a limit of prlimit(1), such as --nofile=8.
func (b *background) limited(limit string, args ...string) result {
	b.t.Helper()
	needs(b.t, "prlimit")
	return runCommand(b.t, wrapped([]string{"prlimit", limit}, daemon, b.args(args...)...))
}

// setLimit sets a limit of a process that runs.
func setLimit(t *testing.T, pid, resource int, limit uint64) {
	t.Helper()
	var now unix.Rlimit
	require.NoError(t, unix.Prlimit(pid, resource, nil, &now))
	require.NoError(t, unix.Prlimit(pid, resource, &unix.Rlimit{Cur: min(limit, now.Max), Max: now.Max}, nil))
}

// requireStartsHere starts the daemon here and stops it, and requires that this is all.
func (b *background) requireStartsHere() {
	b.t.Helper()
	b.start()
	b.stop()
}

// Row I1.
func TestAStartWithFewDescriptorsSaysSoOrIsOne(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	for _, n := range []int{7, 8, 10, 13, 16, 18, 20, 22, 24, 28} { // with fewer the Go runtime does not begin
		got := b.limited(fmt.Sprintf("--nofile=%d", n), "start")
		if got.code != 0 {
			require.Equal(t, 1, got.code, "%d: %s", n, got.stderr)
			require.Regexp(t, `^daemon: start failed: .*too many open files\n$`, got.stderr)
			require.Less(t, n, 28)
			b.requireNothingLeft()
			continue
		}
		pid := b.readied(got)
		const kept = `level=WARN msg="the daemon keeps what its caller has` // root without CAP_SYS_RESOURCE
		require.NotContains(t, strings.ReplaceAll(b.said(), kept, ""), "level=WARN")
		for _, verb := range []string{"status", "reload", "reopen"} {
			got := b.limited(fmt.Sprintf("--nofile=%d", n), verb)
			require.Equal(t, 0, got.code, "%d: %s%s", n, got.stdout, got.stderr)
		}
		requireRunning(t, b.pidfile, pid)
		b.stop()
		return
	}
}

// Rows I1, K13.
func TestADaemonWithoutADescriptorToSpareKeepsItsLogAndItsLife(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	pid := b.start()
	require.NoError(t, os.Rename(b.log, b.log+".1"))
	setLimit(t, pid, unix.RLIMIT_NOFILE, 3)
	const why = "too many open files"
	require.Equal(t, result{"", "daemon: reopen: log file " + b.log + ": open: " + why + "\n", 1}, b.call("reopen"))
	reloaded := b.call("reload")
	require.Equal(t, 0, reloaded.code, reloaded.stderr)
	awaitLog(t, b.log+".1", "cannot reopen the log, the old one stays", 2)
	awaitLog(t, b.log+".1", "msg=reloaded")
	status := b.call("status")
	require.Equal(t, 0, status.code)
	require.Contains(t, status.stdout, why)
	setLimit(t, pid, unix.RLIMIT_NOFILE, 256)
	require.Equal(t, 0, b.call("reopen").code)
	setLimit(t, pid, unix.RLIMIT_NOFILE, 3)
	b.stop()
	require.Contains(t, b.said(), "msg=stopped")
}

// No table of descriptors is walked through: what a start costs does not depend on how large it may grow.
// Rows I1, I12.
func TestAStartCostsTheSameWhateverTheLimitOfDescriptorsIs(t *testing.T) {
	needs(t, "prlimit")
	needsTrace(t)
	t.Parallel()
	highest := strings.TrimSpace(string(readFile(t, "/proc/sys/fs/nr_open")))
	if exec.Command("prlimit", "--nofile="+highest, "true").Run() != nil {
		var limit unix.Rlimit
		require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
		highest = strconv.FormatUint(limit.Max, 10)
	}
	fewest := func(limit string) (least []int) {
		for range 3 { // the Go runtime makes some more or less
			pidfile := pidPath(t)
			endAll(t, pidfile)
			p := followTraced(t, wrapped([]string{"prlimit", "--nofile=" + limit}, tracer, "0", "0", "pidfile="+pidfile, "start"), pidfile)
			require.Equal(t, 0, p.awaitExit(), "%s", p.out)
			p.settle()
			counts := p.letGo()
			require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
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
func TestAStartThatMayWriteNoFileSaysSo(t *testing.T) {
	t.Parallel()
	b := inBackground(t).quietly()
	require.Equal(t, result{"", "daemon: start failed: PID file " + b.pidfile + ": write: file too large\n", 1}, b.limited("--fsize=0", "start"))
	b.requireNothingLeft()
	b.requireStartsHere()
}

// A log on a disk that is full, as far as a daemon can tell: the limit also brings it a SIGXFSZ at each write.
// Rows I3, I5.
func TestADaemonWhoseFilesMayNotGrowGoesOn(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	pid := b.start()
	before := b.said()
	setLimit(t, pid, unix.RLIMIT_FSIZE, 0)
	for range 3 {
		require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
	}
	reloaded := b.call("reload")
	require.Equal(t, 1, reloaded.code)
	require.Equal(t, "daemon: reload: no verdict: state file "+statePath(b.pidfile)+": the record is damaged\n", reloaded.stderr)
	status := b.call("status")
	require.Equal(t, result{
		fmt.Sprintf("daemon: running (pid %d); what it is doing cannot be told: state file %s: the record is damaged\n", pid, statePath(b.pidfile)), "", 0,
	}, status)
	require.Equal(t, before, b.said())

	setLimit(t, pid, unix.RLIMIT_FSIZE, unix.RLIM_INFINITY)
	require.Equal(t, 0, b.call("reload").code)
	requireRunning(t, b.pidfile, pid)
	require.Contains(t, b.said(), "msg=reloaded")
	setLimit(t, pid, unix.RLIMIT_FSIZE, 0)
	b.stop()
	b.requireStartsHere()
}

// crowded is a user who has no other process.
const crowded = 54398

// Row I2.
func TestAStartWithTooFewThreadsSaysWhatItDiedOf(t *testing.T) {
	needs(t, "root", "setpriv", "prlimit")
	t.Parallel()
	dir := nobodys(t)
	require.NoError(t, os.Chown(dir, crowded, crowded))
	binary := filepath.Join(dir, "program")
	require.NoError(t, os.Rename(copyOfTestBinary(t), binary))
	pidfile := filepath.Join(dir, "daemon.pid")
	endAll(t, pidfile)
	call := func(limit int, verb string) result {
		cmd := wrapped([]string{
			"setpriv", fmt.Sprintf("--reuid=%d", crowded), fmt.Sprintf("--regid=%d", crowded), "--clear-groups",
			"prlimit", fmt.Sprintf("--nproc=%d", limit), binary, "pidfile=" + pidfile, "name=daemon", "log=" + filepath.Join(dir, "log"), verb,
		}, daemon)
		cmd.Args = cmd.Args[:len(cmd.Args)-1] // the binary is another one
		return runCommand(t, cmd)
	}
	told, crash := 0, `(failed to create new OS thread|pthread_create failed|resource temporarily unavailable|newosproc)`
	for limit := 7; limit < 17; limit += 2 {
		got := call(limit, "start")
		if got.code != 0 {
			require.Regexp(t, crash, got.stderr)
		}
		failed := strings.HasPrefix(got.stderr, "daemon: start failed: ")
		if failed {
			told++
		}
		ready := false
		eventually(t, func() bool {
			ready = callVerb(t, pidfile, "status", "--ready").code == 0
			return ready || len(processesOf(t, pidfile)) == 0 && isFree(t, pidfile)
		}, "the end of a start with %d threads", limit)
		if ready { // or the launcher has died of it itself, when all was settled
			require.False(t, failed, got.stderr)
			require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
		}
	}
	require.NotZero(t, told)
	require.Equal(t, 0, call(1000, "start").code)
	require.Equal(t, 0, call(1000, "stop").code)
	require.NoFileExists(t, pidfile)
}

// hungry is a daemon that needs more memory in its start than it may have:
//
//	hungry pidfile=PATH log=PATH as|CGROUP verb
//
// CGROUP is the file by which it enters a memory cgroup.
var hungry = registerProgram("hungry", func(args []string) int {
	const enough = 256 << 20
	return Main(args[3:], nil, Name("hungry"), PIDFile(strings.TrimPrefix(args[0], "pidfile=")), LogFile(strings.TrimPrefix(args[1], "log=")),
		OnStart(func(context.Context) error {
			err := os.WriteFile(args[2], []byte(strconv.Itoa(os.Getpid())), 0o600)
			if args[2] == "as" {
				var pages uint64
				text, readErr := os.ReadFile("/proc/self/statm")
				_, _ = fmt.Sscan(string(text), &pages)
				size := pages*uint64(os.Getpagesize()) + enough/4
				err = errors.Join(readErr, unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: size, Max: size}))
			}
			var eaten [][]byte
			for range enough >> 20 {
				if err != nil {
					break
				}
				eaten = append(eaten, make([]byte, 1<<20))
				for i := 0; i < 1<<20; i += os.Getpagesize() {
					eaten[len(eaten)-1][i] = 1
				}
			}
			return errors.Join(err, fmt.Errorf("there was memory for %d MB", len(eaten)))
		}))
})

// Row I4.
func TestAStartWithoutMemorySaysWhatItDiedOf(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.crashes = true
	got := callProgram(t, hungry, b.args("as", "start")...)
	require.Equal(t, 1, got.code)
	// Go itself may read where there was no memory to be had.
	require.Regexp(t, `^hungry: start failed: died before it was ready \(exit \d+\); its last words:\n  \| (.*(out of memory|address space)|SIGSEGV: )`, got.stderr)
	b.requireNothingLeft()
	b.requireStartsHere()
}

// cgroup makes a cgroup of that controller, and returns its directory. Whatever is in it at the end is ended. Only version 1 is known here.
func cgroup(t *testing.T, controller string, settings map[string]string) (dir string) {
	t.Helper()
	needs(t, "root")
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
		for deadline := time.Now().Add(patienceOfTests); os.Remove(dir) != nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
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

// Row I8.
func TestAStartThatTheKernelKillsForItsMemoryIsToldAndTheNextOneWorks(t *testing.T) {
	t.Parallel()
	group := cgroup(t, "memory", map[string]string{"memory.limit_in_bytes": "20M"})
	_ = os.WriteFile(filepath.Join(group, "memory.memsw.limit_in_bytes"), []byte("20M"), 0)
	b := inBackground(t)
	got := callProgram(t, hungry, b.args(filepath.Join(group, "cgroup.procs"), "start")...)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "hungry: start failed: died before it was ready (signal SIGKILL)")
	require.Empty(t, b.processes())
	require.True(t, isFree(t, b.pidfile))
	b.requireStartsHere()
}

// Row I11.
func TestWithHardlyAnyCPUNothingIsLate(t *testing.T) {
	t.Parallel()
	quota := "5000" // of 100000
	if long() {
		quota = "1000"
	}
	group := cgroup(t, "cpu", map[string]string{"cpu.cfs_quota_us": quota})
	needs(t, "nice")
	b := inBackground(t)
	for _, verb := range []string{"start", "status", "reload", "reopen", "stop"} {
		got := runCommand(t, wrapped([]string{"sh", "-c", `echo $$ >"$0"; exec nice -n 19 "$@"`, filepath.Join(group, "cgroup.procs")}, daemon, b.args(verb)...))
		require.Equal(t, 0, got.code, "%s%s", got.stdout, got.stderr)
	}
	require.NotContains(t, b.said(), "level=WARN")
	b.requireNothingLeft()
}

// Row I6.
func TestAFrozenDaemonIsLookedAtAndStopsWhenItThaws(t *testing.T) {
	t.Parallel()
	group := cgroup(t, "freezer", nil)
	b := inBackground(t)
	pid := b.start()
	state := filepath.Join(group, "freezer.state")
	require.NoError(t, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0))
	require.NoError(t, os.WriteFile(state, []byte("FROZEN"), 0))
	eventually(t, func() bool { return string(readFile(t, state)) == "FROZEN\n" }, "the frost")

	requireRunning(t, b.pidfile, pid)
	require.Equal(t, result{"", alreadyRunning(pid), 1}, b.call("start"))
	require.Equal(t, result{"", "daemon: reload: no verdict after 100ms; see `daemon status`\n", 1}, b.call("reloadtimeout=100ms", "reload"))
	if long() { // it takes 12 s
		require.Equal(t, result{"", fmt.Sprintf("daemon: still running after KILL (pid %d)\n", pid), 1}, b.call("stoptimeout=100ms", "stop"))
		require.NoError(t, os.WriteFile(state, []byte("THAWED"), 0))
		eventually(t, func() bool { return len(b.processes()) == 0 }, "the end of the daemon")
		b.requireStartsHere()
		return
	}
	stop := start(t, daemon, b.args("stop")...)
	pending := func() bool {
		mask, err := strconv.ParseUint(statusField(t, pid, "ShdPnd"), 16, 64)
		require.NoError(t, err)
		return mask&(1<<(syscall.SIGTERM-1)) != 0
	}
	eventually(t, pending, "TERM")
	require.NoError(t, os.WriteFile(state, []byte("THAWED"), 0))
	require.Equal(t, 0, stop.wait(), "%s", stop.out)
	require.Contains(t, stop.out.String(), fmt.Sprintf("daemon: stopped (pid %d, ", pid))
	b.requireNothingLeft()
}

// blocked is a daemon whose stderr is a pipe that nobody reads, and that is full.
var blocked = registerProgram("blocked", func(args []string) int {
	var ends [2]int
	err := unix.Pipe2(ends[:], unix.O_CLOEXEC)
	opts := []Option{Name("daemon"), PIDFile(args[0]), StopTimeout(100 * time.Millisecond), Logger(slog.New(slog.NewTextHandler(os.Stderr, nil)))}
	err = errors.Join(err, unix.Dup3(ends[1], 2, 0))
	return ExitCode(errors.Join(err, Run(nil, append(opts, OnSignal(syscall.SIGUSR2, func(context.Context) error {
		fmt.Println("it is full now")
		for {
			if _, err := unix.Write(2, make([]byte, 4096)); err != nil {
				return err
			}
		}
	}))...)))
})

// A log that hangs is waited for no longer than a hook that hangs.
// Row I6.
func TestAStopOfADaemonWhoseLogHangsEndsInItsTime(t *testing.T) {
	t.Parallel()
	pidfile := pidPath(t)
	p := start(t, blocked, pidfile)
	eventually(t, func() bool { return callVerb(t, pidfile, "status", "--ready").code == 0 }, "it to be ready")
	p.signal(syscall.SIGUSR2)
	p.await("it is full now")
	stopped := callVerb(t, pidfile, "stoptimeout=100ms", "stop")
	require.Equal(t, 0, stopped.code)
	require.Regexp(t, fmt.Sprintf(`^daemon: killed \(pid %d\): .*still running after 2\.\d s\n$`, p.pid()), stopped.stderr)
	require.Equal(t, -1, p.wait())
	requireStarts(t, pidfile)
}
