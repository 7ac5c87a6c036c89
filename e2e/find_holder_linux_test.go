package e2e

import (
	"bufio"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// Row C2.
func TestAVerbWaitsForAHolderThatHasNotWrittenItsPID(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"status", "reload"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path, gate := proctest.PIDPath(t), filepath.Join(t.TempDir(), "gate")
			p := proctest.Start(t, holding, "late:"+gate, path)
			p.Await("locked it")
			awaitOpen := opens(t, path)
			v := proctest.Start(t, daemon, "pidfile="+path, what)
			awaitOpen()
			proctest.Touch(t, gate)
			code := v.Wait()
			if what == "status" {
				require.Equal(t, 0, code)
				require.Contains(t, v.Out.String(), fmt.Sprintf("daemon: running (pid %d); cannot read its state: state file ", p.PID()))
				return
			}
			require.Equal(t, 1, code)
			require.Contains(t, v.Out.String(), fmt.Sprintf("daemon: reload: no verdict: pid %d ended", p.PID()))
			require.Equal(t, -1, p.Wait())
			require.Equal(t, syscall.SIGHUP, p.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(), "the signal reached the process that wrote its PID")
		})
	}
}

// Row C8.
func TestAZombieIsNotADaemonIfItsChildHoldsTheFile(t *testing.T) {
	t.Parallel()
	path := proctest.PIDPath(t)
	proctest.Use(idle)
	cmd := proctest.Command(holding, "leaving", path)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start()) // becomes a zombie, because the test does not wait for it yet
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	said, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	heir := heirIn(t, said)

	found, err := lifecycle.Find(path)
	require.NoError(t, err)
	defer found.Close()
	require.NoError(t, cmd.Process.Kill())
	proctest.Eventually(t, func() bool {
		again, err := lifecycle.Find(path)
		if err == nil {
			again.Close()
		}
		return err != nil && strings.Contains(err.Error(), "has ended, but a process that it started still holds the lock")
	}, "what is left of a dead daemon to be named")
	require.NoError(t, heir.Kill())
}

// Row C9.
func TestAReusedPIDIsNotSignalled(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	p, path := startDaemon(t)
	found, err := lifecycle.Find(path)
	require.NoError(t, err)
	defer found.Close()
	p.Signal(syscall.SIGKILL)
	p.Wait()

	// The next daemon has the same PID and the same PID file. Only the pidfd distinguishes the two.
	next := startAs(t, p.PID(), daemon, "pidfile="+path)
	next.Await("msg=ready")
	require.NoError(t, verifyOnly(path, found), "the lock and the number are those of the same process")
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), lifecycle.ErrNotRunning)
	requireLives(t, next)
}
