//go:build unix

package safefile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPathIsTheSameThroughALinkToItsDirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "run"), 0o755))
	require.NoError(t, os.Symlink("run", filepath.Join(dir, "var-run")))
	one, other := filepath.Join(dir, "run/x"), filepath.Join(dir, "var-run/x")
	require.True(t, SamePath(one, one))
	require.True(t, SamePath(one, other), "it does not exist")
	require.False(t, SameFile(one, other))
	require.NoError(t, os.WriteFile(one, nil, 0o600))
	require.True(t, SameFile(one, other))
	require.False(t, SamePath(one, filepath.Join(dir, "run/y")))
	require.False(t, SamePath(one, filepath.Join(dir, "x")))
	require.False(t, SamePath(one, filepath.Join(dir, "missing/x")))

	require.NoError(t, os.Link(one, filepath.Join(dir, "y")))
	require.True(t, SameFile(one, filepath.Join(dir, "y")))
	require.False(t, SamePath(one, filepath.Join(dir, "y")), "only a look at the files shows it")
}
