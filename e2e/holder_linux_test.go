package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// In a user namespace, root and its directories belong to an unmapped user.
func TestPIDFileInAUserNamespace(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, "unshare", "--user")
	t.Parallel()
	pidfile := filepath.Join(nobodys(t), "daemon.pid")
	binary := filepath.Join(nobodys(t), "program")
	require.NoError(t, os.Rename(copyOfTestBinary(t), binary))
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}}
	inside := func(args ...string) *exec.Cmd {
		cmd := proctest.Command(daemon, append([]string{"pidfile=" + pidfile}, args...)...)
		cmd.Path = binary
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids,
			Credential: &syscall.Credential{NoSetGroups: true},
		}
		return cmd
	}
	p := proctest.Launch(t, inside())
	p.Await("msg=ready")
	requireRunning(t, pidfile, p.PID())
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(p.PID()), Code: 1}, proctest.CallCommand(t, inside("run")))
	require.Equal(t, 0, proctest.CallCommand(t, inside("status")).Code)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	require.Equal(t, 0, p.Wait())
}

func TestAHolderOutsideThePIDNamespaceHasNoPID(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, ownPIDs...)
	t.Parallel()
	p, pidfile := startDaemon(t)
	inside := func(verb string) proctest.Result {
		return proctest.CallCommand(t, proctest.Wrapped(ownPIDs, daemon, "pidfile="+pidfile, verb))
	}
	require.Equal(t, proctest.Result{Stdout: "daemon: running (in another PID namespace)\n"}, inside("status"))
	require.Equal(t, proctest.Result{Stderr: "daemon: already running (pid unknown)\n", Code: 1}, inside("run"))
	require.Equal(t, proctest.Result{Stderr: "daemon: stop: PID file " + pidfile + ": held by a daemon in another PID namespace\n", Code: 1}, inside("stop"))
	requireRunning(t, pidfile, p.PID())
}

func TestAHolderInAPIDNamespaceHasItsOuterPID(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, ownPIDs...)
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	unshare := proctest.Launch(t, proctest.Wrapped(ownPIDs, daemon, "pidfile="+pidfile))
	unshare.Await("msg=ready")
	proctest.RequireText(t, pidfile, "1\n")
	found, err := lifecycle.Find(pidfile)
	require.NoError(t, err)
	defer found.Close()
	require.Equal(t, strconv.Itoa(unshare.PID()), statusField(t, found.PID, "PPid"))
	require.Regexp(t, `^\d+(\t\d+)*\t1$`, statusField(t, found.PID, "NSpid"))
	requireRunning(t, pidfile, found.PID)
	requireRefused(t, 1, alreadyRunning(found.PID), pidfile)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	require.Equal(t, 0, unshare.Wait(), "%s", unshare.Out)
	requireNothingLeft(t, pidfile)
}

func TestThePIDOfADaemonInAnotherPIDNamespaceNamesNoProcess(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, ownPIDs...)
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	unshare := proctest.Launch(t, proctest.Wrapped(ownPIDs, daemon, "pidfile="+pidfile, "usr2=cat:"+pidfile))
	unshare.Await("msg=ready")
	found, err := lifecycle.Find(pidfile)
	require.NoError(t, err)
	defer found.Close()
	// The daemon loses the owner lock, because it reads its own PID file.
	require.NoError(t, found.Signal(syscall.SIGUSR2))
	unshare.Await("OnSignal done")

	_, err = lifecycle.Find(pidfile)
	require.ErrorContains(t, err, "held by a daemon in another PID namespace", "the PID is not process 1 of this namespace")
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), lifecycle.ErrNotRunning)
	require.Equal(t, proctest.Result{Stdout: "daemon: running (in another PID namespace)\n"}, callVerb(t, pidfile, "status"))
	require.Equal(t, 1, callVerb(t, pidfile, "stop").Code)
}

