package proc

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A FIFO without a writer hangs like the memory of a process.
func TestAHangingReadIsAbandonedAndNotRepeated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, first, second := filepath.Join(dir, "file"), filepath.Join(dir, "first"), filepath.Join(dir, "second")
	require.NoError(t, os.WriteFile(file, []byte("text"), 0o600))
	require.NoError(t, syscall.Mkfifo(first, 0o600))
	require.NoError(t, syscall.Mkfifo(second, 0o600))
	r := reads{limit: 50 * time.Millisecond, most: 2}
	require.Nil(t, r.read(first))
	begun := time.Now()
	r.limit = time.Minute
	require.Nil(t, r.read(first))
	require.Less(t, time.Since(begun), 30*time.Second, "the second read does not wait")
	require.Equal(t, "text", string(r.read(file)))
	r.limit = 50 * time.Millisecond
	require.Nil(t, r.read(second))
	require.Nil(t, r.read(file), "too many hang")
	for _, path := range []string{first, second} {
		writer, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.NoError(t, err)
		require.NoError(t, writer.Close())
	}
	require.Eventually(t, func() bool { return string(r.read(file)) == "text" }, time.Minute, time.Millisecond)
	require.Nil(t, r.read(filepath.Join(dir, "none")))
}
