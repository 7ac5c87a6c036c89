package fdstore

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/activation"
)

// store implements the functions of a Manager and records their calls.
type store struct{ told []string }

func (s *store) manager(room int) *Manager {
	return &Manager{
		Room: room,
		Log:  slog.New(slog.DiscardHandler),
		Store: func(name string, _ *os.File) error {
			s.told = append(s.told, "store "+name)
			return nil
		},
		Remove: func(name string) { s.told = append(s.told, "remove "+name) },
	}
}

// fresh resets the table of this process. The table then has these inherited descriptors and a life
// in this stage.
func fresh(t *testing.T, stage *Stage, m *Manager, inherited ...string) {
	t.Helper()
	process.mu.Lock()
	process.inherited, process.handedOn, process.unclaimed, process.claimed = false, nil, nil, nil
	process.everUsed, process.usedEarly, process.stored, process.kept = false, false, 0, nil
	process.life, process.left = Life{}, nil
	process.mu.Unlock()
	InheritFrom(func() (files []*os.File) {
		for _, name := range inherited {
			f, err := os.Open(os.DevNull)
			require.NoError(t, err)
			t.Cleanup(func() { f.Close() })
			files = append(files, os.NewFile(f.Fd(), name))
		}
		return files
	})
	Begin(Life{Stage: func() Stage { return *stage }, Manager: m})
}

// use returns the use of a socket without a file.
func use(key string) Use {
	return Use{
		Name: func(n int) string {
			if n == 1 {
				return activation.Name(key)
			}
			return activation.Name(fmt.Sprintf("%d:%s", n, key))
		},
		Copy: func() (*os.File, error) { return os.Open(os.DevNull) },
	}
}

func opens(*os.File) error { return nil }

func TestTheEffectOfCloseDependsOnTheStage(t *testing.T) {
	for _, tt := range []struct {
		stage     Stage
		inherited bool
		unclaimed int // after Close
		told      []string
		file      bool // the file remains
	}{
		{Starting, false, 1, []string{"store tcp%3A%3A80"}, true},
		{Running, false, 0, []string{"store tcp%3A%3A80", "remove tcp%3A%3A80"}, false},
		{Stopping, false, 0, []string{"store tcp%3A%3A80"}, true},
		{Starting, true, 1, nil, true},
		{Running, true, 0, []string{"remove tcp%3A%3A80"}, true},
		{Stopping, true, 0, nil, true},
	} {
		var s store
		stage := tt.stage
		u := use("tcp::80")
		u.Path = filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(u.Path, nil, 0o600))
		var d *Descriptor
		if tt.inherited {
			fresh(t, &stage, s.manager(9), "tcp%3A%3A80")
			d = Claim(u, opens)
		} else {
			fresh(t, &stage, s.manager(9))
			require.Nil(t, Claim(u, opens))
			u.File, _ = os.Lstat(u.Path)
			d = Add(u)
		}
		require.NotNil(t, d)
		require.True(t, Uses(u.Path))
		d.Close()
		d.Close() // does nothing
		require.Len(t, Unclaimed(), tt.unclaimed, "%+v", tt)
		require.Equal(t, tt.told, s.told, "%+v", tt)
		require.False(t, Uses(u.Path))
		if tt.file {
			require.FileExists(t, u.Path, "%+v", tt)
		} else {
			require.NoFileExists(t, u.Path, "%+v", tt)
		}
	}
}

func TestADescriptorOfASocketUnitCanBeClaimedAgainUntilTheStop(t *testing.T) {
	stage := Running
	fresh(t, &stage, nil, "http.socket")
	require.Nil(t, Claim(use("tcp::80"), opens), "the descriptor has another name")
	require.Nil(t, ClaimWhere(use("tcp::80"), func(*os.File) bool { return false }))
	d := ClaimWhere(use("tcp::80"), func(*os.File) bool { return true })
	require.NotNil(t, d)
	require.Empty(t, Unclaimed())
	d.Close()
	d = ClaimWhere(use("tcp::80"), func(*os.File) bool { return true })
	require.NotNil(t, d)
	stage = Stopping
	d.Close()
	require.Empty(t, Unclaimed())
}

func TestDescriptorsHaveDifferentNamesAndAreClaimedInOrder(t *testing.T) {
	var s store
	stage := Starting
	fresh(t, &stage, s.manager(2), "2%3Atcp%3A%3A0")
	Add(use("tcp::0"))
	Add(use("tcp::0"))
	require.Equal(t, []string{"store tcp%3A%3A0"}, s.told, "the manager had room for one")
	require.NotNil(t, Claim(use("tcp::0"), opens), "the second")
	require.Nil(t, Claim(use("tcp::0"), opens))
	first, ok := FirstUse()
	require.True(t, ok)
	require.Equal(t, "tcp%3A%3A0", first.Name(1))
}

func TestTheManagerGetsDescriptorsFromBeforeTheLife(t *testing.T) {
	var s store
	stage := Starting
	fresh(t, &stage, nil)
	Add(use("tcp::80"))
	require.Empty(t, s.told)
	Begin(Life{Stage: func() Stage { return stage }, Manager: s.manager(9)})
	require.Equal(t, []string{"store tcp%3A%3A80"}, s.told)
	End(func() bool { t.Error("there are no files"); return false })
	stage = Running
	Add(use("tcp::81"))
	require.Equal(t, []string{"store tcp%3A%3A80"}, s.told, "no manager is notified after the end")
}

func TestTakeUnclaimedTransfersTheDescriptors(t *testing.T) {
	stage := Starting
	fresh(t, &stage, nil, "a.socket", "tcp%3A%3A80")
	require.Len(t, Unclaimed(), 2)
	for _, e := range TakeUnclaimed() {
		require.NoError(t, e.File.Close())
	}
	require.Empty(t, TakeUnclaimed())
	require.Nil(t, Claim(use("tcp::80"), opens))
}

// A worker that runs as another user can bind the socket at any path.
func TestRootUsesNoPathOfAnUnclaimedSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a Unix: no process inherits a socket")
	}
	dir, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	defer l.Close()
	f, err := l.File()
	require.NoError(t, err)
	defer f.Close()
	file := fileOf(Entry{Name: activation.Name("unix:" + path), File: f})
	require.Equal(t, os.Geteuid() != 0, file.info != nil)
}

func TestTheLastProcessRemovesTheFilesOfKeptSockets(t *testing.T) {
	for _, last := range []bool{true, false} {
		for _, closed := range []bool{true, false} {
			var s store
			stage := Starting
			fresh(t, &stage, s.manager(9))
			u := use("unix:x")
			u.Path = filepath.Join(t.TempDir(), "file")
			require.NoError(t, os.WriteFile(u.Path, nil, 0o600))
			u.File, _ = os.Lstat(u.Path)
			d := Add(u)
			stage = Stopping
			if closed {
				d.Close()
			}
			End(func() bool { return last })
			if last {
				require.NoFileExists(t, u.Path)
			} else {
				require.FileExists(t, u.Path)
			}
		}
	}
}
