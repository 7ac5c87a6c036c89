package lifecycle

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// afterReady are the descriptors of a daemon that is ready, as seen from outside.
func afterReady(t *testing.T, pid int) (targets []string) {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	require.NoError(t, err)
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		require.NoError(t, err)
		if n, _ := strconv.Atoi(filepath.Base(fd)); n > 2 && !strings.HasPrefix(target, "anon_inode:") && !strings.HasPrefix(target, "/sys/fs/cgroup") {
			targets = append(targets, target)
		}
	}
	slices.Sort(targets)
	return targets
}

func copyOfTestBinary(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "program")
	if os.Link(testBinary(), path) != nil {
		// Not by this process: what another test starts meanwhile would have it open for writing, and then it is busy.
		require.NoError(t, exec.Command("cp", testBinary(), path).Run())
	}
	return path
}

// startHeld starts the launcher of a daemon whose OnStart waits for gate, or does what it is told, and returns both when it does.
func (b *background) startHeld(what ...string) (launcher *process, pid int, gate string) {
	b.t.Helper()
	gate = filepath.Join(b.t.TempDir(), "gate")
	launcher = start(b.t, daemon, b.args(slices.Concat([]string{"start=until:" + gate}, what, []string{"start"})...)...)
	b.awaitSaid("OnStart\n")
	found, err := Find(b.pidfile)
	require.NoError(b.t, err)
	require.NoError(b.t, found.Close())
	return launcher, found.PID, gate
}

func TestTheLockGoesFromTheLauncherToTheDaemonWithoutAGap(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	launcher, pid, gate := b.startHeld()
	require.NotEqual(t, launcher.pid(), pid)
	for _, verb := range []string{"start", "run"} {
		require.Equal(t, result{"", fmt.Sprintf("daemon: already running (pid %d), not ready yet\n", pid), 1}, b.call(verb))
	}
	h := mustLook(t, b.pidfile)
	require.Equal(t, holder{Held: true, Daemon: true, Known: true, PID: pid, Number: pid, Owner: os.Geteuid()}, h, "by the name, which the kernel vouches for")
	touch(t, gate)
	require.Equal(t, 0, launcher.wait())
	require.Equal(t, pid, b.readied(result{"", launcher.out.String(), 0}))
	require.Equal(t, h, mustLook(t, b.pidfile))
}

// suspend stops the launcher with STOP, and returns when it stands still.
func (p *process) suspend() (resume func()) {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	eventually(p.t, func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid()))
		return err == nil && bytes.Contains(text, []byte(") T "))
	}, "pid %d to stand still", p.pid())
	return func() { p.t.Helper(); p.signal(syscall.SIGCONT) }
}

func TestADaemonIsNotReadyBeforeItsSuspendedLauncherHasHeardIt(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	launcher, pid, gate := b.startHeld()
	resume := launcher.suspend()
	touch(t, gate)
	b.awaitSaid("fn\n")
	require.Equal(t, 150, b.call("status", "--ready").code)
	require.Equal(t, Starting, stateOf(t, b.pidfile).Phase)
	resume()
	require.Equal(t, 0, launcher.wait())
	require.Equal(t, pid, b.readied(result{"", launcher.out.String(), 0}))
	require.Equal(t, 0, b.call("status", "--ready").code)
}
