package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// opens watches the file. await waits until a process opens it.
func opens(t *testing.T, path string) (await func()) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	require.NoError(t, err)
	events := os.NewFile(uintptr(fd), "inotify")
	t.Cleanup(func() { events.Close() })
	_, err = unix.InotifyAddWatch(fd, path, unix.IN_OPEN)
	require.NoError(t, err)
	require.NoError(t, events.SetReadDeadline(time.Now().Add(proctest.Patience)))
	return func() {
		t.Helper()
		_, err := events.Read(make([]byte, 4096))
		require.NoError(t, err)
	}
}

// The test uses a second daemon as a clock. The test stops it after the first daemon and signals it
// repeatedly, until it treats a signal as a forced quit. By then, the first daemon would also treat
// another TERM as a forced quit.
// Row A6.
func TestTwoStopsFarApartWaitForTheSameDrain(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startDaemon(t, "stop=until:"+gate)
	first := sendOff(t, mustFind(t, path).Stop)
	p.Await("OnStop")

	insisted, insistedPath := startDaemon(t, "stop=until:"+gate)
	insisted.ForceQuit()
	requireExited(t, insisted, 1)
	insisted.Await("another stop signal: quitting at once")
	require.Zero(t, linesOf(insisted, "OnStop done"))
	require.Zero(t, linesOf(insisted, "OnExit"))
	requireNothingLeft(t, insistedPath)

	// The first read is enough to see that the daemon is stopping.
	looksAtTheState := opens(t, proctest.StatePath(path))
	second := sendOff(t, mustFind(t, path).Stop)
	looksAtTheState()
	verb := proctest.Start(t, daemon, "pidfile="+path, "stop")
	looksAtTheState()
	first.requireWaits()
	second.requireWaits()
	requireRuns(t, verb)
	requireRuns(t, p)
	proctest.Touch(t, gate)
	require.NoError(t, first.wait())
	require.NoError(t, second.wait())
	require.Equal(t, 0, verb.Wait(), "%s", verb.Out)
	require.True(t, strings.HasPrefix(verb.Out.String(), "daemon: stopped (pid "), "%s", verb.Out)
	requireExited(t, p, 0)
	requireBalanced(t, p)
	requireNothingLeft(t, path)
}

func TestStatusShowsTheOuterPIDOfADaemonInAPIDNamespace(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, ownPIDs...)
	t.Parallel()
	path := proctest.PIDPath(t)
	unshare := proctest.Launch(t, proctest.Wrapped(ownPIDs, daemon, "pidfile="+path, "reload=error"))
	unshare.Await("msg=ready")
	found := mustFind(t, path)
	proctest.RequireText(t, path, "1\n")
	record, err := os.ReadFile(proctest.StatePath(path))
	require.NoError(t, err)
	require.Contains(t, string(record), `"pid":1,`)

	s, err := found.Status()
	require.NoError(t, err)
	require.Equal(t, found.PID, s.PID)
	require.NotEqual(t, 1, s.PID)
	require.Equal(t, lifecycle.Ready, s.Phase)
	require.NoError(t, found.WaitReady(t.Context()))
	require.EqualError(t, found.Reload(t.Context()), "lifecycle: OnReload of daemon: OnReload failed on purpose")
	require.NoError(t, found.Reopen(t.Context()))
	require.NoError(t, found.Stop(t.Context()))
	require.Equal(t, 0, unshare.Wait(), "%s", unshare.Out)
	requireNothingLeft(t, path)
}

// A daemon has died, and another daemon has the same PID and the same PID file. Lock, number and
// state file do not distinguish the two. With an ended context, each method still returns at once.
// Row C9.
func TestNoMethodReachesALaterDaemonWithTheSamePIDAndPIDFile(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	for _, phase := range []lifecycle.Phase{lifecycle.Starting, lifecycle.Ready, lifecycle.Reloading, lifecycle.Stopping} {
		t.Run(phase.String(), func(t *testing.T) {
			p, path := startDaemon(t)
			found := mustFind(t, path)
			p.Signal(syscall.SIGKILL)
			p.Wait()
			gate := filepath.Join(t.TempDir(), "gate")
			next := startAs(t, p.PID(), daemon, "pidfile="+path, hookIn[phase]+"=until:"+gate)
			reach(t, next, phase)

			require.NoError(t, verifyOnly(path, found), "the lock and the number are those of the same process")
			over := ended(t, errEnough)
			_, err := found.Status()
			assert.ErrorIs(t, err, lifecycle.ErrNotRunning, "Status")
			assert.ErrorIs(t, found.WaitReady(over), lifecycle.ErrNotRunning, "WaitReady")
			assert.ErrorIs(t, found.Reload(over), lifecycle.ErrNotRunning, "Reload")
			assert.ErrorIs(t, found.Reopen(over), lifecycle.ErrNotRunning, "Reopen")
			assert.ErrorIs(t, found.Signal(syscall.SIGTERM), lifecycle.ErrNotRunning, "Signal")
			assert.NoError(t, found.Stop(over), "Stop: the process is gone, as requested")
			assert.NoError(t, found.Kill(over), "Kill")
			assert.NoError(t, found.Wait(over), "Wait")

			proctest.Touch(t, gate)
			if phase != lifecycle.Stopping {
				next.Await("msg=ready")
				next.Signal(syscall.SIGTERM)
			}
			requireExited(t, next, 0)
			requireBalanced(t, next)
			require.Zero(t, next.Out.Count("nothing to reopen"))
			require.Equal(t, map[bool]int{true: 1}[phase == lifecycle.Reloading], linesOf(next, "OnReload"))
		})
	}
}

// hookIn maps a phase to the key of the program daemon for the hook that runs in it.
var hookIn = map[lifecycle.Phase]string{lifecycle.Starting: "start", lifecycle.Ready: "usr2", lifecycle.Reloading: "reload", lifecycle.Stopping: "stop"}

// reach brings the program daemon into a phase. Its hook then holds it there.
func reach(t *testing.T, p *proctest.Process, phase lifecycle.Phase) {
	t.Helper()
	if phase == lifecycle.Starting {
		p.Await("OnStart")
		return
	}
	p.Await("msg=ready")
	switch phase {
	case lifecycle.Reloading:
		p.Signal(syscall.SIGHUP)
		p.Await("OnReload")
	case lifecycle.Stopping:
		p.Signal(syscall.SIGTERM)
		p.Await("OnStop")
	}
}

func TestTheStateFileOfAnotherUserIsIgnored(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	p, path := startDaemon(t)
	found := mustFind(t, path)
	s, err := found.Status()
	require.NoError(t, err)
	s.Phase = lifecycle.Stopping
	record := recordOf(t, s)
	replace(t, proctest.StatePath(path), record)
	require.NoError(t, os.Chown(proctest.StatePath(path), nobody, nobody))

	_, err = found.Status()
	require.ErrorContains(t, err, fmt.Sprintf("it belongs to user %d", nobody))
	require.NoError(t, found.Stop(t.Context()), "the daemon is not stopping, although the file says so")
	requireExited(t, p, 0)
	requireBalanced(t, p)
}
