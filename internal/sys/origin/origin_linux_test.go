package origin

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

var kept = Origin{PIDFile: "/run/a\xff.pid", Dir: "/d\xffr", Args: []string{"", "-c", "b\xff\n.yaml", strings.Repeat("x", 1<<20), "run"}}

func mustKeep(t *testing.T, o Origin) *os.File {
	t.Helper()
	f, err := Keep(o)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestAProcessKeepsItsOriginUntilItIsClosed(t *testing.T) {
	f, err := Keep(kept)
	require.NoError(t, err)
	got, err := Of(os.Getpid(), kept.PIDFile)
	require.NoError(t, err)
	require.Equal(t, kept, got)
	_, err = Of(os.Getpid(), "/run/other.pid")
	require.ErrorIs(t, err, ErrNone, "the PID file belongs to another daemon")
	require.NoError(t, f.Close())
	_, err = Of(os.Getpid(), kept.PIDFile)
	require.ErrorIs(t, err, ErrNone)
	_, err = Of(1<<30, kept.PIDFile)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAnotherPathOfThePIDFileIsAccepted(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "d.pid"), filepath.Join(dir, "link.pid")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Symlink(path, link))
	mustKeep(t, Origin{PIDFile: path})
	got, err := Of(os.Getpid(), link)
	require.NoError(t, err)
	require.Equal(t, path, got.PIDFile)
}

func TestNoProcessCanChangeTheOrigin(t *testing.T) {
	f := mustKeep(t, kept)
	_, err := f.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, unix.EPERM)
	require.ErrorIs(t, f.Truncate(1), unix.EPERM)
	require.ErrorIs(t, f.Truncate(1<<21), unix.EPERM)

	forged := Origin{PIDFile: kept.PIDFile + ".forged"}
	open, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	require.NoError(t, err)
	file := os.NewFile(uintptr(open), name)
	defer file.Close()
	_, err = f.Seek(0, io.SeekStart)
	require.NoError(t, err)
	_, err = io.Copy(file, f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = Of(os.Getpid(), kept.PIDFile)
	require.ErrorIs(t, err, ErrNone, "the memfd is not sealed")
	if os.Geteuid() == 0 { // a sealed file of another user
		mustKeep(t, forged)
		got := mustKeep(t, forged)
		require.NoError(t, got.Chown(54321, 54321))
		require.NoError(t, unix.Fchown(int(got.Fd()), 54321, 54321))
		_, err := read("/proc/self/fd/" + strconv.Itoa(int(got.Fd())))
		require.ErrorIs(t, err, ErrNone)
	}
}

// If a process has another file open under that name, this package does not open it: it may be a
// device.
func TestOnlyAMemfdIsRead(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	for _, path := range []string{fifo, "/dev/null", "/dev/tty", dir, "/etc/passwd"} {
		_, err := read(path)
		require.Error(t, err, path)
	}
}

func TestRunsComparesTheArgumentsOfTheProcess(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	// Start returns when the execve(2) is certain to succeed. The arguments appear a moment later.
	proctest.Eventually(t, func() bool { return Runs(cmd.Process.Pid, []string{"60"}) }, "the arguments")
	require.False(t, Runs(cmd.Process.Pid, []string{"6"}))
	require.False(t, Runs(cmd.Process.Pid, nil))
	require.False(t, Runs(1<<30, nil))
}
