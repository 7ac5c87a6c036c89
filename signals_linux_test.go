package lifecycle

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
)

// signalsOf is a set of signals in /proc/PID/status.
func signalsOf(t *testing.T, status, field string) (has func(syscall.Signal) bool) {
	t.Helper()
	_, text, found := strings.Cut(status, "\n"+field+":")
	require.True(t, found, "%s in:\n%s", field, status)
	text, _, _ = strings.Cut(text, "\n")
	set, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
	require.NoError(t, err)
	return func(sig syscall.Signal) bool { return set&(1<<(sig-1)) != 0 }
}

// awaitDelivery waits until the kernel has handed over the signals that were sent to the process.
func awaitDelivery(t *testing.T, p *process) {
	t.Helper()
	eventually(t, func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
		return err != nil || strings.Contains(string(status), "\nShdPnd:\t0000000000000000\n")
	}, "pid %d to get its signals", p.pid())
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
			p := launch(t, wrapped(wrapper, daemon, "pidfile="+pidPath(t), "start=children"))
			p.await("msg=ready")
			ignored := signalsOf(t, p.out.String(), "SigIgn")
			for _, sig := range ourSignals {
				require.False(t, ignored(sig), "%v is ignored in a child", sig)
			}
			p.signal(syscall.SIGHUP)
			p.await("msg=reloaded")
			p.signal(syscall.SIGTERM)
			require.Equal(t, 0, p.wait())
		})
	}
}

// blocking executes what its arguments say with our signals blocked.
var blocking = registerProgram("blocking", func(args []string) int {
	runtime.LockOSThread()
	var set unix.Sigset_t
	for _, sig := range ourSignals {
		set.Val[0] |= 1 << (sig - 1)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
		fmt.Println(err)
		return 1
	}
	os.Setenv(programVariable, daemon)
	fmt.Println(syscall.Exec(args[0], args, os.Environ()))
	return 1
})

// Row F3.
func TestBlockedSignalsArrive(t *testing.T) {
	t.Parallel()
	cat, err := exec.LookPath("cat")
	require.NoError(t, err)
	blocked := signalsOf(t, callProgram(t, blocking, cat, "/proc/self/status").stdout, "SigBlk")
	for _, sig := range ourSignals {
		require.True(t, blocked(sig), "the helper does not block %v", sig)
	}

	for _, stop := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := start(t, blocking, testBinary(), "pidfile="+pidPath(t))
		requireObeys(t, p, stop)
		require.Equal(t, 1, linesOf(p, "OnExit done"))
	}
}

// Row F5.
func TestHUPsDuringOnStartMakeAReloadOnceReady(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p := start(t, daemon, "pidfile="+pidPath(t), "start=until:"+gate)
	p.await("OnStart")
	for range 5 {
		p.signal(syscall.SIGHUP)
		awaitDelivery(t, p)
	}
	touch(t, gate)
	p.await("msg=reloaded")
	require.Less(t, p.out.index("msg=ready"), p.out.index("\nOnReload\n"))
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	requireOnce(t, linesOf(p, "OnReload"))
}

// requireOnce allows one reload too many: the last HUP that the kernel has handed over can still be on its way through the
// process when the gate opens. That it is exactly one stands in the tests that run on a fake clock.
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
	p.signal(syscall.SIGTERM)
	p.await("OnStop")
	for range 5 {
		p.signal(syscall.SIGHUP)
		p.signal(syscall.SIGUSR1)
		p.signal(syscall.SIGUSR2)
		awaitDelivery(t, p)
	}
	touch(t, gate)
	require.Equal(t, 0, p.wait())
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
	p.signal(syscall.SIGHUP)
	p.await("OnReload")
	flood(t, p, syscall.SIGHUP, 5_000)
	require.NoError(t, os.WriteFile(config, []byte("new"), 0o644))
	flood(t, p, syscall.SIGHUP, 5_000)
	awaitDelivery(t, p)
	touch(t, gate)
	p.await("msg=reloaded", 2)
	p.signal(syscall.SIGINT)
	require.Equal(t, 0, p.wait())
	require.Equal(t, 1, linesOf(p, "OnCheck says: old"))
	requireOnce(t, linesOf(p, "OnCheck says: new"))
}

