package worker

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func TestAProcessIsInItsControlGroupFromTheStart(t *testing.T) {
	t.Parallel()
	group := proctest.Cgroup(t, false)
	require.Contains(t, cgroupOfShell(t, group), "/"+filepath.Base(group)+"\n")
}

func TestAProcessStartsEvenIfItsControlGroupCannotBeEntered(t *testing.T) {
	t.Parallel()
	ours, err := os.ReadFile("/proc/self/cgroup")
	require.NoError(t, err)
	require.Equal(t, string(ours), cgroupOfShell(t, t.TempDir()))
}

// cgroupOfShell starts a shell in the directory of a control group, and returns the group of the
// shell.
func cgroupOfShell(t *testing.T, dir string) string {
	t.Helper()
	group, err := os.Open(dir)
	require.NoError(t, err)
	defer group.Close()
	out := filepath.Join(t.TempDir(), "out")
	p, err := Start(Spec{Args: []string{"sh", "-c", "cat /proc/$$/cgroup >" + out}, Program: "/bin/sh", Umask: -1, Cgroup: group})
	require.NoError(t, err)
	require.NoError(t, p.Executed(t.Context()))
	state, err := p.Wait()
	require.NoError(t, err)
	require.True(t, state.Success())
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	return string(text)
}
