package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// Row I11.
func TestNothingIsLateWithHardlyAnyCPU(t *testing.T) {
	t.Parallel()
	quota := "5000" // of 100000
	if proctest.Long() {
		quota = "1000"
	}
	group := cgroup(t, "cpu", map[string]string{"cpu.cfs_quota_us": quota})
	proctest.Needs(t, "nice")
	b := inBackground(t)
	for _, verb := range []string{"start", "status", "reload", "reopen", "stop"} {
		got := proctest.CallCommand(t, proctest.Wrapped([]string{"sh", "-c", `echo $$ >"$0"; exec nice -n 19 "$@"`, filepath.Join(group, "cgroup.procs")}, daemon, b.args(verb)...))
		require.Equal(t, 0, got.Code, "%s%s", got.Stdout, got.Stderr)
	}
	require.NotContains(t, b.said(), "level=WARN")
	b.requireNothingLeft()
}

// Row I6.
func TestAFrozenDaemonIsReportedAndStopsAfterTheThaw(t *testing.T) {
	t.Parallel()
	group := cgroup(t, "freezer", nil)
	b := inBackground(t)
	pid := b.start()
	state := filepath.Join(group, "freezer.state")
	require.NoError(t, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0))
	require.NoError(t, os.WriteFile(state, []byte("FROZEN"), 0))
	proctest.Eventually(t, func() bool { return string(readFile(t, state)) == "FROZEN\n" }, "the frost")

	requireRunning(t, b.pidfile, pid)
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid), Code: 1}, b.call("start"))
	require.Equal(t, proctest.Result{Stderr: "daemon: reload: no verdict after 100ms; see `daemon status`\n", Code: 1}, b.call("reloadtimeout=100ms", "reload"))
	if proctest.Long() { // takes 12 s
		require.Equal(t, proctest.Result{Stderr: fmt.Sprintf("daemon: still running after KILL (pid %d)\n", pid), Code: 1}, b.call("stoptimeout=100ms", "stop"))
		require.NoError(t, os.WriteFile(state, []byte("THAWED"), 0))
		proctest.Eventually(t, func() bool { return len(b.processes()) == 0 }, "the end of the daemon")
		b.requireStartsHere()
		return
	}
	stop := proctest.Start(t, daemon, b.args("stop")...)
	pending := func() bool {
		mask, err := strconv.ParseUint(statusField(t, pid, "ShdPnd"), 16, 64)
		require.NoError(t, err)
		return mask&(1<<(syscall.SIGTERM-1)) != 0
	}
	proctest.Eventually(t, pending, "TERM")
	require.NoError(t, os.WriteFile(state, []byte("THAWED"), 0))
	require.Equal(t, 0, stop.Wait(), "%s", stop.Out)
	require.Contains(t, stop.Out.String(), fmt.Sprintf("daemon: stopped (pid %d, ", pid))
	b.requireNothingLeft()
}

// blocked is a daemon whose stderr is a full pipe without a reader.
var blocked = proctest.Register("blocked", func(args []string) int {
	var ends [2]int
	err := unix.Pipe2(ends[:], unix.O_CLOEXEC)
	opts := []lifecycle.Option{lifecycle.Name("daemon"), lifecycle.PIDFile(args[0]), lifecycle.StopTimeout(100 * time.Millisecond), lifecycle.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil)))}
	err = errors.Join(err, unix.Dup3(ends[1], 2, 0))
	return lifecycle.ExitCode(errors.Join(err, lifecycle.Run(nil, append(opts, lifecycle.OnSignal(syscall.SIGUSR2, func(context.Context) error {
		fmt.Println("it is full now")
		for {
			if _, err := unix.Write(2, make([]byte, 4096)); err != nil {
				return err
			}
		}
	}))...)))
})

// A log that hangs delays the stop no longer than a hook that hangs.
// Row I6.
func TestAStopOfADaemonWithAHangingLogEndsInTime(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	p := proctest.Start(t, blocked, pidfile)
	proctest.Eventually(t, func() bool { return callVerb(t, pidfile, "status", "--ready").Code == 0 }, "it to be ready")
	p.Signal(syscall.SIGUSR2)
	p.Await("it is full now")
	stopped := callVerb(t, pidfile, "stoptimeout=100ms", "stop")
	require.Equal(t, 1, stopped.Code)
	require.Regexp(t, fmt.Sprintf(`^daemon: killed \(pid %d\): .*still running after 2\.\d s\n$`, p.PID()), stopped.Stderr)
	require.Equal(t, -1, p.Wait())
	requireStarts(t, pidfile)
}
