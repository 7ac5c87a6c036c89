package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// requireSameAnswer requires that the verbs start and status of that program report the same
// reason, why.
func requireSameAnswer(t *testing.T, program, pidfile, why string) {
	t.Helper()
	call := func(verb ...string) proctest.Result {
		t.Helper()
		return proctest.Call(t, program, append([]string{"pidfile=" + pidfile}, verb...)...)
	}
	got := call("start")
	require.NotZero(t, got.Code)
	require.Equal(t, "daemon: start failed: "+why+"\n", got.Stderr)
	require.Equal(t, proctest.Result{Stdout: "daemon: unknown: " + why + adviceFor(why) + "\n", Code: 4}, call("status"))
}

// requireNoAnswer does the same as requireSameAnswer. It also requires that no verb claims to know
// whether a daemon runs.
func requireNoAnswer(t *testing.T, program, pidfile, why string) {
	t.Helper()
	requireSameAnswer(t, program, pidfile, why)
	call := func(verb ...string) proctest.Result {
		t.Helper()
		return proctest.Call(t, program, append([]string{"pidfile=" + pidfile}, verb...)...)
	}
	require.Equal(t, 150, call("status", "--ready").Code)
	got := call("status", "--json")
	require.Equal(t, 4, got.Code)
	var report map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.Stdout), &report))
	require.Equal(t, map[string]any{"state": "unknown", "pid_file": pidfile, "error": why + adviceFor(why)}, report)
	for _, verb := range []string{"stop", "reload", "restart", "try-restart"} {
		got := call(verb)
		require.NotContains(t, []int{0, 3, 7}, got.Code, "%s: %+v", verb, got)
		require.Equal(t, "daemon: "+verb+": "+why+"\n", got.Stderr)
	}
}

// adviceFor returns the advice that status adds to the reason.
func adviceFor(why string) string {
	if strings.Contains(why, "permission denied") {
		return ": ask as root or as the user of the daemon"
	}
	return ""
}

// Rows C16, L1.
func TestStartAndStatusAgreeAboutAFileThatThisUserMayNotRead(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	dir := filepath.Join(nobodys(t), "d")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.Chown(filepath.Dir(dir), 0, 0))
	pidfile := filepath.Join(dir, "daemon.pid")
	p := proctest.Start(t, daemon, "pidfile="+pidfile, "mode=600")
	p.Await("msg=ready")
	denied := fmt.Sprintf("PID file %s: open: permission denied (as user %d)", pidfile, nobody)
	requireNoAnswer(t, asNobody, pidfile, denied)
	require.NoError(t, os.Chmod(dir, 0o700))
	requireNoAnswer(t, asNobody, pidfile, denied)
	require.NoError(t, os.Chmod(dir, 0o755))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	require.NoError(t, os.Chmod(dir, 0o700))
	requireNoAnswer(t, asNobody, pidfile, denied)
}

// Row C16.
func TestAStartByAnotherUserReportsThatTheDaemonRuns(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	pidfile := filepath.Join(nobodys(t), "daemon.pid")
	require.NoError(t, os.Chown(filepath.Dir(pidfile), 0, 0))
	p := proctest.Start(t, daemon, "pidfile="+pidfile)
	p.Await("msg=ready")
	running := fmt.Sprintf("daemon: already running (pid %d)\n", p.PID())
	require.Equal(t, proctest.Result{Stderr: running, Code: 1}, proctest.Call(t, asNobody, "pidfile="+pidfile, "start"))
	require.Equal(t, proctest.Result{Stderr: running}, proctest.Call(t, asNobody, "pidfile="+pidfile, "start", "--oknodo"))
	require.Equal(t, 0, proctest.Call(t, asNobody, "pidfile="+pidfile, "status").Code)
}

