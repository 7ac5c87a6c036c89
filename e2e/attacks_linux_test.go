package e2e

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// A process that has passed its lock to another process is not named as the holder.
// Row L4.
func TestAProcessThatHasPassedItsLockOnIsNotNamed(t *testing.T) {
	t.Parallel()
	path := proctest.PIDFileWith(t, "12345\n")
	f := held(t, path)
	cmd := proctest.Command(idle)
	cmd.ExtraFiles = []*os.File{f}
	proctest.Launch(t, cmd)
	require.NoError(t, f.Close())
	require.EqualError(t, mustLook(t, path).Unidentified(path), "locked by another program")
}
