package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// signalsOf returns a set of signals from /proc/PID/status.
func signalsOf(t *testing.T, status, field string) (has func(syscall.Signal) bool) {
	t.Helper()
	_, text, found := strings.Cut(status, "\n"+field+":")
	require.True(t, found, "%s in:\n%s", field, status)
	text, _, _ = strings.Cut(text, "\n")
	set, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
	require.NoError(t, err)
	return func(sig syscall.Signal) bool { return set&(1<<(sig-1)) != 0 }
}

// awaitDelivery waits until the kernel has delivered the signals that were sent to the process.
func awaitDelivery(t *testing.T, p *proctest.Process) {
	t.Helper()
	proctest.Eventually(t, func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
		return err != nil || strings.Contains(string(status), "\nShdPnd:\t0000000000000000\n")
	}, "pid %d to get its signals", p.PID())
}

var ourSignals = []syscall.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGCHLD,
}

// Rows F1, F2.
func TestProgramsOfTheDaemonGetDefaultSignals(t *testing.T) {
	t.Parallel()
	for name, wrapper := range map[string][]string{
		"plain": {"env"},
		"nohup": {"nohup"},
		"trap":  {"sh", "-c", `trap "" HUP TERM INT CHLD PIPE USR1 USR2; exec "$0" "$@"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := proctest.Launch(t, proctest.Wrapped(wrapper, daemon, "pidfile="+proctest.PIDPath(t), "start=children"))
			p.Await("msg=ready")
			ignored := signalsOf(t, p.Out.String(), "SigIgn")
			for _, sig := range ourSignals {
				require.False(t, ignored(sig), "%v is ignored in a child", sig)
			}
			p.Signal(syscall.SIGHUP)
			p.Await("msg=reloaded")
			p.Signal(syscall.SIGTERM)
			require.Equal(t, 0, p.Wait())
		})
	}
}

// blocking executes the program in its arguments with the signals of the life blocked.
var blocking = proctest.Register("blocking", func(args []string) int {
	runtime.LockOSThread()
	var set unix.Sigset_t
	for _, sig := range ourSignals {
		set.Val[0] |= 1 << (sig - 1)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
		fmt.Println(err)
		return 1
	}
	os.Setenv(proctest.Variable, daemon)
	fmt.Println(syscall.Exec(args[0], args, os.Environ()))
	return 1
})

// Row F3.
func TestBlockedSignalsArrive(t *testing.T) {
	t.Parallel()
	cat, err := exec.LookPath("cat")
	require.NoError(t, err)
	blocked := signalsOf(t, proctest.Call(t, blocking, cat, "/proc/self/status").Stdout, "SigBlk")
	for _, sig := range ourSignals {
		require.True(t, blocked(sig), "the helper does not block %v", sig)
	}

	for _, stop := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := proctest.Start(t, blocking, proctest.Binary(), "pidfile="+proctest.PIDPath(t))
		requireObeys(t, p, stop)
		require.Equal(t, 1, linesOf(p, "OnExit done"))
	}
}

// Row F5.
func TestHUPsDuringOnStartCauseAReloadAfterReady(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p := proctest.Start(t, daemon, "pidfile="+proctest.PIDPath(t), "start=until:"+gate)
	p.Await("OnStart")
	for range 5 {
		p.Signal(syscall.SIGHUP)
		awaitDelivery(t, p)
	}
	proctest.Touch(t, gate)
	p.Await("msg=reloaded")
	require.Less(t, p.Out.Index("msg=ready"), p.Out.Index("\nOnReload\n"))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	requireOnce(t, linesOf(p, "OnReload"))
}

// requireOnce requires one reload or two, because the last HUP may still be on its way inside the
// process when the gate opens. Tests with a fake clock require exactly one.
func requireOnce(t *testing.T, reloads int) {
	t.Helper()
	require.GreaterOrEqual(t, reloads, 1)
	require.LessOrEqual(t, reloads, 2)
}

// Row F6.
func TestHUPsDuringOnStopCauseNoReload(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startDaemon(t, "stop=until:"+gate)
	p.Signal(syscall.SIGTERM)
	p.Await("OnStop")
	for range 5 {
		p.Signal(syscall.SIGHUP)
		p.Signal(syscall.SIGUSR1)
		p.Signal(syscall.SIGUSR2)
		awaitDelivery(t, p)
	}
	proctest.Touch(t, gate)
	require.Equal(t, 0, p.Wait())
	require.Zero(t, linesOf(p, "OnReload"))
	require.Zero(t, linesOf(p, "OnSignal"))
	require.Equal(t, 1, linesOf(p, "OnStop done"))
	require.NoFileExists(t, path)
}

// Row F9.
func TestHUPsDuringAReloadCauseOneMoreReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config, gate := filepath.Join(dir, "config"), filepath.Join(dir, "gate")
	require.NoError(t, os.WriteFile(config, []byte("old"), 0o644))
	p, _ := startDaemon(t, "check=cat:"+config, "reload=until:"+gate)
	p.Signal(syscall.SIGHUP)
	p.Await("OnReload")
	flood(t, p, syscall.SIGHUP, 5_000)
	require.NoError(t, os.WriteFile(config, []byte("new"), 0o644))
	flood(t, p, syscall.SIGHUP, 5_000)
	awaitDelivery(t, p)
	proctest.Touch(t, gate)
	p.Await("msg=reloaded", 2)
	p.Signal(syscall.SIGINT)
	require.Equal(t, 0, p.Wait())
	require.Equal(t, 1, linesOf(p, "OnCheck says: old"))
	requireOnce(t, linesOf(p, "OnCheck says: new"))
}

// Row F14.
func TestASuspendedDaemonContinuesAfterCONT(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTSTP} {
		if sig == syscall.SIGSTOP {
			p.Suspend()
			require.Equal(t, 0, callVerb(t, path, "status").Code, "the process still exists")
		} else {
			p.Signal(sig)
		}
		p.Signal(syscall.SIGCONT)
	}
	requireLives(t, p)
}
