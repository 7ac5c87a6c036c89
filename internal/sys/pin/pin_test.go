//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package pin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	programVar = "PIN_TEST_PROGRAM"
	slow       = 20 * time.Second // a test that waits this long fails
)

// programs are the helper programs. A test executes the test binary again, and programVar names the
// program that runs in it.
var programs = map[string]func(args []string) error{
	"signals": printSignals,
	"parent":  printChild,
}

func TestMain(m *testing.M) {
	name := os.Getenv(programVar)
	if name == "" {
		os.Exit(m.Run())
	}
	time.AfterFunc(30*time.Second, func() { os.Exit(99) })
	if err := programs[name](os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// printSignals prints the name of each signal it gets.
func printSignals([]string) error {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGUSR1, syscall.SIGUSR2)
	fmt.Println("ready")
	for sig := range c {
		fmt.Println(unix.SignalName(sig.(syscall.Signal)))
	}
	return nil
}

// printChild prints the PID of a child, and waits for it.
func printChild([]string) error {
	cmd := program("signals")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return err
	}
	fmt.Println(cmd.Process.Pid)
	_ = cmd.Wait()
	fmt.Println("waited for")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func program(name string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), programVar+"="+name, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

// child is a running program. Only kill and the end of the test wait for it.
type child struct {
	*exec.Cmd
	t   testing.TB
	out *bufio.Reader
}

func start(t testing.TB, cmd *exec.Cmd) *child {
	t.Helper()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	c := &child{cmd, t, bufio.NewReader(out)}
	t.Cleanup(c.kill)
	return c
}

func startSignals(t testing.TB) *child {
	t.Helper()
	c := start(t, program("signals"))
	require.Equal(t, "ready", c.line())
	return c
}

func (c *child) line() string {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	require.NoError(c.t, err)
	return strings.TrimSpace(line)
}

// kill ends the child and waits for it. Then the PID of the child is free.
func (c *child) kill() {
	if c.ProcessState == nil {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
}

// makeZombie ends the child without waiting for it.
func (c *child) makeZombie() {
	c.t.Helper()
	require.NoError(c.t, c.Process.Kill())
	_, err := io.Copy(io.Discard, c.out) // the pipe is closed before the child is a zombie
	require.NoError(c.t, err)
}

// eachWay runs test with every way in which this system can pin a process.
func eachWay(t *testing.T, test func(t *testing.T, open func(pid int) (*Pin, error))) {
	for name, hold := range ways {
		t.Run(name, func(t *testing.T) {
			test(t, func(pid int) (*Pin, error) { return openBy(hold, pid) })
		})
	}
}

func mustOpen(t testing.TB, open func(int) (*Pin, error), pid int) *Pin {
	t.Helper()
	p, err := open(pid)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func patience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), slow, errors.New("too slow"))
	t.Cleanup(cancel)
	return ctx
}

func TestSignalReachesTheProcess(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		c := startSignals(t)
		p := mustOpen(t, open, c.Process.Pid)
		require.Equal(t, c.Process.Pid, p.PID())
		require.NoError(t, p.Signal(syscall.SIGUSR1))
		require.Equal(t, "SIGUSR1", c.line())
	})
}

func TestOpenWithoutAProcessReturnsErrProcessDone(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		c := startSignals(t)
		c.kill()
		none := []int{c.Process.Pid, 0, -1, -os.Getpid(), math.MinInt, math.MaxInt}
		if cut := 1<<32 + int64(os.Getpid()); math.MaxInt > math.MaxInt32 { // pid_t has 32 bits
			none = append(none, int(cut))
		}
		for _, pid := range none {
			_, err := open(pid)
			require.ErrorIs(t, err, os.ErrProcessDone, "%d", pid)
			require.ErrorContains(t, err, strconv.Itoa(pid))
		}
	})
}

func TestAnEndedProcessReturnsErrProcessDone(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		c := startSignals(t)
		p := mustOpen(t, open, c.Process.Pid)
		c.kill()
		require.NoError(t, p.Wait(patience(t)))
		require.ErrorIs(t, p.Signal(syscall.SIGUSR1), os.ErrProcessDone)
		_, err := p.UID()
		require.ErrorIs(t, err, os.ErrProcessDone)
	})
}

func TestAZombieHasEnded(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		c := startSignals(t)
		before := mustOpen(t, open, c.Process.Pid)
		c.makeZombie()
		require.NoError(t, before.Wait(patience(t)))

		after, err := open(c.Process.Pid)
		if errors.Is(err, os.ErrProcessDone) {
			t.Skip("this system does not open a zombie")
		}
		require.NoError(t, err)
		defer after.Close()
		require.NoError(t, after.Wait(patience(t)))
		require.ErrorIs(t, after.Signal(syscall.SIGUSR1), os.ErrProcessDone)
	})
}

func TestWaitReturnsWhenANonChildEnds(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		parent := start(t, program("parent"))
		pid, err := strconv.Atoi(parent.line())
		require.NoError(t, err)
		p := mustOpen(t, open, pid)
		t.Cleanup(func() { _ = p.Signal(syscall.SIGKILL) })

		ended := make(chan error, 1)
		go func() { ended <- p.Wait(patience(t)) }()
		require.NoError(t, p.Signal(syscall.SIGKILL))
		require.NoError(t, <-ended)
		require.Equal(t, "waited for", parent.line())
		require.NoError(t, p.Wait(context.Background()))
	})
}

func TestWaitEndedByContextReturnsItsCauseAndALaterWaitWorks(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		c := startSignals(t)
		p := mustOpen(t, open, c.Process.Pid)
		cause := errors.New("enough")
		for range 3 {
			ctx, cancel := context.WithCancelCause(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- p.Wait(ctx) }()
			cancel(cause)
			require.Equal(t, cause, <-ended)
		}
		require.NoError(t, p.Signal(syscall.SIGUSR1))
		require.NoError(t, p.Signal(syscall.SIGKILL))
		require.NoError(t, p.Wait(patience(t)))
	})
}

func TestSeveralWaitsAreIndependent(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		c := startSignals(t)
		p := mustOpen(t, open, c.Process.Pid)
		ctx, cancel := context.WithCancel(context.Background())
		cancelled, one, two := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		go func() { cancelled <- p.Wait(ctx) }()
		go func() { one <- p.Wait(patience(t)) }()
		go func() { two <- p.Wait(patience(t)) }()

		cancel()
		require.Equal(t, context.Canceled, <-cancelled)
		require.NoError(t, p.Signal(syscall.SIGKILL))
		require.NoError(t, <-one)
		require.NoError(t, <-two)
	})
}

func TestCloseEndsEveryMethod(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		c := startSignals(t)
		p := mustOpen(t, open, c.Process.Pid)
		ended := make(chan error, 1)
		go func() { ended <- p.Wait(patience(t)) }()
		require.NoError(t, p.Close())
		require.ErrorIs(t, <-ended, os.ErrClosed)

		require.ErrorIs(t, p.Wait(context.Background()), os.ErrClosed)
		require.ErrorIs(t, p.Signal(syscall.SIGKILL), os.ErrClosed)
		_, err := p.UID()
		require.ErrorIs(t, err, os.ErrClosed)
		require.ErrorIs(t, p.Close(), os.ErrClosed)
		require.Equal(t, c.Process.Pid, p.PID())
	})
}

func TestASignalOfAnotherKindIsUnsupported(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		require.ErrorIs(t, mustOpen(t, open, os.Getpid()).Signal(strange{}), errors.ErrUnsupported)
	})
}

type strange struct{}

func (strange) Signal()        {}
func (strange) String() string { return "strange" }
