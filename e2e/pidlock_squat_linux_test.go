package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func TestAThousandRefusedStartsLeaveNoDescriptor(t *testing.T) {
	t.Parallel()
	_, pidfile := startDaemon(t)
	dir := t.TempDir()
	writable, fifo := filepath.Join(dir, "writable.pid"), filepath.Join(dir, "fifo.pid")
	require.NoError(t, os.WriteFile(writable, nil, 0o600))
	require.NoError(t, os.Chmod(writable, 0o666))
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	got := proctest.Call(t, refused, pidfile, writable, fifo, dir, filepath.Join(dir, "missing", "daemon.pid"))
	require.Equal(t, proctest.Result{Stdout: "0 descriptors more\n"}, got)
}

// Row E1.
func TestProgramsOfTheDaemonDoNotInheritThePIDFile(t *testing.T) {
	t.Parallel()
	p, child, pidfile := startForker(t)
	openIn := func(pid int) (paths []string) {
		t.Helper()
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, entry := range entries {
			path, err := os.Readlink(filepath.Join(dir, entry.Name()))
			if errors.Is(err, fs.ErrNotExist) {
				continue // the program has just closed this descriptor
			}
			require.NoError(t, err)
			paths = append(paths, path)
		}
		return paths
	}
	require.Contains(t, openIn(p.PID()), pidfile)
	require.NotContains(t, openIn(child.Pid), pidfile)
}
