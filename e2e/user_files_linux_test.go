package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// Row L7.
func TestAPIDFileThatTheUserMayNotRemoveIsEmptied(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	b := inBackground(t)
	everybodyMayEnter(t, filepath.Dir(b.log))
	args := []string{"user=54321:54321"}
	for range 2 {
		pid := b.readied(b.callServant(append(args, "start")...))
		proctest.RequireText(t, b.pidfile, fmt.Sprintln(pid))
		requireOwner(t, b.pidfile, 0)
		require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
		proctest.Eventually(t, func() bool { return b.callServant("status").Code == 3 }, "the end")
		proctest.RequireText(t, b.pidfile, "")
		proctest.RequireText(t, proctest.StatePath(b.pidfile), "")
	}
	require.Equal(t, 2, strings.Count(b.said(), `msg="the daemon cannot remove the PID file at its end and will empty it instead"`))
	require.NotContains(t, b.said(), "level=WARN")
	b.readied(b.callServant(append(args, "start")...)) // takes over the old file
	b.stopServant()                                    // the caller of the verb is root
}

func requireOwner(t *testing.T, path string, uid int) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, uid, info.Sys().(*syscall.Stat_t).Uid, "owner of %s", path)
}

// Row L8.
func TestALogThatTheUserCannotReopenStays(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	b := inBackground(t)
	require.NoError(t, os.WriteFile(b.log, nil, 0o600))
	require.NoError(t, os.Chmod(filepath.Dir(b.log), 0o700))
	pid := b.readied(b.callServant("user=54321:54321", "start"))
	requireOwner(t, b.log, 0)
	require.Contains(t, b.said(), `level=WARN msg="the daemon can no longer reopen its log" err="log file `+b.log)
	got := b.callServant("reopen")
	require.Equal(t, 1, got.Code, "%s", got.Stderr)
	require.Contains(t, got.Stderr, "permission denied")
	require.Equal(t, 0, b.callServant("reload").Code)
	require.Equal(t, b.log, logOpened(t, pid, 1))
	b.stopServant()
	require.Contains(t, b.said(), "OnExit is")
}

func everybodyMayEnter(t *testing.T, dir string) {
	t.Helper()
	for _, dir := range []string{dir, filepath.Dir(dir)} {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
}

// jail returns a directory that can be a root directory.
func jail(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	require.NoError(t, os.Chmod(root, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(root, "log"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(root, "run"), 0o755))
	return root
}

func TestANewLogFileBelongsToTheUser(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	b := inBackground(t)
	everybodyMayEnter(t, filepath.Dir(b.log))
	require.NoError(t, os.Chown(filepath.Dir(b.log), 54321, 54321))
	args := []string{"user=54321:54322"}
	pid := b.readied(b.callServant(append(args, "start")...))
	for range 2 {
		requireOwner(t, b.log, 54321)
		info, err := os.Stat(b.log)
		require.NoError(t, err)
		require.EqualValues(t, 54322, info.Sys().(*syscall.Stat_t).Gid)
		require.EqualValues(t, 0o640, info.Mode().Perm())
		require.NoError(t, os.Rename(b.log, b.log+".1"))
		got := b.callServant("reopen")
		require.Equal(t, 0, got.Code, "%s", got.Stderr)
		require.Equal(t, b.log, logOpened(t, pid, 1))
	}
	require.NotContains(t, logText(t, b.log+".1"), "level=WARN")
	b.stopServant()
}
