package terminal

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/lifecycle/internal/proctest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	programVar = "TERMINAL_TEST_PROGRAM"
	reportFD   = 3 // the program prints to it
	ttyFD      = 4 // the program's terminal, unless that is descriptor 0
)

func TestMain(m *testing.M) {
	if os.Getenv(programVar) == "" {
		proctest.DefaultSignals()
		os.Exit(m.Run())
	}
	time.AfterFunc(30*time.Second, func() { os.Exit(99) })
	report()
}

// report prints, at each SIGHUP it gets, whether its terminal has hung up.
func report() {
	hup := make(chan os.Signal, 8)
	signal.Notify(hup, syscall.SIGHUP)
	_ = syscall.Close(ttyFD)
	terminal := Controlling()
	out := os.NewFile(reportFD, "report")
	fmt.Fprintln(out, "ready")
	for range hup {
		fmt.Fprintln(out, "hung up:", terminal.HungUp())
	}
}

// pty opens a pseudo terminal. master is the end of the window, and slave is the end of the
// programs.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { _ = master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

type child struct {
	*exec.Cmd
	t   *testing.T
	out *bufio.Reader
}

// start runs the reporting program in its own session. std becomes its descriptors 0 to 2; nil
// means /dev/null. tty becomes its controlling terminal, unless tty is nil.
func start(t *testing.T, std, tty *os.File) *child {
	t.Helper()
	c := startBy(t, nil, std, tty)
	require.Equal(t, "ready", c.line())
	return c
}

// startBy does the same as start, but another program executes the reporting program, and startBy
// does not wait.
func startBy(t *testing.T, by []string, std, tty *os.File) *child {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })

	line := append(by, self)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), programVar+"=report", "GORACE=atexit_sleep_ms=0")
	if std != nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = std, std, std
	}
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if tty != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, tty)
		cmd.SysProcAttr.Setctty, cmd.SysProcAttr.Ctty = true, ttyFD
	}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.NoError(t, w.Close())
	return &child{cmd, t, bufio.NewReader(r)}
}

func (c *child) line() string {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	require.NoError(c.t, err)
	return strings.TrimSpace(line)
}

func (c *child) signal() {
	c.t.Helper()
	require.NoError(c.t, c.Process.Signal(syscall.SIGHUP))
}

// hangUp does what closing the window does.
func hangUp(t *testing.T, master, slave *os.File) {
	t.Helper()
	require.NoError(t, slave.Close())
	require.NoError(t, master.Close())
}

func TestAClosedTerminalHasHungUp(t *testing.T) {
	master, slave := pty(t)
	c := start(t, slave, slave)
	hangUp(t, master, slave) // the kernel sends SIGHUP
	require.Equal(t, "hung up: true", c.line())
}

func TestASentSIGHUPIsNoHangUp(t *testing.T) {
	master, slave := pty(t)
	c := start(t, slave, slave)
	for range 3 {
		c.signal()
		require.Equal(t, "hung up: false", c.line())
	}
	hangUp(t, master, slave)
	require.Equal(t, "hung up: true", c.line())
}

func TestAProcessWithoutATerminalHasNoHangUp(t *testing.T) {
	c := start(t, nil, nil)
	c.signal()
	require.Equal(t, "hung up: false", c.line())
}

func TestAProgramWithNoDescriptorOnItsTerminalSeesTheHangUp(t *testing.T) {
	master, slave := pty(t)
	c := start(t, nil, slave)
	c.signal()
	require.Equal(t, "hung up: false", c.line())
	hangUp(t, master, slave)
	require.Equal(t, "hung up: true", c.line())
}

func TestOnlyTheControllingTerminalCanHangUp(t *testing.T) {
	master, slave := pty(t)
	c := start(t, slave, nil)
	hangUp(t, master, slave)
	c.signal() // no other process sends it
	require.Equal(t, "hung up: false", c.line())
}

func TestALaterSIGHUPIsNoHangUpForABackgroundJob(t *testing.T) {
	master, slave := pty(t)
	c := startBy(t, []string{"sh", "-c", `set -m; "$0" & echo $! >&3; wait`}, slave, slave)
	pid, err := strconv.Atoi(c.line())
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	require.Equal(t, "ready", c.line())
	hangUp(t, master, slave)
	_ = c.Wait() // the shell, which gets the SIGHUP
	require.NoError(t, syscall.Kill(pid, syscall.SIGHUP))
	require.Equal(t, "hung up: false", c.line())
}

func TestControllingKeepsNoDescriptorOpen(t *testing.T) {
	before := descriptors(t)
	for range 10 {
		require.NotNil(t, Controlling())
		require.False(t, Controlling().HungUp())
	}
	require.Equal(t, before, descriptors(t))
}

func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(fds)
}

func TestIsReportsATerminal(t *testing.T) {
	_, slave := pty(t)
	require.True(t, Is(slave))

	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	require.False(t, Is(null))
	require.NoError(t, null.Close())
	require.False(t, Is(null), "closed")
	require.False(t, Is(nil))
}

func TestIsLeavesAFileNonblocking(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	require.False(t, Is(r))
	require.NoError(t, r.SetReadDeadline(time.Unix(1, 0)))
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}
