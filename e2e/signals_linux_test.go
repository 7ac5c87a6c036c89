package e2e

import (
	"context"
	"fmt"
	"io"
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

	"example.com/lifecycle"
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
func TestWhatTheDaemonStartsGetsDefaultSignals(t *testing.T) {
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

// blocking executes the program in its arguments with our signals blocked.
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
func TestHUPsDuringOnStartMakeAReloadOnceReady(t *testing.T) {
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

// requireOnce allows one reload too many: the last HUP may still be on its way inside the process
// when the gate opens. Tests with a fake clock check that it is exactly one.
func requireOnce(t *testing.T, reloads int) {
	t.Helper()
	require.GreaterOrEqual(t, reloads, 1)
	require.LessOrEqual(t, reloads, 2)
}

// Row F6.
func TestHUPsDuringOnStopMakeNoReload(t *testing.T) {
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
func TestHUPsDuringAReloadMakeOneMore(t *testing.T) {
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
func TestAStoppedDaemonGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTSTP} {
		if sig == syscall.SIGSTOP {
			p.Suspend()
			require.Equal(t, 0, callVerb(t, path, "status").Code, "it is still there")
		} else {
			p.Signal(sig)
		}
		p.Signal(syscall.SIGCONT)
	}
	requireLives(t, p)
}

// pty opens a pseudo terminal: the end that stands for the window, and the end for programs.
func pty(t *testing.T) (window, tty *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	window = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { window.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { tty.Close() })
	return window, tty
}

// inTerminal makes cmd the foreground of that terminal when it is launched. cmd reads from the
// terminal. Its output is not changed.
func inTerminal(cmd *exec.Cmd, tty *os.File) *exec.Cmd {
	cmd.Stdin = tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	return cmd
}

// closeWindow makes the terminal hang up.
func closeWindow(t *testing.T, window, tty *os.File) {
	t.Helper()
	require.NoError(t, tty.Close())
	require.NoError(t, window.Close())
}

// Row E8.
func TestTheEndOfItsTerminalStopsADaemonInTheForeground(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	path := proctest.PIDPath(t)
	p := proctest.Launch(t, inTerminal(proctest.Command(daemon, "pidfile="+path), tty))
	p.Await("msg=ready")
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded") // the HUP came from a process, and the terminal still exists

	closeWindow(t, window, tty)
	require.Equal(t, 0, p.Wait())
	p.Await("stopped by signal: hangup")
	require.Equal(t, 1, linesOf(p, "OnReload"))
	require.Equal(t, 1, linesOf(p, "OnStop done"))
	require.Equal(t, 1, linesOf(p, "OnExit done"))
	require.NoFileExists(t, path)
}

// Row E8.
func TestADaemonThatWritesToATerminalSurvivesItsEndLongEnoughToStop(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	path, left := proctest.PIDPath(t), filepath.Join(t.TempDir(), "left")
	cmd := inTerminal(proctest.Command(scribe, path, left), tty)
	cmd.Stdout, cmd.Stderr = tty, tty
	p := proctest.Launch(t, cmd)
	proctest.Eventually(t, func() bool { _, err := os.Stat(left + ".started"); return err == nil }, "the start")
	closeWindow(t, window, tty)
	require.Equal(t, 0, p.Wait())
	require.FileExists(t, left+".stopped")
	require.NoFileExists(t, path)
}

// scribe writes files, because its output is lost.
var scribe = proctest.Register("scribe", func(args []string) int {
	leave := func(what string) func(context.Context) error {
		return func(context.Context) error {
			fmt.Println(what)
			return os.WriteFile(args[1]+what, nil, 0o644)
		}
	}
	return lifecycle.Main([]string{"run"}, nil, lifecycle.PIDFile(args[0]), lifecycle.OnStart(leave(".started")), lifecycle.OnExit(leave(".stopped")))
})

// Row F1.
func TestUnderNohupTheEndOfTheTerminalIsAReload(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	p := proctest.Launch(t, inTerminal(proctest.Wrapped([]string{"nohup"}, daemon, "pidfile="+proctest.PIDPath(t)), tty))
	p.Await("msg=ready")
	closeWindow(t, window, tty)
	p.Await("msg=reloaded")
	requireStops(t, p)
}

// requireStops stops the daemon and requires that its hooks are balanced.
func requireStops(t *testing.T, p *proctest.Process) {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	requireBalanced(t, p)
}

// Row F15.
func TestCtrlCStopsADaemonInTheForegroundAndSaysWhatAnotherWouldDo(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	gate := filepath.Join(t.TempDir(), "gate")
	cmd := inTerminal(proctest.Command(daemon, "pidfile="+proctest.PIDPath(t), "stop=until:"+gate, "run"), tty)
	cmd.Stderr = tty
	p := proctest.Launch(t, cmd)
	var screen proctest.Lines
	go io.Copy(&screen, window)
	proctest.Eventually(t, func() bool { return screen.Count("msg=ready") == 1 }, "a ready daemon on the screen")
	_, err := window.Write([]byte{'C' & 0x1f})
	require.NoError(t, err)
	proctest.Eventually(t, func() bool { return screen.Count("daemon: stopping; Ctrl-C again to quit at once\r\n") == 1 },
		"the daemon to say what it does")
	proctest.Touch(t, gate)
	require.Equal(t, 0, p.Wait())
	require.Equal(t, 1, linesOf(p, "OnExit done"))
}

// Row F15.
func TestATERMOrAnINTWithoutATerminalSaysNothingOfCtrlC(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p, _ := startDaemon(t, "run")
		p.Signal(sig)
		require.Equal(t, 0, p.Wait())
		require.Zero(t, p.Out.Count("Ctrl-C"))
	}
}
