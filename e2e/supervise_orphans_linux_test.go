package e2e

import (
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// forking returns the script of a worker that leaves processes. As long as the file exists, these
// ignore TERM, and fork and exit all the time.
func forking(file string) string {
	return "trap '' TERM; f() { [ -e " + file + " ] && f & }; f; f; f; f; echo they fork; trap - TERM; exec sleep 60"
}

// Row H8.
func TestProcessesThatForkAndExitDelayNeitherRestartNorStop(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	proctest.Touch(t, gate)
	b.readied(b.guard(forking(gate), "supervise=min:-1ns,limit:-1,settle:20ms", "start"))
	worker := b.worker(0)
	for range proctest.Rounds(1, 3, 3) {
		b.awaitSaid("they fork")
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
		b.told("it to be noticed", func(s lifecycle.Status) bool { return s.Worker != worker })
		require.Equal(t, 0, b.call("status").Code, "the supervisor answers during the stop")
		worker = b.worker(worker)
	}
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL)) // the stop comes during the restart
	stopped := b.call("stop")
	if stopped.Code != 0 { // the stop came before the supervisor noticed the end
		require.Contains(t, stopped.Stderr, "but it failed: the worker ended with signal SIGKILL\n")
	}
	b.requireNothingLeft()
	require.NotContains(t, b.said(), "cannot end")
}

func TestASecondInterruptEndsTheChildrenOfTheWorker(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, guard, "pidfile="+proctest.PIDPath(t), "supervise=foreground,settle:20ms", "run", "--", "sh", "-c",
		`trap "" TERM; for i in 1 2 3; do setsid sh -c 'trap "" TERM; echo left $$; exec sleep 60' & done; wait; wait`)
	p.Await("left ", 3)
	p.Await("INFO ready")
	p.Signal(syscall.SIGTERM)
	p.ForceQuit()
	require.Equal(t, 1, p.Wait())
	for _, said := range regexp.MustCompile(`left (\d+)\n`).FindAllStringSubmatch(p.Out.String(), -1) {
		pid, err := strconv.Atoi(said[1])
		require.NoError(t, err)
		proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)
	}
}