func TestTheHolderIsKnownOnOverlayfs(t *testing.T) {
	needsMount(t)
	t.Parallel()
	below, above, merged := t.TempDir(), t.TempDir(), t.TempDir()
	mount(t, "tmpfs", below, "tmpfs", 0, "mode=0755")
	mount(t, "tmpfs", above, "tmpfs", 0, "mode=0755")
	upper, work := filepath.Join(above, "upper"), filepath.Join(above, "work")
	require.NoError(t, os.Mkdir(upper, 0o755))
	require.NoError(t, os.Mkdir(work, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(below, "stale.pid"), []byte("12345\n"), 0o644))
	mount(t, "overlay", merged, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", below, upper, work))

	for _, name := range []string{"new.pid", "stale.pid"} { // the stale file comes from the image
		pidfile := filepath.Join(merged, name)
		p := proctest.Start(t, daemon, "pidfile="+pidfile)
		p.Await("msg=ready")
		requireRunning(t, pidfile, p.PID())
		requireRefused(t, 1, alreadyRunning(p.PID()), pidfile)
		require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
		require.Equal(t, 0, p.Wait())
		require.Zero(t, p.Out.Count("level=WARN"), "%s", p.Out)
		requireStarts(t, pidfile)
	}
	proctest.RequireText(t, filepath.Join(below, "stale.pid"), "12345\n")
}

func TestTheHolderIsKnownWithoutProc(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, "unshare", "--mount", "sh", "-c", "umount -l /proc")
	t.Parallel()
	withoutProc := []string{"unshare", "--mount", "sh", "-c", `umount -l /proc && exec "$0" "$@"`}
	pidfile := proctest.PIDPath(t)
	p := proctest.Launch(t, proctest.Wrapped(withoutProc, daemon, "pidfile="+pidfile))
	p.Await("msg=ready")
	requireRunning(t, pidfile, p.PID())
	for verb, want := range map[string]string{"status": fmt.Sprintf("ready (pid %d) for ", p.PID()), "run": alreadyRunning(p.PID())} {
		got := proctest.CallCommand(t, proctest.Wrapped(withoutProc, daemon, "pidfile="+pidfile, verb))
		require.Contains(t, got.Stdout+got.Stderr, want)
	}
	stopped := proctest.CallCommand(t, proctest.Wrapped(withoutProc, daemon, "pidfile="+pidfile, "stop"))
	require.Equal(t, 0, stopped.Code, stopped.Stderr)
	require.Equal(t, 0, p.Wait())
	requireNothingLeft(t, pidfile)
}

// squat sets read locks in place of the presence and owner locks. Any process that can read the
// file can do so.
func squat(t *testing.T, pidfile string) (reader *os.File) {
	t.Helper()
	reader = openForReading(t, pidfile)
	for _, at := range []int64{1 << 62, 1<<62 + 1} {
		lock := unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}
		require.NoError(t, unix.FcntlFlock(reader.Fd(), unix.F_OFD_SETLK, &lock))
	}
	return reader
}

func TestAReadLockOnTheMarksDoesNotChangeAnInspection(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDFileWith(t, fmt.Sprintln(os.Getpid()))
	reader := squat(t, pidfile)
	require.Equal(t, 1, callVerb(t, pidfile, "status").Code, "the daemon is dead")

	p := proctest.Start(t, daemon, "pidfile="+pidfile)
	p.Await("msg=ready")
	requireRunning(t, pidfile, p.PID())
	requireRefused(t, 1, alreadyRunning(p.PID()), pidfile)
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: 1 << 62, Len: 1}
	require.ErrorIs(t, unix.FcntlFlock(openForReading(t, pidfile).Fd(), unix.F_OFD_SETLK, &lock), unix.EAGAIN, "the marks cannot be taken any more")
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	require.Equal(t, 0, p.Wait())
	requireNothingLeft(t, pidfile)
	require.NoError(t, reader.Close())
}
