package proctest

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// PIDFileWith returns the path of a PID file that contains text and that no process holds.
func PIDFileWith(t *testing.T, text string) (path string) {
	t.Helper()
	path = PIDPath(t)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// Untouched records a file and the content of its directory. requireUntouched requires that neither
// has changed.
func Untouched(t *testing.T, path string) (requireUntouched func()) {
	t.Helper()
	type seen struct {
		Names []string
		Mode  fs.FileMode
		Time  string
		Size  int64
		Text  []byte
	}
	look := func() (fs.FileInfo, seen) {
		t.Helper()
		entries, err := os.ReadDir(filepath.Dir(path))
		require.NoError(t, err)
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		info, err := os.Lstat(path)
		if os.IsNotExist(err) {
			return nil, seen{Names: names}
		}
		require.NoError(t, err)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return info, seen{names, info.Mode(), info.ModTime().String(), info.Size(), text}
	}
	before, was := look()
	return func() {
		t.Helper()
		after, is := look()
		require.Equal(t, was, is)
		require.True(t, before == nil || os.SameFile(before, after), "%s is another file", path)
	}
}
