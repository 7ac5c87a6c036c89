package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// pty opens a pseudo terminal. window is the end of the terminal window, and tty is the end of the
// programs.
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
func TestAHangUpStopsADaemonInTheForegroundOfItsTerminal(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	path := proctest.PIDPath(t)
	p := proctest.Launch(t, inTerminal(proctest.Command(daemon, "pidfile="+path), tty))
	p.Await("msg=ready")
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded") // this HUP is from a process; the terminal exists

	closeWindow(t, window, tty)
	require.Equal(t, 0, p.Wait())
	p.Await("stopped by signal: hangup")
	require.Equal(t, 1, linesOf(p, "OnReload"))
	require.Equal(t, 1, linesOf(p, "OnStop done"))
	require.Equal(t, 1, linesOf(p, "OnExit done"))
	require.NoFileExists(t, path)
}

// Row E8.
func TestADaemonThatWritesToAHungUpTerminalCanStillStop(t *testing.T) {
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

// scribe writes to files, because its output is lost with the terminal.
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
func TestAHangUpUnderNohupIsAReload(t *testing.T) {
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
func TestCtrlCStopsADaemonInTheForegroundAndExplainsASecondCtrlC(t *testing.T) {
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
func TestNoMessageAboutCtrlCWithoutATerminal(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p, _ := startDaemon(t, "run")
		p.Signal(sig)
		require.Equal(t, 0, p.Wait())
		require.Zero(t, p.Out.Count("Ctrl-C"))
	}
}