// Row F14.
func TestAStoppedDaemonGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTSTP} {
		if sig == syscall.SIGSTOP {
			p.suspend()
			require.Equal(t, 0, callVerb(t, path, "status").code, "it is still there")
		} else {
			p.signal(sig)
		}
		p.signal(syscall.SIGCONT)
	}
	requireLives(t, p)
}

// pty opens a pseudo terminal: the end that stands for the window, and the one for programs.
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

// inTerminal makes cmd the foreground of that terminal when it is launched. It reads from it; what it writes goes where it went.
func inTerminal(cmd *exec.Cmd, tty *os.File) *exec.Cmd {
	cmd.Stdin = tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	return cmd
}

// closeWindow is what makes the terminal hang up.
func closeWindow(t *testing.T, window, tty *os.File) {
	t.Helper()
	require.NoError(t, tty.Close())
	require.NoError(t, window.Close())
}

// Row E8.
func TestTheEndOfItsTerminalStopsADaemonInTheForeground(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	path := pidPath(t)
	p := launch(t, inTerminal(command(daemon, "pidfile="+path), tty))
	p.await("msg=ready")
	p.signal(syscall.SIGHUP)
	p.await("msg=reloaded") // somebody sent it, and the terminal is there

	closeWindow(t, window, tty)
	require.Equal(t, 0, p.wait())
	p.await("stopped by signal: hangup")
	require.Equal(t, 1, linesOf(p, "OnReload"))
	require.Equal(t, 1, linesOf(p, "OnStop done"))
	require.Equal(t, 1, linesOf(p, "OnExit done"))
	require.NoFileExists(t, path)
}

// Row E8.
func TestADaemonThatWritesToATerminalSurvivesItsEndLongEnoughToStop(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	path, left := pidPath(t), filepath.Join(t.TempDir(), "left")
	cmd := inTerminal(command(scribe, path, left), tty)
	cmd.Stdout, cmd.Stderr = tty, tty
	p := launch(t, cmd)
	eventually(t, func() bool { _, err := os.Stat(left + ".started"); return err == nil }, "the start")
	closeWindow(t, window, tty)
	require.Equal(t, 0, p.wait())
	require.FileExists(t, left+".stopped")
	require.NoFileExists(t, path)
}

// scribe leaves files behind, for what it prints is lost.
var scribe = registerProgram("scribe", func(args []string) int {
	leave := func(what string) func(context.Context) error {
		return func(context.Context) error {
			fmt.Println(what)
			return os.WriteFile(args[1]+what, nil, 0o644)
		}
	}
	return Main([]string{"run"}, nil, PIDFile(args[0]), OnStart(leave(".started")), OnExit(leave(".stopped")))
})

// Row F1.
func TestUnderNohupTheEndOfTheTerminalIsAReload(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	p := launch(t, inTerminal(wrapped([]string{"nohup"}, daemon, "pidfile="+pidPath(t)), tty))
	p.await("msg=ready")
	closeWindow(t, window, tty)
	p.await("msg=reloaded")
	requireStops(t, p)
}

// requireStops stops the daemon and requires that its hooks are balanced.
func requireStops(t *testing.T, p *process) {
	t.Helper()
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	requireBalanced(t, p)
}

// Row F15.
func TestCtrlCStopsADaemonInTheForegroundAndSaysWhatAnotherWouldDo(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	gate := filepath.Join(t.TempDir(), "gate")
	cmd := inTerminal(command(daemon, "pidfile="+pidPath(t), "stop=until:"+gate, "run"), tty)
	cmd.Stderr = tty
	p := launch(t, cmd)
	var screen lines
	go io.Copy(&screen, window)
	eventually(t, func() bool { return screen.count("msg=ready") == 1 }, "a ready daemon on the screen")
	_, err := window.Write([]byte{'C' & 0x1f})
	require.NoError(t, err)
	eventually(t, func() bool { return screen.count("daemon: stopping; Ctrl-C again to quit at once\r\n") == 1 },
		"the daemon to say what it does")
	touch(t, gate)
	require.Equal(t, 0, p.wait())
	require.Equal(t, 1, linesOf(p, "OnExit done"))
}

// Row F15.
func TestATERMOrAnINTWithoutATerminalSaysNothingOfCtrlC(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p, _ := startDaemon(t, "run")
		p.signal(sig)
		require.Equal(t, 0, p.wait())
		require.Zero(t, p.out.count("Ctrl-C"))
	}
}
