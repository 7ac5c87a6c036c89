package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

func TestTheSupervisorExitsWithTheCodeOfTheStoppedWorker(t *testing.T) {
	t.Parallel()
	for what, want := range map[string]int{"stop=": 0, "exit=exit:5": 5, "stop=error": 1, "run=hang": 1} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p, _ := startDaemon(t, "supervise=foreground", "stoptimeout=100ms", what, "run")
			p.Signal(syscall.SIGTERM)
			require.Equal(t, want, p.Wait(), "%s", p.Out)
			require.LessOrEqual(t, p.Out.Count("daemon: "), 1, "the failure is logged once:\n%s", p.Out)
		})
	}
}

func TestASecondInterruptEndsSupervisorAndWorkerAtOnce(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t, "supervise=foreground", "stop=hang", "run")
	b := &background{t: t, pidfile: pidfile}
	worker := b.worker(0)
	p.Signal(syscall.SIGTERM)
	p.Await("OnStop")
	p.ForceQuit()
	require.Equal(t, 1, p.Wait())
	proctest.Eventually(t, func() bool { return proctest.IsOver(worker) }, "the end of the worker")
	require.NoFileExists(t, pidfile)
}

// Row H6.
func TestAPermanentExitCodeIsNotRetried(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, pidfile := startDaemon(t, "supervise=foreground", "run=until:"+gate, "exit=exit:78", "run")
	proctest.Touch(t, gate)
	require.Equal(t, 78, p.Wait())
	p.Await(`why="gave up: exit 78 is permanent; last: exit 78`)
	require.NoError(t, os.Remove(proctest.StatePath(pidfile)))
}

func TestASupervisorThatGivesUpExitsWithOne(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, pidfile := startDaemon(t, "supervise=foreground,min:-1ns,limit:2", "run=until:"+gate, "exit=exit:7", "run")
	proctest.Touch(t, gate)
	require.Equal(t, 1, p.Wait(), "%s", p.Out)
	p.Await(`why="gave up: the worker ended 2 times in 60s; last: exit 7`)
	require.NoError(t, os.Remove(proctest.StatePath(pidfile)))
}

// Row H4.
func TestACleanExitEndsTheSupervisorUnlessThePolicyIsAlways(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, _ := startDaemon(t, "supervise=foreground", "run=until:"+gate, "run")
	proctest.Touch(t, gate)
	require.Equal(t, 0, p.Wait())

	b := inBackground(t)
	gate = filepath.Join(t.TempDir(), "gate")
	b.start("supervise=always,min:-1ns,limit:-1", "stoptimeout=50ms", "run=until:"+gate)
	worker := b.worker(0)
	proctest.Touch(t, gate)
	b.told("a restart", func(s lifecycle.Status) bool { return s.Restarts > 3 })
	require.NoError(t, os.Remove(gate))
	b.worker(worker)
	b.stopKilling()
}

// killsSoon makes a supervisor soon kill processes that the worker has left and that ignore TERM.
const killsSoon = "stoptimeout=1s"

// leaves is the script of a worker that leaves two children in sessions of their own. One ignores
// TERM, the other does not.
const leaves = "setsid sh -c 'trap \"\" TERM; echo stubborn $$; exec sleep 60' & setsid sh -c 'echo meek $$; exec sleep 60' &"

// left waits until the log contains the PIDs of n processes that the worker has left, and returns
// these PIDs.
func (b *background) left(n int) (pids []int) {
	b.t.Helper()
	proctest.Eventually(b.t, func() bool {
		pids = nil
		for _, said := range regexp.MustCompile(`(?:stubborn|meek) (\d+)\n`).FindAllStringSubmatch(b.said(), -1) {
			pid, _ := strconv.Atoi(said[1])
			pids = append(pids, pid)
		}
		return len(pids) >= n
	}, "%d orphans", n)
	return pids
}

// Row H8.
func TestOrphansOfAWorkerAreEndedBeforeTheNextWorkerAndAtTheStop(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(b.guard(leaves+" exec sleep 60", "supervise=min:-1ns,settle:20ms", killsSoon, "start"))
	worker := b.worker(0)
	first := b.left(2)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.worker(worker)
	for _, pid := range first {
		require.True(t, proctest.IsOver(pid), "pid %d", pid)
	}
	require.Contains(t, b.said(), "ending a process that the worker left behind")
	all := b.left(4)
	b.stopKilling()
	for _, pid := range all {
		require.True(t, proctest.IsOver(pid), "pid %d", pid)
	}
}

// Row H7.
func TestAnOrphanThatEndsWhileTheWorkerLivesIsNoZombie(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(b.guard("for i in 1 2 3 4 5; do sh -c 'sleep 0.01 & '; done; exec sleep 60", "start"))
	parent := b.status().PID
	proctest.Eventually(t, func() bool { return len(childrenOf(t, parent)) == 1 }, "the end of every process except the worker")
	b.stop()
}
