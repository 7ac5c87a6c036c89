package sdnotify

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestOnlyItsUserCanSendToAPrivateSocket(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("this test needs root, which this machine lacks")
	}
	const user, other = 12345, 54321
	s, err := ListenPrivate(user)
	require.NoError(t, err)
	defer s.Close()
	for uid, allowed := range map[int]bool{user: true, other: false, 0: true} {
		got := make(chan error)
		go func() {
			runtime.LockOSThread() // the thread ends with the goroutine
			_, err := unix.SetfsuidRetUid(uid)
			if err == nil {
				var c *Socket
				if c, err = Dial(s.Address); err == nil {
					c.Close()
				}
			}
			got <- err
		}()
		if err := <-got; allowed {
			require.NoError(t, err, uid)
		} else {
			require.ErrorIs(t, err, unix.EACCES, uid)
		}
	}
	info, err := os.Stat(filepath.Dir(s.Address))
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o711, info.Mode())
	require.EqualValues(t, 0, uidOf(t, filepath.Dir(s.Address)), "the user can put nothing there")
	require.EqualValues(t, user, uidOf(t, s.Address))
}

func uidOf(t *testing.T, path string) uint32 {
	t.Helper()
	var stat unix.Stat_t
	require.NoError(t, unix.Lstat(path, &stat))
	return stat.Uid
}

func TestAPrivateSocketLeavesNoFile(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	alive, err := listenIn(base, os.Geteuid())
	require.NoError(t, err)
	defer alive.Close()
	dead, err := listenIn(base, os.Geteuid())
	require.NoError(t, err)
	require.NoError(t, dead.file.Close()) // as KILL does
	require.NoError(t, dead.place.lock.Close())
	foreign := filepath.Join(base, placePrefix+"of-another")
	require.NoError(t, os.MkdirAll(filepath.Join(foreign, "x"), 0o700))
	require.NoError(t, os.Symlink(foreign, filepath.Join(base, placePrefix+"link")))

	removeDeadPlaces(base)
	require.NoDirExists(t, filepath.Dir(dead.Address))
	require.DirExists(t, filepath.Join(foreign, "x"), "what is in use stays")
	c, err := Dial(alive.Address)
	require.NoError(t, err)
	require.NoError(t, c.Send("READY=1"))
	m, err := alive.Receive()
	require.NoError(t, err)
	require.Equal(t, "READY=1", m.Text)
	c.Close()
	require.NoError(t, alive.Close())
	require.NoDirExists(t, filepath.Dir(alive.Address))
}

func TestAPathThatIsTooLongForASocketIsAnError(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	require.NoError(t, os.Mkdir(base, 0o700))
	_, err := listenIn(base, os.Geteuid())
	require.Error(t, err)
	left, err := os.ReadDir(base)
	require.NoError(t, err)
	require.Empty(t, left)
}
