//go:build unix

package openfile

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheEndsOfAPipeAreNotTheSame(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	again, err := Duplicate(r, "again")
	require.NoError(t, err)
	defer again.Close()
	require.Equal(t, "again", again.Name())
	require.True(t, Same(r, r))
	require.True(t, Same(r, again))
	require.False(t, Same(r, w))

	require.NoError(t, r.Close())
	require.False(t, Same(r, again), "it is closed")
	_, err = Duplicate(r, "closed")
	require.Error(t, err)
}

func TestInodesDistinguishTwoFilesAndTwoModes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func(name string, flags int) int {
		f, err := os.OpenFile(filepath.Join(dir, name), flags|os.O_CREATE, 0o600)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return int(f.Fd())
	}
	a, b, other, written := open("a", os.O_RDONLY), open("a", os.O_RDONLY), open("b", os.O_RDONLY), open("a", os.O_RDWR)
	require.True(t, sameFile(a, b))
	require.False(t, sameFile(a, other))
	require.False(t, sameFile(a, written))
	require.False(t, sameFile(a, -1))
}
