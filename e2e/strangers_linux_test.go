package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// Row L2.
func TestRootStopsADaemonOfAnotherUserAndRestartsOnlyWhatItMayStart(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	dir := nobodys(t)
	pidfile := filepath.Join(dir, "daemon.pid")
	p := proctest.Start(t, asNobody, "pidfile="+pidfile)
	p.Await("msg=ready")
	for _, verb := range []string{"reload", "force-reload"} {
		got := callVerb(t, pidfile, verb)
		require.Equal(t, 0, got.Code, got.Stderr)
	}
	require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code)
	for _, verb := range []string{"restart", "try-restart"} {
		got := callVerb(t, pidfile, verb)
		require.Equal(t, 3, got.Code, got.Stderr)
	}
	requireRunning(t, pidfile, p.PID())
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	require.Equal(t, 0, p.Wait())
	requireNothingLeft(t, pidfile)

	cmd := proctest.Command(daemon, "pidfile="+pidfile, "start")
	cmd.Path, cmd.Dir = everybodysBinary(t), dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	got := proctest.CallCommand(t, cmd)
	require.Equal(t, 0, got.Code, got.Stderr)
	pid := mustFind(t, pidfile).PID
	for _, verb := range []string{"restart", "try-restart"} {
		require.Equal(t, proctest.Result{Stderr: fmt.Sprintf("daemon: %s: unsafe PID file %s: the directory %s in the path belongs to user %d\n", verb, pidfile, dir, nobody), Code: 1},
			callVerb(t, pidfile, verb), "root could not start it, so it is not stopped either")
	}
	requireRunning(t, pidfile, pid)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
}

// locker is an unprivileged user that locks every file that it can read. The name of its process
// contains terminal commands.
var locker = proctest.Register("locker", func(args []string) int {
	name := append([]byte("a\x1b[2J\nroot"), 0)
	err := errors.Join(os.WriteFile("/proc/self/comm", name, 0), syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody))
	f, openErr := os.Open(args[0])
	if err = errors.Join(err, openErr); err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	fmt.Println("locked:", err)
	if err != nil {
		return 1
	}
	select {}
})

// inMemory returns a path for a PID file on a tmpfs. There, the device number is the same in
// /proc/locks and elsewhere.
func inMemory(t *testing.T) (pidfile string) {
	t.Helper()
	dir := onTmpfs(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	return filepath.Join(dir, "daemon.pid")
}

// Row L4.
func TestAUserWhoLocksAStaleFileIsNamed(t *testing.T) {
	proctest.Use(locker)
	proctest.Needs(t, "root")
	t.Parallel()
	pidfile := inMemory(t)
	require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o644))
	requireUntouched := proctest.Untouched(t, pidfile)
	attacker := proctest.Start(t, locker, pidfile)
	attacker.Await("locked: <nil>")
	want := fmt.Sprintf("locked by another program (pid %d, a\ufffd[2J root)\n", attacker.PID())
	want = "PID file " + pidfile + ": " + want
	again := proctest.Start(t, daemon, "pidfile="+pidfile, "start", "--oknodo")
	each(t, map[string]proctest.Result{
		"start":  {Stderr: "daemon: start failed: " + want, Code: 1},
		"stop":   {Stderr: "daemon: stop: " + want, Code: 1},
		"status": {Stdout: "daemon: unknown: " + want, Code: 4},
	}, pidfile)
	requireRefused(t, 1, "start failed: "+want, pidfile)
	require.Equal(t, 1, again.Wait(), "a lock of another user does not mean that a daemon runs")
	requireUntouched()
	attacker.Signal(syscall.SIGKILL)
	attacker.Wait()
	requireStarts(t, pidfile)
}

// Row L4.
func TestAUserWhoCannotReadTheFileCannotLockIt(t *testing.T) {
	proctest.Use(locker)
	proctest.Needs(t, "root")
	t.Parallel()
	pidfile := inMemory(t)
	p := proctest.Start(t, daemon, "pidfile="+pidfile, "mode=0600")
	p.Await("msg=ready")
	p.Signal(syscall.SIGKILL)
	p.Wait()
	attacker := proctest.Start(t, locker, pidfile)
	require.Equal(t, 1, attacker.Wait())
	require.Equal(t, 1, attacker.Out.Count("permission denied"), "%s", attacker.Out)
	requireStarts(t, pidfile, "mode=0600")
}

// onTmpfs returns a directory on a tmpfs.
func onTmpfs(t *testing.T) (dir string) {
	t.Helper()
	var info unix.Statfs_t
	if unix.Statfs("/dev/shm", &info) == nil && info.Type == unix.TMPFS_MAGIC {
		if dir, err := os.MkdirTemp("/dev/shm", "lifecycle-test-"); err == nil {
			t.Cleanup(func() { os.RemoveAll(dir) })
			return dir
		}
	}
	needsMount(t) // no tmpfs is writable for every user
	dir = t.TempDir()
	mount(t, "tmpfs", dir, "tmpfs", 0, "mode=0755")
	return dir
}
