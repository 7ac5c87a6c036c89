package e2e

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// The race detector replaces the exit code of a program that had a race with 66. Therefore a worker
// that exits with 66 starts again if it has the race detector. Otherwise 66 is EX_NOINPUT, which is
// permanent.
func TestTheExitCodeOfTheRaceDetectorIsPermanentOnlyWithoutIt(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.start(atOnce, "usr2=exit:66")
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(worker, syscall.SIGALRM))
	if underRace() {
		b.worker(worker)
		b.stop()
		return
	}
	proctest.Eventually(t, func() bool {
		_, err := lifecycle.Find(b.pidfile)
		return err != nil
	}, "the supervisor to give up")
	proctest.Eventually(t, func() bool { return len(b.processes()) == 0 }, "its end")
	require.Contains(t, b.call("status").Stdout, "gave up: exit 66 is permanent")
	require.NoError(t, os.Remove(proctest.StatePath(b.pidfile)))
}
