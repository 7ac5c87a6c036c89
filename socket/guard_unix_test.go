//go:build unix

package socket

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// stranger is a user other than the user of the test.
const stranger = 54321

// needRoot skips the test if it cannot make directories of other users.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make directories of other users")
	}
}

// dirOf makes a directory.
func dirOf(t *testing.T, path string, mode fs.FileMode, uid int) string {
	t.Helper()
	require.NoError(t, os.Mkdir(path, 0o700))
	require.NoError(t, os.Chown(path, uid, uid))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

// Row L18.
func TestRootListensOnlyIfNoOtherUserControlsThePath(t *testing.T) {
	needRoot(t)
	t.Parallel()
	dir := shortDir(t)
	mine := dirOf(t, dir+"/m", 0o755, 0)
	all := dirOf(t, dir+"/a", 0o777, 0)
	sticky := dirOf(t, dir+"/t", 0o777|fs.ModeSticky, 0)
	theirs := dirOf(t, dir+"/u", 0o755, stranger)
	below := dirOf(t, dir+"/u/b", 0o755, 0)
	open := dirOf(t, dir+"/o", 0o777, stranger)
	require.NoError(t, os.Symlink(mine, dir+"/l"))
	require.NoError(t, os.Lchown(dir+"/l", stranger, stranger))

	for where, why := range map[string]string{
		mine:       "",
		sticky:     "",
		theirs:     "",
		all:        "other users can write the directory " + all + " in the path (mode 0777)",
		open:       "the directory " + open + " in the path belongs to user 54321",
		below:      "the directory " + theirs + " in the path belongs to user 54321",
		dir + "/l": "the symbolic link " + dir + "/l in the path belongs to user 54321",
	} {
		path := filepath.Join(where, "s")
		l, err := Listen("unix", path)
		if why == "" {
			require.NoError(t, err)
			require.NoError(t, l.Close())
			require.NoFileExists(t, path)
			continue
		}
		require.EqualError(t, err, "listen unix "+path+": "+why+
			": as root, use a directory that only root can write, or start as the user")
		_, err = ListenPacket("unixgram", path)
		require.ErrorContains(t, err, why)
		require.NoFileExists(t, path)
	}
	_, err := Listen("unix", dir+"/missing/s")
	require.ErrorIs(t, err, syscall.ENOENT)
}

// Listen removes no dead socket file from a directory that other users can write.
func TestRootRemovesNoDeadSocketIfAnotherUserControlsThePath(t *testing.T) {
	needRoot(t)
	t.Parallel()
	dir := shortDir(t)
	require.NoError(t, os.Chmod(dir, 0o777))
	path := filepath.Join(dir, "s")
	leaveDead(t, path)
	_, err := Listen("unix", path)
	require.ErrorContains(t, err, "other users can write the directory")
	require.FileExists(t, path)
}
