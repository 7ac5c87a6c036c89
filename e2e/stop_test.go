package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// Row C17.
func TestADaemonThatCtrlZSuspendedCanBeStopped(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	p.Signal(syscall.SIGSTOP)
	stopped := callVerb(t, path, "stop")
	require.Equal(t, 0, stopped.Code, stopped.Stderr)
	require.Contains(t, stopped.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", p.PID()))
	require.Equal(t, 0, p.Wait())
	require.Equal(t, 1, linesOf(p, "OnExit done"))
}

// Row C17.
func TestADaemonAbandonsAHangingOnStop(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t, "stop=hang", "stoptimeout=4s")
	stopped := callVerb(t, path, "stop", "stoptimeout=4s")
	require.Equal(t, 1, stopped.Code)
	require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, .*\), but OnStop of daemon did not return in 4s\n$`, p.PID()), stopped.Stderr)
	require.Equal(t, 1, p.Wait())
	p.Await("Run returned: lifecycle: OnStop of daemon: did not return in 4s")
	require.Equal(t, 1, linesOf(p, "OnExit done"))
	require.NoFileExists(t, path)
}

// Row C17.
func TestADaemonThatIgnoresTERMIsKilledAndTheVerbReportsIt(t *testing.T) {
	t.Parallel()
	path := proctest.PIDPath(t)
	p := proctest.Start(t, holding, "deaf", path)
	p.Await("holds it")
	f := openForReading(t, path)
	killed := callVerb(t, path, "stop", "stoptimeout=100ms")
	require.Equal(t, 1, killed.Code)
	require.Regexp(t, fmt.Sprintf(`^daemon: killed \(pid %d\): still running after \d\.\d s\n$`, p.PID()), killed.Stderr)
	requireFree(t, f)
	require.Equal(t, -1, p.Wait())
	require.Equal(t, syscall.SIGKILL, p.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
}

// Row C18.
func TestTheFileIsUnlockedWhenStopReturns(t *testing.T) {
	t.Parallel()
	for range 5 {
		p, path := startDaemon(t)
		f := openForReading(t, path)
		stopped := callVerb(t, path, "stop")
		requireFree(t, f)
		require.NoFileExists(t, path)
		require.Equal(t, 0, stopped.Code)
		require.Equal(t, 0, p.Wait())
		require.Equal(t, 1, linesOf(p, "OnStop"))
	}
}

// startHeir starts a holder that passes its descriptor to another process, and returns both.
func startHeir(t *testing.T) (p *proctest.Process, heir *os.Process, path string) {
	t.Helper()
	path = proctest.PIDPath(t)
	proctest.Use(idle)
	p = proctest.Start(t, holding, "leaving", path)
	p.Await("holds it")
	return p, heirIn(t, p.Out.String()), path
}

// Row C18.
func TestStopWaitsWhileAnyProcessHoldsTheFile(t *testing.T) {
	t.Parallel()
	p, heir, path := startHeir(t)
	found, err := lifecycle.Find(path)
	require.NoError(t, err)
	defer found.Close()
	p.Signal(syscall.SIGKILL)
	p.Wait()

	over, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	require.EqualError(t, found.Wait(over), "lifecycle: waiting for "+path+" to be released: enough")
	require.NoError(t, heir.Kill())
	require.NoError(t, found.Wait(t.Context()))
	requireFree(t, openForReading(t, path))
}

// Row C18.
func TestStopWaitsForAnyHolderOfTheFile(t *testing.T) {
	t.Parallel()
	p, heir, path := startHeir(t)
	f := openForReading(t, path)
	stop := proctest.Start(t, daemon, "pidfile="+path, "stop")
	p.Wait() // it is dead, and the other process holds the file
	select {
	case <-stop.Done:
		t.Fatalf("stop returned while the file was held: %s", stop.Out)
	default:
	}
	require.NoError(t, heir.Kill())
	require.Equal(t, 0, stop.Wait(), "%s", stop.Out)
	requireFree(t, f)
}

// Row C18.
func TestAProcessThatInheritedTheFileOfADeadDaemonIsReported(t *testing.T) {
	t.Parallel()
	p, heir, path := startHeir(t)
	p.Signal(syscall.SIGKILL)
	p.Wait()
	_, err := lifecycle.Find(path)
	require.EqualError(t, err, fmt.Sprintf("lifecycle: PID file %s: pid %d has ended, but a process that it started still holds the lock", path, p.PID()))
	require.NotErrorIs(t, err, lifecycle.ErrNotRunning)
	require.NoError(t, heir.Kill())
	proctest.Eventually(t, func() bool { _, err := lifecycle.Find(path); return errors.Is(err, lifecycle.ErrNotRunning) }, "the end of the child that holds the file")
}

// Row C20.
func TestAVerbThatIsKilledWhileItWaitsDoesNotAffectTheDaemon(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		gate := filepath.Join(t.TempDir(), "gate")
		p, path := startDaemon(t, "stop=until:"+gate)
		stop := proctest.Start(t, daemon, "pidfile="+path, "stop")
		p.Await("OnStop")
		stop.Signal(sig)
		require.Equal(t, -1, stop.Wait())
		require.Equal(t, sig, stop.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())

		require.Equal(t, 0, callVerb(t, path, "status").Code, "the daemon still stops in its own time")
		proctest.Touch(t, gate)
		require.Equal(t, 0, p.Wait())
		require.Equal(t, 1, linesOf(p, "OnStop done"))
		require.Equal(t, 1, linesOf(p, "OnExit done"))
		require.NoFileExists(t, path)
	}
}

// Row C20.
func TestTheEndOfTheContextEndsTheWaitAndNotTheDaemon(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	found, err := lifecycle.Find(path)
	require.NoError(t, err)
	defer found.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	err = found.Wait(ctx)
	require.ErrorIs(t, err, cause)
	require.EqualError(t, err, fmt.Sprintf("lifecycle: waiting for pid %d to end: enough", p.PID()))
	requireLives(t, p)
	require.NoError(t, found.Wait(t.Context()))
}

// lingerer is a program that continues after its life, until a file exists.
var lingerer = proctest.Register("lingerer", func(args []string) int {
	err := lifecycle.Run(nil, lifecycle.Name("lingerer"), lifecycle.PIDFile(args[0]))
	fmt.Println("Run has returned")
	behave("lingerer", "until:"+args[1])(context.Background())
	return lifecycle.ExitCode(err)
})

// Row C18.
func TestStopWaitsForADaemonThatHasReleasedTheFileAndDoesNotSignalIt(t *testing.T) {
	t.Parallel()
	path, gate := proctest.PIDPath(t), filepath.Join(t.TempDir(), "gate")
	p := proctest.Start(t, lingerer, path, gate)
	p.Await("ready pid=")
	found, err := lifecycle.Find(path)
	require.NoError(t, err)
	defer found.Close()
	p.Signal(syscall.SIGTERM)
	p.Await("Run has returned")

	want := fmt.Sprintf("lifecycle: pid %d released %s but still runs; no signal was sent", p.PID(), path)
	require.EqualError(t, found.Stop(t.Context()), want)
	require.EqualError(t, found.Kill(t.Context()), want)
	proctest.Touch(t, gate)
	require.NoError(t, found.Stop(t.Context()))
	require.Equal(t, 0, p.Wait())
}

// heirIn reads, from the output of the holder, the process to which it has passed the file.
func heirIn(t *testing.T, said string) *os.Process {
	t.Helper()
	_, pid, _ := strings.Cut(said, "heir: ")
	pid, _, _ = strings.Cut(pid, "\n")
	n, err := strconv.Atoi(pid)
	require.NoError(t, err)
	heir, err := os.FindProcess(n)
	require.NoError(t, err)
	t.Cleanup(func() { heir.Kill() })
	return heir
}
