package safefile

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/privilege"
)

const exchangerVariable = "SAFEFILE_TEST_EXCHANGER"

// The exchanger is a process that puts one file after another at a path until it is killed. It runs
// as root, because on a kernel with fs.protected_hardlinks only root can link the secret.
func init() {
	if dir := os.Getenv(exchangerVariable); dir != "" {
		time.AfterFunc(30*time.Second, func() { os.Exit(1) })
		exchange(dir, filepath.Join(filepath.Dir(dir), "secret"))
	}
}

func exchange(dir, secret string) {
	if os.Chdir(dir) != nil {
		os.Exit(1)
	}
	for round := 0; ; round++ {
		_ = os.Remove("bad")
		switch round % 8 {
		case 0:
			_ = os.Symlink(secret, "bad")
		case 1:
			_ = syscall.Mkfifo("bad", 0o666)
		default:
			_ = os.Link(secret, "bad")
		}
		_ = os.WriteFile("own", nil, 0o644)
		_ = os.Chown("own", service, service)
		for until := time.Now().Add(time.Duration(round%12) * time.Microsecond); time.Now().Before(until); {
		}
		_ = os.Rename("bad", "log")
		_ = os.Rename("own", "log")
	}
}

// startExchanger returns the path with the exchanged files, and the file that must never be opened.
func startExchanger(t *testing.T) (path string, secret os.FileInfo) {
	t.Helper()
	needRoot(t)
	tr := newTree(t)
	tr.dir("dir", 0o755, service, service)
	write(t, tr.at("secret"), "secret")
	require.NoError(t, os.Chmod(tr.at("secret"), 0o660)) // the group of root can write it
	secret, err := os.Stat(tr.at("secret"))
	require.NoError(t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), exchangerVariable+"="+tr.at("dir"))
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool { _, err := os.Lstat(tr.at("dir/log")); return err == nil }, 25*time.Second, time.Millisecond)
	return tr.at("dir/log"), secret
}

var theService = &privilege.Identity{UID: service, GID: service, Groups: []int{service}}

// opens is how often a race is tried. Without the checks of the path and the rights of the user,
// one of 4000 tries failed.
var opens = proctest.Rounds(5_000, 20_000, 20_000)

func TestRootOpensNoFileThatAnotherUserHasLinked(t *testing.T) {
	path, secret := startExchanger(t)
	opened := 0
	for range opens {
		f, created, err := AppendAs(path, 0o640, theService)
		if err != nil {
			continue
		}
		info, err := f.Stat()
		require.NoError(t, err)
		require.False(t, os.SameFile(secret, info), "the secret was opened")
		require.True(t, info.Mode().IsRegular())
		require.True(t, created || Owner(info) == service || Owner(info) == 0)
		require.NoError(t, f.Close())
		opened++
	}
	require.Positive(t, opened)
	t.Logf("%d of %d opened a file of the user's", opened, opens)
}

func TestAFileThatTheUserMayNotOpenIsNotOpenedInTheUsersDirectory(t *testing.T) {
	needRoot(t)
	tr := newTree(t)
	tr.dir("dir", 0o755, service, service)
	for name, mode := range map[string]os.FileMode{"of root": 0o600, "of the group of root": 0o660} {
		write(t, tr.at("dir/"+name), "")
		require.NoError(t, os.Chmod(tr.at("dir/"+name), mode))
		_, _, err := AppendAs(tr.at("dir/"+name), 0o640, theService)
		require.ErrorIs(t, err, os.ErrPermission, name)
		_, err = OpenAs(tr.at("dir/"+name), theService)
		require.ErrorIs(t, err, os.ErrPermission, name)
	}
	tr.dir("closed", 0o700, 0, 0) // only root can enter the directory
	tr.dir("closed/dir", 0o755, service, service)
	f, created, err := AppendAs(tr.at("closed/dir/new"), 0o640, theService)
	require.NoError(t, err)
	require.True(t, created)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, []int{service, service}, []int{Owner(info), Group(info)})
}

func TestTheThreadGetsItsOwnRightsBack(t *testing.T) {
	needRoot(t)
	tr := newTree(t)
	tr.dir("dir", 0o755, service, service)
	look := func() string {
		text := content(t, "/proc/thread-self/status")
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		require.NoError(t, err)
		fields := fmt.Sprint(dumpable)
		for line := range strings.Lines(text) {
			switch name, _, _ := strings.Cut(line, ":"); name {
			case "Uid", "Gid", "Groups", "CapEff", "CapPrm":
				fields += line
			}
		}
		return fields
	}
	before := look()
	for range 100 {
		f, _, err := AppendAs(tr.at("dir/log"), 0o640, theService)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Equal(t, before, look())
	}
}

// Without O_NONBLOCK, the holder of a lease would delay an open for /proc/sys/fs/lease-break-time.
func TestALeaseDoesNotDelayAnOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "")
	lease := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		if _, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
			t.Skip("this file system has no leases:", err)
		}
		return f
	}
	holder := lease()
	_, _, err := Append(path, 0o600)
	require.ErrorIs(t, err, ErrUnsafe)
	require.ErrorContains(t, err, "another process has a lease on it")
	require.NoError(t, holder.Close())

	holder = lease()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGIO)
	defer signal.Stop(asked)
	go func() {
		<-asked
		holder.Close()
	}()
	f, _, err := Append(path, 0o600)
	require.NoError(t, err, "the open waits for a holder that gives up the lease")
	require.NoError(t, f.Close())
}