// Rows B2, B3.
func TestStartAndStatusAgreeAboutAPathThatDoesNotExist(t *testing.T) {
	t.Parallel()
	loop, file := filepath.Join(t.TempDir(), "loop"), proctest.PIDFileWith(t, "untouched")
	require.NoError(t, os.Symlink(loop, loop))
	for path, why := range map[string]string{loop: "too many levels of symbolic links", file: "not a directory"} {
		pidfile := filepath.Join(path, "daemon.pid")
		where := ""
		if os.Geteuid() == 0 { // root checks each directory of the path
			where = " " + path
		}
		requireNoAnswer(t, daemon, pidfile, "PID file "+pidfile+": open"+where+": "+why)
	}
}

// A program that locks its PID file with lockf(3) is a daemon too. No verb empties or replaces its
// file, or signals it.
func TestStartAndStatusAgreeAboutAFileThatAnotherProgramLocks(t *testing.T) {
	t.Parallel()
	whole, first := unix.Flock_t{Type: unix.F_WRLCK}, unix.Flock_t{Type: unix.F_WRLCK, Len: 1}
	for name, lock := range map[string]func(f *os.File) error{
		"flock":           func(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) },
		"lockf":           func(f *os.File) error { record := whole; return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &record) },
		"lockf of a byte": func(f *os.File) error { record := first; return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &record) },
		"open file lock":  func(f *os.File) error { record := whole; return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &record) },
	} {
		for _, content := range []string{"", "4127\n"} {
			t.Run(fmt.Sprintf("%s, %q", name, content), func(t *testing.T) {
				t.Parallel()
				pidfile := filepath.Join(onTmpfs(t), "daemon.pid") // /proc/locks names its device
				require.NoError(t, os.WriteFile(pidfile, []byte(content), 0o600))
				f, err := os.OpenFile(pidfile, os.O_RDWR, 0)
				require.NoError(t, err)
				defer f.Close()
				require.NoError(t, lock(f))
				by := fmt.Sprintf(" (pid %d, e2e.test)", os.Getpid())
				if name == "open file lock" { // the kernel names no process
					by = ""
				}
				requires := requireNoAnswer
				if name == "flock" { // each verb waits a moment, because a start may be in progress
					requires = requireSameAnswer
				}
				requires(t, daemon, pidfile, "PID file "+pidfile+": locked by another program"+by)
				info, err := f.Stat()
				require.NoError(t, err)
				require.EqualValues(t, len(content), info.Size())
				named, err := os.Stat(pidfile)
				require.NoError(t, err)
				require.True(t, os.SameFile(info, named))
			})
		}
	}
}

// Row I7.
func TestAnErrorDoesNotMeanThatNoDaemonRuns(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for fault, why := range map[string]string{
		"openat:error=EACCES":  "open: permission denied (as user %d): ask as root or as the user of the daemon",
		"openat:error=EPERM":   "open: operation not permitted (as user %d): ask as root or as the user of the daemon",
		"openat:error=ELOOP":   "open: too many levels of symbolic links",
		"openat:error=ENOTDIR": "open: not a directory",
		"openat:error=EIO":     "open: input/output error",
		"flock:error=ENOLCK":   "flock: no locks available: the file system must support flock(2): use a local one such as /run",
		"flock:error=EIO":      "flock: input/output error",
		"pread64:error=EIO":    "read: input/output error",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			pidfile := proctest.PIDFileWith(t, "4194304\n") // of a daemon that has died
			if strings.Contains(why, "%d") {
				why = fmt.Sprintf(why, os.Geteuid())
			}
			want := "PID file " + pidfile + ": " + why + "\n"
			cmd, requireFault := faulty(t, fault, pidfile, "status")
			got := proctest.CallCommand(t, cmd)
			requireFault()
			require.Equal(t, proctest.Result{Stdout: "daemon: unknown: " + want, Code: 4}, got)
			cmd, requireFault = faulty(t, fault, pidfile, "start")
			got = proctest.CallCommand(t, cmd)
			requireFault()
			require.Equal(t, "daemon: start failed: "+strings.Replace(want, ": ask as root or as the user of the daemon", "", 1), got.Stderr)
		})
	}
}
