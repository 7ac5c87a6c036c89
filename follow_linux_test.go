package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The test has a daemon that died, and in its place one with the same PID and the same PID file: by lock, number and state file the
// two are the same. A context that has ended keeps nothing from being answered at once.
// Row C9.
func TestNoMethodReachesOrDescribesWhoGotThePIDAndThePIDFile(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	for _, phase := range []Phase{Starting, Ready, Reloading, Stopping} {
		t.Run(phase.String(), func(t *testing.T) {
			p, path := startDaemon(t)
			found := mustFind(t, path)
			p.signal(syscall.SIGKILL)
			p.wait()
			gate := filepath.Join(t.TempDir(), "gate")
			next := startAs(t, p.pid(), daemon, "pidfile="+path, hookIn[phase]+"=until:"+gate)
			reach(t, next, phase)

			require.NoError(t, verifyOnly(found), "by lock and number it is the same")
			over := ended(t, errEnough)
			_, err := found.Status()
			assert.ErrorIs(t, err, ErrNotRunning, "Status")
			assert.ErrorIs(t, found.WaitReady(over), ErrNotRunning, "WaitReady")
			assert.ErrorIs(t, found.Reload(over), ErrNotRunning, "Reload")
			assert.ErrorIs(t, found.Reopen(over), ErrNotRunning, "Reopen")
			assert.ErrorIs(t, found.Signal(syscall.SIGTERM), ErrNotRunning, "Signal")
			assert.NoError(t, found.Stop(over), "Stop: it is gone, and that was wanted")
			assert.NoError(t, found.Kill(over), "Kill")
			assert.NoError(t, found.Wait(over), "Wait")

			touch(t, gate)
			if phase != Stopping {
				next.await("msg=ready")
				next.signal(syscall.SIGTERM)
			}
			requireExited(t, next, 0)
			requireBalanced(t, next)
			require.Zero(t, next.out.count("nothing to reopen"))
			require.Equal(t, map[bool]int{true: 1}[phase == Reloading], linesOf(next, "OnReload"))
		})
	}
}

// hookIn is the key of the program daemon for the hook that runs in a phase.
var hookIn = map[Phase]string{Starting: "start", Ready: "usr2", Reloading: "reload", Stopping: "stop"}

// reach brings the program daemon into a phase, in which its hook holds it.
func reach(t *testing.T, p *process, phase Phase) {
	t.Helper()
	if phase == Starting {
		p.await("OnStart")
		return
	}
	p.await("msg=ready")
	switch phase {
	case Reloading:
		p.signal(syscall.SIGHUP)
		p.await("OnReload")
	case Stopping:
		p.signal(syscall.SIGTERM)
		p.await("OnStop")
	}
}

func TestTheStateFileOfAnotherUserIsNotBelieved(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	p, path := startDaemon(t)
	found := mustFind(t, path)
	s, err := found.Status()
	require.NoError(t, err)
	s.Phase = Stopping
	record, err := s.encode()
	require.NoError(t, err)
	replace(t, statePath(path), record)
	require.NoError(t, os.Chown(statePath(path), nobody, nobody))

	_, err = found.Status()
	require.ErrorContains(t, err, fmt.Sprintf("it belongs to user %d", nobody))
	require.NoError(t, found.Stop(t.Context()), "it is not stopping already, whatever is said there")
	requireExited(t, p, 0)
	requireBalanced(t, p)
}
