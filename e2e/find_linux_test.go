package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/proctest"
)

const (
	nobody            = 65534
	namespaceVariable = "LIFECYCLE_TEST_NAMESPACE"
)

// asNobody runs the program daemon as an unprivileged user. It changes its user itself, because
// such a user cannot execute this test binary.
var asNobody = proctest.Register("nobody", func(args []string) int {
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
		fmt.Println(err)
		return 99
	}
	return proctest.RunAs(daemon, args)
})

// needsNobody skips a test that needs another user, unless this process is root.
func needsNobody(t *testing.T) {
	t.Helper()
	proctest.Use(asNobody)
	proctest.Needs(t, "root")
}

// nobodys returns a directory that belongs to the user nobody, below directories that every user
// can enter.
func nobodys(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chown(dir, nobody, nobody))
	return dir
}

// Rows C7, L1.
func TestADaemonOfAnotherUserIsReportedAndCannotBeSignalled(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	path := filepath.Join(nobodys(t), "daemon.pid")
	require.NoError(t, os.Chown(filepath.Dir(path), 0, 0))
	p := proctest.Start(t, daemon, "pidfile="+path)
	p.Await("msg=ready")
	requireUntouched := proctest.Untouched(t, path)

	for _, name := range []string{"stop", "reload"} {
		got := proctest.Call(t, asNobody, "pidfile="+path, name)
		require.Equal(t, 4, got.Code, got.Stderr)
		require.Contains(t, got.Stderr, fmt.Sprintf("pid %d", p.PID()))
		require.Contains(t, got.Stderr, "operation not permitted")
	}
	got := proctest.Call(t, asNobody, "pidfile="+path, "stop", "--oknodo")
	require.Equal(t, 4, got.Code, "unknown does not mean that no daemon runs")
	requireReady(t, p.PID(), proctest.Call(t, asNobody, "pidfile="+path, "status"))
	require.NotZero(t, proctest.Call(t, asNobody, "pidfile="+path, "run").Code)
	requireUntouched()
	requireLives(t, p)
}

// Row C7.
func TestTheProcessOfAnotherUserInAStaleFileIsNoDaemon(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	bystander, _ := startDaemon(t)
	path := filepath.Join(nobodys(t), "daemon.pid")
	require.NoError(t, os.WriteFile(path, fmt.Appendln(nil, bystander.PID()), 0o644))
	require.NoError(t, os.Chown(path, nobody, nobody))
	requireUntouched := proctest.Untouched(t, path)
	dead := fmt.Sprintf("daemon: dead: pid %d left %s\n", bystander.PID(), path)
	require.Equal(t, proctest.Result{Stdout: dead, Code: 1}, proctest.Call(t, asNobody, "pidfile="+path, "status"))
	require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, proctest.Call(t, asNobody, "pidfile="+path, "stop"))
	requireUntouched()

	p := proctest.Start(t, asNobody, "pidfile="+path)
	p.Await("msg=ready")
	requireLives(t, bystander)
}

// A user holds a PID file that names a process of root. Root must not stop that process.
// Row C7.
func TestAFileThatIsNotRootsCanNameOnlyProcessesOfItsOwner(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	bystander, _ := startDaemon(t)
	path := filepath.Join(nobodys(t), "daemon.pid")
	p := proctest.Start(t, asNobody, "pidfile="+path)
	p.Await("msg=ready")

	trap := filepath.Join(nobodys(t), "trap.pid")
	require.NoError(t, os.WriteFile(trap, fmt.Appendln(nil, bystander.PID()), 0o644))
	require.NoError(t, os.Chown(trap, nobody, nobody))
	f := held(t, trap)
	require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 1 << 62, Len: 1}))
	for _, name := range []string{"stop", "reload"} {
		got := callVerb(t, trap, name)
		require.Equal(t, 1, got.Code)
		require.Contains(t, got.Stderr, fmt.Sprintf("it belongs to user %d, but process %d belongs to user 0", nobody, bystander.PID()))
	}
	_, err := lifecycle.Find(trap)
	require.ErrorIs(t, err, lifecycle.ErrUnsafePIDFile)
	requireLives(t, bystander)

	stopped := callVerb(t, path, "stop")
	require.Equal(t, 0, stopped.Code, "root stops a daemon of that user: %s", stopped.Stderr)
	require.Equal(t, 0, p.Wait())
}

// Row C16.
func TestAnotherUserLearnsOnlyWhatTheModePermits(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	for _, tt := range []struct {
		mode fs.FileMode
		code int
	}{{0o644, 0}, {0o600, 4}} {
		path := filepath.Join(nobodys(t), "daemon.pid")
		require.NoError(t, os.Chown(filepath.Dir(path), 0, 0))
		p := proctest.Start(t, daemon, "pidfile="+path, fmt.Sprintf("mode=%o", tt.mode))
		p.Await("msg=ready")
		requireUntouched := proctest.Untouched(t, path)
		got := proctest.Call(t, asNobody, "pidfile="+path, "status")
		require.Equal(t, tt.code, got.Code)
		if tt.code == 4 {
			require.Contains(t, got.Stdout, "daemon: unknown: PID file "+path)
			require.Contains(t, got.Stdout, "permission denied")
			require.Equal(t, 4, proctest.Call(t, asNobody, "pidfile="+path, "stop").Code)
			require.Equal(t, 4, proctest.Call(t, asNobody, "pidfile="+path, "reload").Code)
		}
		requireUntouched()

		p.Signal(syscall.SIGKILL)
		p.Wait()
		requireUntouched()
		want := map[fs.FileMode]int{0o644: 1, 0o600: 4}[tt.mode]
		require.Equal(t, want, proctest.Call(t, asNobody, "pidfile="+path, "status").Code, "the daemon is dead")
		requireUntouched()

		next := proctest.Start(t, daemon, "pidfile="+path, fmt.Sprintf("mode=%o", tt.mode))
		next.Await("msg=ready")
		next.Signal(syscall.SIGTERM)
		require.Equal(t, 0, next.Wait())
		require.Equal(t, 3, proctest.Call(t, asNobody, "pidfile="+path, "status").Code, "no process holds the file")
	}
}

