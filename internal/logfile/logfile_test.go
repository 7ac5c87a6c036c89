//go:build unix

package logfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/privilege"
	"example.com/lifecycle/internal/sys/safefile"
)

const mode = 0o640

// TestMain gives root a directory for temporary files that only root can write.
func TestMain(m *testing.M) {
	syscall.Umask(0o077)
	proctest.Main(m, false)
}

func logPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "daemon.log")
}

func requireContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func mustWrite(t *testing.T, f *os.File, text string) {
	t.Helper()
	_, err := f.WriteString(text)
	require.NoError(t, err)
}

func TestALogIsAppendedToAndHasItsModeWithAnyUmask(t *testing.T) {
	path := logPath(t)
	for _, want := range []bool{true, false} {
		f, err := Open(path, mode, nil)
		require.NoError(t, err)
		require.Equal(t, want, f.Created)
		mustWrite(t, f.File, "line\n")
		require.NoError(t, f.Close())
	}
	requireContent(t, path, "line\nline\n")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(mode), info.Mode())
}

func TestOnlyARegularFileWithOneNameIsALog(t *testing.T) {
	for what, put := range map[string]func(path string) error{
		"symbolic link": func(path string) error { return os.Symlink(path+".other", path) },
		"hard links": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Link(path, path+".other"))
		},
		"FIFO":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		path := logPath(t)
		require.NoError(t, put(path))
		_, err := Open(path, mode, nil)
		require.ErrorIs(t, err, safefile.ErrUnsafe)
		require.ErrorContains(t, err, what)
	}
}

func TestOnlyTheCreatedLogIsRemoved(t *testing.T) {
	path := logPath(t)
	f, err := Open(path, mode, nil)
	require.NoError(t, err)
	require.True(t, f.Created)
	defer f.Close()
	require.NoError(t, os.Rename(path, path+".1"))
	require.NoError(t, os.WriteFile(path, []byte("of another start\n"), 0o600))
	require.NoError(t, safefile.Remove(f.File, path))
	requireContent(t, path, "of another start\n")
	require.NoError(t, os.Rename(path+".1", path))
	require.NoError(t, safefile.Remove(f.File, path))
	require.NoFileExists(t, path)
	require.NoError(t, safefile.Remove(f.File, path), "a removed file is no error")
}

func TestAFailedOpenPairRemovesTheLogThatItCreated(t *testing.T) {
	path := logPath(t)
	missing := filepath.Join(filepath.Dir(path), "missing", "error.log")
	_, err := OpenPair(path, missing, mode, nil)
	var at *Error
	require.ErrorAs(t, err, &at)
	require.Equal(t, missing, at.Path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoFileExists(t, path, "this call had created the file")

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = OpenPair(path, missing, mode, nil)
	require.Error(t, err)
	require.FileExists(t, path, "the file existed before")
}

func TestTailReturnsTheTextSinceOpenPair(t *testing.T) {
	path := logPath(t)
	require.NoError(t, os.WriteFile(path, []byte("before\n"), 0o600))
	for _, separate := range []string{"", path + ".error"} {
		p, err := OpenPair(path, separate, mode, nil)
		require.NoError(t, err)
		require.Equal(t, separate == "", p.Stdout == p.Stderr)
		mustWrite(t, p.Stderr, "since\n")
		require.Equal(t, "since\n", p.Tail())
		p.Close()
		require.Equal(t, "since\n", p.Tail(), "the files may be closed")
	}
	none, err := OpenPair("", "", mode, nil)
	require.NoError(t, err)
	require.Empty(t, none.Tail())
	none.Close()
}

func TestTailReturnsTheEndOfALongText(t *testing.T) {
	p, err := OpenPair(logPath(t), "", mode, nil)
	require.NoError(t, err)
	defer p.Close()
	mustWrite(t, p.Stderr, strings.Repeat("x", 3*maxTail)+"the end")
	require.Len(t, p.Tail(), maxTail)
	require.True(t, strings.HasSuffix(p.Tail(), "xthe end"))
}

func TestTailOfAReplacedFileIsEmpty(t *testing.T) {
	path := logPath(t)
	p, err := OpenPair(path, "", mode, nil)
	require.NoError(t, err)
	defer p.Close()
	require.NoError(t, os.Rename(path, path+".1"))
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	require.Empty(t, p.Tail())
}

const user = 12345

func needsRoot(t *testing.T) *privilege.Identity {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	return &privilege.Identity{UID: user, GID: user}
}

func TestRootGivesANewLogToItsOwner(t *testing.T) {
	owner, path := needsRoot(t), logPath(t)
	f, err := Open(path, mode, owner)
	require.NoError(t, err)
	defer f.Close()
	require.True(t, f.Created)
	info, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, user, safefile.Owner(info))
}

func TestRootLogsInTheDirectoryOfTheOwnerButOfNoOtherUser(t *testing.T) {
	owner, path := needsRoot(t), logPath(t)
	require.NoError(t, os.Chown(filepath.Dir(path), user, user))
	require.NoError(t, CheckPath(path, owner))
	for _, other := range []*privilege.Identity{nil, {UID: user + 1, GID: user + 1}} {
		require.ErrorIs(t, CheckPath(path, other), safefile.ErrUnsafe)
		_, err := Open(path, mode, other)
		require.ErrorIs(t, err, safefile.ErrUnsafe)
		require.ErrorContains(t, err, logAsRoot)
	}
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o777))
	require.ErrorIs(t, CheckPath(path, owner), safefile.ErrUnsafe, "other users can write the directory")
}

func TestAFileThatAnotherUserHasPutIntoAStickyDirectoryIsNoLog(t *testing.T) {
	needsRoot(t)
	path := logPath(t)
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o777|fs.ModeSticky))
	require.NoError(t, os.WriteFile(path, nil, 0o644))
	require.NoError(t, os.Chown(path, user, user))
	_, err := Open(path, mode, nil)
	require.ErrorIs(t, err, safefile.ErrUnsafe)
	require.ErrorContains(t, err, "it belongs to user 12345")
}
