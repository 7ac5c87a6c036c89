//go:build unix

package safefile

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Many rows have the same errno and different advice.
func TestAdviceDependsOnTheOperationThatFailed(t *testing.T) {
	tr := newTree(t)
	uid := os.Geteuid()
	tr.dir("mine", 0o755, uid, os.Getegid())
	write(t, tr.at("mine/file"), "")
	file, missing := tr.at("mine/file"), tr.at("mine/missing")
	failed := func(op, path string, errno syscall.Errno) error { return &fs.PathError{Op: op, Path: path, Err: errno} }
	for _, c := range []struct {
		err  error
		want string
	}{
		{failed("open", missing, syscall.ENOENT), ""},
		{failed("open", missing, syscall.EPERM), ""}, // this user can write the directory
		{failed("open", file, syscall.EACCES), fmt.Sprintf("as user %d", uid)},
		{failed("open", file, syscall.EROFS), ""},
		{failed("chmod", file, syscall.EPERM), "the file system does not let this process change modes"},
		{failed("write", file, syscall.EACCES), ""},
		{failed("remove", file, syscall.EPERM), ""},
		{failed("mkdir", missing, syscall.EEXIST), ""},
		{fmt.Errorf("flock: %w", syscall.EACCES), ""},
		{failed("chmod", file, syscall.EIO), ""},
		{refuse(file, "it has 2 hard links"), ""},
	} {
		require.Equal(t, c.want, Advice(file, c.err), "%v", c.err)
		require.Equal(t, c.want, Advice(file, fmt.Errorf("wrapped: %w", c.err)), "%v", c.err)
	}
	require.Equal(t, "the directory "+tr.at("no")+" must exist", Advice(tr.at("no/file"), failed("lstat", tr.at("no"), syscall.ENOENT)))
	chown := Cause(file, failed("chown", file, syscall.EPERM)) // Cause removes the path
	if uid == 0 {
		require.Equal(t, "root needs the capability CAP_CHOWN and a file system that keeps owners", Advice(file, chown))
		return
	}
	require.Empty(t, Advice(file, chown))
	for _, op := range []string{"open", "mkdir", "remove"} {
		require.Equal(t, fmt.Sprintf("user %d must be able to write the directory /proc", uid), Advice("/proc/x", failed(op, "/proc/x", syscall.EACCES)))
	}
	require.Equal(t, fmt.Sprintf("the file belongs to user 0, and this process is user %d", uid), Advice("/proc/1", failed("chmod", "/proc/1", syscall.EPERM)))
}

func TestSetModeIgnoresTheUmask(t *testing.T) {
	path := newTree(t).at("file")
	write(t, path, "")
	require.NoError(t, os.Chmod(path, 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	for _, mode := range []fs.FileMode{0o644, 0o644, 0o600} {
		require.NoError(t, SetMode(f, mode))
		info, err := f.Stat()
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode())
	}
}

func TestAModeThatCannotBeSetMustNotPermitMore(t *testing.T) {
	for has, wanted := range map[fs.FileMode]fs.FileMode{0o755: 0o644, 0o700: 0o640, 0o600: 0o644, 0o644: 0o644, 0o711: 0o600} {
		require.True(t, fits(has, wanted), "%o for %o", has, wanted)
	}
	for has, wanted := range map[fs.FileMode]fs.FileMode{0o777: 0o644, 0o664: 0o644, 0o644: 0o600, 0o444: 0o644, 0o750: 0o600} {
		require.False(t, fits(has, wanted), "%o for %o", has, wanted)
	}
}