// Row C10.
func TestStopWorksWithoutPidfd(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for _, errno := range []string{"ENOSYS", "EPERM", "EINVAL"} {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			p, path := startDaemon(t)
			trace := filepath.Join(t.TempDir(), "trace")
			strace := []string{
				"strace", "-f", "-I1", "-o", trace, "-e", "trace=pidfd_open,kill",
				"-e", "inject=pidfd_open:error=" + errno,
			}
			stopped := proctest.CallCommand(t, proctest.Wrapped(strace, daemon, "pidfile="+path, "stop"))
			require.Equal(t, 0, stopped.Code, stopped.Stderr)
			require.Contains(t, stopped.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", p.PID()))
			require.Equal(t, 0, p.Wait())
			require.NoFileExists(t, path)

			calls, err := os.ReadFile(trace)
			require.NoError(t, err)
			require.Contains(t, string(calls), "(INJECTED)")
			require.Contains(t, string(calls), fmt.Sprintf("kill(%d, SIGTERM", p.PID()))
		})
	}
}

// stop waits for the pidfd and does not poll. Therefore it returns as soon as the daemon ends.
// Row C10.
func TestStopSignalsThroughThePidfd(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Skip("this kernel, or a filter, has no pidfd_open:", err)
	}
	require.NoError(t, unix.Close(fd))

	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startDaemon(t, "stop=until:"+gate)
	trace := filepath.Join(t.TempDir(), "trace")
	stop := proctest.Launch(t, proctest.Wrapped([]string{
		"strace", "-f", "-I1", "-o", trace,
		"-e", "trace=pidfd_open,pidfd_send_signal,kill,openat,?poll,ppoll",
	}, daemon, "pidfile="+path, "stop"))
	p.Await("OnStop")
	asked := func() int {
		text, err := os.ReadFile(trace)
		require.NoError(t, err)
		return strings.Count(string(text), path) + strings.Count(string(text), "poll(")
	}
	for range 5 { // until then, stop reads repeatedly whether the daemon has heard the signal
		require.Equal(t, 0, callVerb(t, path, "status").Code)
	}
	before := asked()
	for range 20 { // long enough to see polling
		require.Equal(t, 0, callVerb(t, path, "status").Code)
	}
	require.Less(t, asked()-before, 10, "stop asks a few times, however long the stop takes")
	proctest.Touch(t, gate)
	require.Equal(t, 0, stop.Wait(), "%s", stop.Out)
	text, err := os.ReadFile(trace)
	require.NoError(t, err)
	calls := string(text)
	require.Contains(t, calls, fmt.Sprintf("pidfd_open(%d, ", p.PID()))
	require.Contains(t, calls, ", SIGTERM, NULL, 0")
	require.NotContains(t, calls, " kill(")
}

// inNamespace runs the test again in a PID namespace, where the test can choose the next PID. It
// reports whether this process is in that namespace.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceVariable) != "" {
		return true
	}
	proctest.Needs(t, "root")
	unshare := []string{"unshare", "-pf", "--mount-proc", "--kill-child"}
	proctest.NeedsCommand(t, unshare...)
	cmd := exec.Command(unshare[0], append(unshare[1:], proctest.Binary(), "-test.v", "-test.count=1", "-test.timeout=60s", "-test.run=^"+t.Name()+"$")...)
	cmd.Env = append(os.Environ(), namespaceVariable+"=1", "GORACE=atexit_sleep_ms=0")
	got := proctest.CallCommand(t, cmd)
	require.Equal(t, 0, got.Code, "%s%s", got.Stdout, got.Stderr)
	require.Contains(t, got.Stdout, "--- PASS: "+t.Name())
	return false
}

// startAs starts a program with a free PID. It tries again if a thread of the test took that PID.
func startAs(t *testing.T, pid int, program string, args ...string) *proctest.Process {
	t.Helper()
	var p *proctest.Process
	proctest.Eventually(t, func() bool {
		require.NoError(t, os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0))
		p = proctest.Start(t, program, args...)
		if p.PID() == pid {
			return true
		}
		p.Signal(syscall.SIGKILL)
		p.Wait()
		return false
	}, "PID %d to be given out again", pid)
	return p
}

// Row C8.
func TestAProcessThatGotThePIDOfADeadDaemonIsNotSignalled(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	p, path := startDaemon(t)
	p.Signal(syscall.SIGKILL)
	p.Wait()
	proctest.RequireText(t, path, fmt.Sprintln(p.PID()))

	other := proctest.PIDPath(t)
	stranger := startAs(t, p.PID(), daemon, "pidfile="+other)
	stranger.Await("msg=ready")
	requireUntouched := proctest.Untouched(t, path)
	require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "stop"))
	require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "reload"))
	require.Equal(t, 1, callVerb(t, path, "status").Code)
	requireUntouched()

	next := proctest.Start(t, daemon, "pidfile="+path)
	next.Await("msg=ready")
	require.Equal(t, 0, callVerb(t, path, "stop").Code)
	require.Equal(t, 0, next.Wait())
	requireLives(t, stranger)
}

// verifyOnly returns an error unless the PID file is held by a process with that PID.
func verifyOnly(path string, p *lifecycle.Process) error {
	h, err := pidfile.Inspect(path)
	if err == nil && (!h.Held || h.PID != p.PID) {
		err = os.ErrProcessDone
	}
	return err
}
