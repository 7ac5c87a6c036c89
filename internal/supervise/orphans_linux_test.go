package supervise

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A caller must not take such orphans for ended ones.
func TestOrphansThatCannotBeListedAreReported(t *testing.T) {
	t.Parallel()
	child := exec.Command("sleep", "60") // without children, nothing needs to be listed
	require.NoError(t, child.Start())
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	s, p, _ := newProcess(t)
	p.orphans.took = 2*OrphansMargin - 50*time.Millisecond // the rest is enough here
	syscall.ForkLock.Lock()                                // as while this process starts another one
	_, err := s.endOrphansBy(p, time.Time{})
	syscall.ForkLock.Unlock()
	var left *OrphansError
	require.ErrorAs(t, err, &left)
	require.Empty(t, left.PIDs)
	require.EqualError(t, err, "cannot list the processes that the worker left behind: this process is starting another one")
}
