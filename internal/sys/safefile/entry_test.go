package safefile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSameEntryRecognizesAllNamesOfAnEntry(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	for _, name := range []string{"real", "other"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("link", filepath.Join(dir, "again")))
	at := func(path string) string { return filepath.Join(dir, path) }
	for _, path := range []string{"real/x", "link/x", "again/x"} {
		require.True(t, SameEntry(at("real/x"), at(path)), path)
		require.True(t, SameEntry(at(path), at("link/x")), path)
		require.Equal(t, at("real/x"), ResolveDir(at(path)))
	}
	for _, path := range []string{"other/x", "real/y", "link", "missing/x", "x"} {
		require.False(t, SameEntry(at("real/x"), at(path)), path)
	}
	require.True(t, SameEntry(at("missing/x"), at("missing/x")), "the same text")
	require.Equal(t, at("missing/x"), ResolveDir(at("missing/x")))
	require.Empty(t, ResolveDir(""))

	// A link at the end of the path is a different entry.
	require.NoError(t, os.WriteFile(at("real/x"), nil, 0o600))
	require.NoError(t, os.Symlink("x", at("real/y")))
	require.False(t, SameEntry(at("real/x"), at("real/y")))
}

func TestSameEntryFollowsALinkToTheDirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "run"), 0o755))
	require.NoError(t, os.Symlink("run", filepath.Join(dir, "var-run")))
	one, other := filepath.Join(dir, "run/x"), filepath.Join(dir, "var-run/x")
	require.True(t, SameEntry(one, one))
	require.True(t, SameEntry(one, other), "the file does not exist")
	require.False(t, SameFile(one, other))
	require.NoError(t, os.WriteFile(one, nil, 0o600))
	require.True(t, SameFile(one, other))
	require.False(t, SameEntry(one, filepath.Join(dir, "run/y")))
	require.False(t, SameEntry(one, filepath.Join(dir, "x")))
	require.False(t, SameEntry(one, filepath.Join(dir, "missing/x")))

	require.NoError(t, os.Link(one, filepath.Join(dir, "y")))
	require.True(t, SameFile(one, filepath.Join(dir, "y")))
	require.False(t, SameEntry(one, filepath.Join(dir, "y")), "only the files show that the paths are the same")
}
