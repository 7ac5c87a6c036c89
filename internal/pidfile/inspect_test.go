package pidfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/filelock"
	"example.com/lifecycle/internal/sys/safefile"
)

// TestMain gives root a directory for temporary files that only root can write.
func TestMain(m *testing.M) { proctest.Main(m, false) }

// pidFileWith creates a PID file with this content. No process holds it.
func pidFileWith(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "daemon.pid")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// openFile opens the file. Each call makes another open file description.
func openFile(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// lockedBy locks the file like a program that does not use this package.
func lockedBy(t *testing.T, path string) *os.File {
	t.Helper()
	f := openFile(t, path)
	require.NoError(t, filelock.TryLock(f))
	return f
}

func mustInspect(t *testing.T, path string) Holder {
	t.Helper()
	h, err := Inspect(path)
	require.NoError(t, err)
	return h
}

func requireContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, want == string(got), "%.70q", got)
}

// Row C5.
func TestAFileWithoutAPIDNamesNoProcess(t *testing.T) {
	owner := os.Geteuid()
	for text := range noPIDs {
		path := pidFileWith(t, text)
		if !isPIDFile([]byte(text)) {
			requireData(t, path)
			f := lockedBy(t, path)
			requireData(t, path)
			if filelock.LockPresence(f) == nil {
				require.Equal(t, Holder{Held: true, Daemon: true, Owner: owner}, mustInspect(t, path), "%.70q, held by a daemon", text)
			}
			requireContent(t, path, text)
			continue
		}
		require.Equal(t, Holder{Owner: owner}, mustInspect(t, path), "%.70q, held by no process", text)
		f := lockedBy(t, path)
		require.Equal(t, Holder{Held: true, Owner: owner}, mustInspect(t, path), "%.70q, held by a stranger", text)
		if filelock.LockPresence(f) == nil {
			require.Equal(t, Holder{Held: true, Daemon: true, Owner: owner}, mustInspect(t, path), "%.70q, held by a daemon", text)
		}
		requireContent(t, path, text)
	}
	require.Equal(t, Holder{}, mustInspect(t, filepath.Join(t.TempDir(), "none")), "no file")
}

func TestANumberInAHeldFileCountsOnlyIfADaemonHoldsTheFile(t *testing.T) {
	const number = 4242
	path := pidFileWith(t, fmt.Sprintln(number))
	owner := os.Geteuid()
	require.Equal(t, Holder{Number: number, Owner: owner}, mustInspect(t, path), "held by no process")

	f := lockedBy(t, path)
	if state, err := filelock.Inspect(openFile(t, path)); err != nil || state.NoMarks {
		t.Skip("this system does not report marks, so the number counts")
	}
	require.Equal(t, Holder{Held: true, Number: number, Owner: owner}, mustInspect(t, path), "held by a stranger")
	require.NoError(t, filelock.LockPresence(f))
	require.Equal(t, Holder{Held: true, Daemon: true, Known: true, PID: number, Number: number, Owner: owner, Guessed: true}, mustInspect(t, path),
		"held by a daemon that has lost its name")
	requireContent(t, path, fmt.Sprintln(number))
}

// requireData requires that Inspect and Acquire refuse the file as data and do not change it.
func requireData(t *testing.T, path string) {
	t.Helper()
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = Inspect(path)
	require.ErrorIs(t, err, errData)
	_, err = Acquire(path, 0o600)
	require.ErrorIs(t, err, errData)
	_, err = AcquireForChild(path, 0o600)
	require.ErrorIs(t, err, errData)
	RemoveStale(path, 0o600, time.Millisecond, func() { t.Error("it is not a PID file") })
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o644), info.Mode())
	requireContent(t, path, string(before))
}

// Row C5.
func TestAcquireAcceptsOnlyAnEmptyFileOrANumber(t *testing.T) {
	for _, text := range []string{
		"", "\n", " \t\r\n", "0\n", "-1\n", "+7\n", " 7\n", "7 \n", "7\r\n", "7\n\n", "012\n",
		"99999999999999999999\n", "7" + strings.Repeat("\n", 63), "\x00\x00\x00\x00", strings.Repeat("\x00", maxRead),
	} {
		path := pidFileWith(t, text)
		_, err := Inspect(path)
		require.NoError(t, err, "%q", text)
		mustAcquire(t, path)
		requireContent(t, path, "")
	}
	for _, text := range []string{
		"key = value\n", "12abc\n", "12\n13\n", "1_000\n", "7.0\n", "0x17\n", "7\x00", "\x007", "٤٢\n", "\ufeff7\n", "-\n", "--7\n",
		"7\n" + strings.Repeat(" ", 64), strings.Repeat("\x00", maxRead+1), strings.Repeat("9", 1<<20),
	} {
		requireData(t, pidFileWith(t, text))
	}
}

// For example, a program saves its configuration at the path of its PID file.
func TestReleaseKeepsAFileWithDataOfAnotherProgram(t *testing.T) {
	path := pidFileWith(t, "")
	lock := mustAcquire(t, path)
	require.NoError(t, lock.WritePID())
	const data = "key = value, and more\n"
	require.NoError(t, os.WriteFile(path, []byte(data), 0o644))
	removeErr, emptyErr := lock.Release()
	require.ErrorContains(t, removeErr, "another program wrote its data into it")
	require.Equal(t, removeErr, emptyErr)
	requireContent(t, path, data)
	requireData(t, path)
}

// Row C5.
func TestInspectReadsAtMostTheSizeOfAPIDFile(t *testing.T) {
	const size = 64 << 20
	path := pidFileWith(t, "")
	require.NoError(t, os.Truncate(path, size))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Inspect(path)
	require.ErrorIs(t, err, errData)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(size/2))
}

func TestInspectRefusesAFileThatAllUsersCanWrite(t *testing.T) {
	path := pidFileWith(t, "1\n")
	require.NoError(t, os.Chmod(path, 0o646))
	_, err := Inspect(path)
	require.ErrorIs(t, err, safefile.ErrUnsafe)
}
