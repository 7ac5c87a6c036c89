package lifecycle

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/filelock"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/proctest"
)

// holder is short, for tests have variables that are called pidfile.
type holder = pidfile.Holder

// pidFileWith is a PID file that says text and that nobody holds.
func pidFileWith(t *testing.T, text string) (path string) {
	t.Helper()
	path = proctest.PIDPath(t)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// held is the file at path, locked by somebody else than a daemon of ours. It stays so until the end of the test.
func held(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	require.NoError(t, filelock.TryLock(f))
	return f
}

// untouched remembers a file and what is in its directory. Calling it requires that nothing has changed.
func untouched(t *testing.T, path string) (requireUntouched func()) {
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
