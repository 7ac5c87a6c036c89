package lifecycle

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	nobody            = 65534
	namespaceVariable = "LIFECYCLE_TEST_NAMESPACE"
)

// asNobody is the program daemon, as a user without rights. It becomes that user by itself, for such a user cannot run this test binary.
var asNobody = registerProgram("nobody", func(args []string) int {
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
		fmt.Println(err)
		return 99
	}
	return programs[daemon](args)
})

// needsNobody is needs for a test of another user.
func needsNobody(t *testing.T) {
	t.Helper()
	programsUsed.Store(asNobody, true)
	needs(t, "root")
}

// needsLeave is needs for a command that a container may forbid even to root.
func needsLeave(t *testing.T, command ...string) {
	t.Helper()
	needs(t, command[0])
	out, err := exec.Command(command[0], append(command[1:], "true")...).CombinedOutput()
	if err != nil && !slices.Contains(strings.Fields(os.Getenv("LIFECYCLE_REQUIRE")), command[0]) {
		t.Skipf("this test needs the right to %v: %v: %s", command, err, out)
	}
	require.NoError(t, err, "%v: %s", command, out)
}

// nobodys is a directory that nobody owns, on a way that everybody can go.
func nobodys(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chown(dir, nobody, nobody))
	return dir
}

// Row C2.
func TestAHolderThatHasNotWrittenItsPIDYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"status", "reload"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path, gate := pidPath(t), filepath.Join(t.TempDir(), "gate")
			p := start(t, holding, "late:"+gate, path)
			p.await("locked it")
			awaitOpen := opens(t, path)
			v := start(t, daemon, "pidfile="+path, what)
			awaitOpen()
			touch(t, gate)
			code := v.wait()
			if what == "status" {
				require.Equal(t, 0, code)
				require.Contains(t, v.out.String(), fmt.Sprintf("daemon: running (pid %d); what it is doing cannot be told: state file ", p.pid()))
				return
			}
			require.Equal(t, 1, code)
			require.Contains(t, v.out.String(), fmt.Sprintf("daemon: reload: no verdict: pid %d ended", p.pid()))
			require.Equal(t, -1, p.wait())
			require.Equal(t, syscall.SIGHUP, p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(), "it reached who wrote its PID")
		})
	}
}

// opens watches the file; await waits until somebody opens it.
func opens(t *testing.T, path string) (await func()) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	require.NoError(t, err)
	events := os.NewFile(uintptr(fd), "inotify")
	t.Cleanup(func() { events.Close() })
	_, err = unix.InotifyAddWatch(fd, path, unix.IN_OPEN)
	require.NoError(t, err)
	require.NoError(t, events.SetReadDeadline(time.Now().Add(patienceOfTests)))
	return func() {
		t.Helper()
		_, err := events.Read(make([]byte, 4096))
		require.NoError(t, err)
	}
}

// Rows C7, L1.
func TestADaemonOfAnotherUserRunsAndMayNotBeTouched(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	path := filepath.Join(nobodys(t), "daemon.pid")
	require.NoError(t, os.Chown(filepath.Dir(path), 0, 0))
	p := start(t, daemon, "pidfile="+path)
	p.await("msg=ready")
	requireUntouched := untouched(t, path)

	for _, name := range []string{"stop", "reload"} {
		got := callProgram(t, asNobody, "pidfile="+path, name)
		require.Equal(t, 4, got.code, got.stderr)
		require.Contains(t, got.stderr, fmt.Sprintf("pid %d", p.pid()))
		require.Contains(t, got.stderr, "operation not permitted")
	}
	got := callProgram(t, asNobody, "pidfile="+path, "stop", "--oknodo")
	require.Equal(t, 4, got.code, "that one runs is not that none does")
	requireReady(t, p.pid(), callProgram(t, asNobody, "pidfile="+path, "status"))
	require.NotZero(t, callProgram(t, asNobody, "pidfile="+path, "run").code)
	requireUntouched()
	requireLives(t, p)
}

// Row C7.
func TestTheProcessOfAnotherUserInAStaleFileIsNoDaemon(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	bystander, _ := startDaemon(t)
	path := filepath.Join(nobodys(t), "daemon.pid")
	require.NoError(t, os.WriteFile(path, fmt.Appendln(nil, bystander.pid()), 0o644))
	require.NoError(t, os.Chown(path, nobody, nobody))
	requireUntouched := untouched(t, path)
	dead := fmt.Sprintf("daemon: dead: pid %d left %s\n", bystander.pid(), path)
	require.Equal(t, result{dead, "", 1}, callProgram(t, asNobody, "pidfile="+path, "status"))
	require.Equal(t, result{"", notRunning(path), 7}, callProgram(t, asNobody, "pidfile="+path, "stop"))
	requireUntouched()

	p := start(t, asNobody, "pidfile="+path)
	p.await("msg=ready")
	requireLives(t, bystander)
}

// TestAFileThatIsNotRootsNamesOnlyAProcessOfItsOwner has a user who holds a PID file of his own that names a process of root, and
// then waits for root to stop it.
// Row C7.
func TestAFileThatIsNotRootsNamesOnlyAProcessOfItsOwner(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	bystander, _ := startDaemon(t)
	path := filepath.Join(nobodys(t), "daemon.pid")
	p := start(t, asNobody, "pidfile="+path)
	p.await("msg=ready")

	trap := filepath.Join(nobodys(t), "trap.pid")
	require.NoError(t, os.WriteFile(trap, fmt.Appendln(nil, bystander.pid()), 0o644))
	require.NoError(t, os.Chown(trap, nobody, nobody))
	f := held(t, trap)
	require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 1 << 62, Len: 1}))
	for _, name := range []string{"stop", "reload"} {
		got := callVerb(t, trap, name)
		require.Equal(t, 1, got.code)
		require.Contains(t, got.stderr, fmt.Sprintf("it belongs to user %d, but process %d is of user 0", nobody, bystander.pid()))
	}
	_, err := Find(trap)
	require.ErrorIs(t, err, ErrUnsafePIDFile)
	requireLives(t, bystander)

	stopped := callVerb(t, path, "stop")
	require.Equal(t, 0, stopped.code, "root stops a daemon of that user: %s", stopped.stderr)
	require.Equal(t, 0, p.wait())
}

// Row C16.
func TestAnotherUserIsToldAsMuchAsTheModeAllows(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	for _, tt := range []struct {
		mode fs.FileMode
		code int
	}{{0o644, 0}, {0o600, 4}} {
		path := filepath.Join(nobodys(t), "daemon.pid")
		require.NoError(t, os.Chown(filepath.Dir(path), 0, 0))
		p := start(t, daemon, "pidfile="+path, fmt.Sprintf("mode=%o", tt.mode))
		p.await("msg=ready")
		requireUntouched := untouched(t, path)
		got := callProgram(t, asNobody, "pidfile="+path, "status")
		require.Equal(t, tt.code, got.code)
		if tt.code == 4 {
			require.Contains(t, got.stdout, "daemon: unknown: PID file "+path)
			require.Contains(t, got.stdout, "permission denied")
			require.Equal(t, 4, callProgram(t, asNobody, "pidfile="+path, "stop").code)
			require.Equal(t, 4, callProgram(t, asNobody, "pidfile="+path, "reload").code)
		}
		requireUntouched()

		p.signal(syscall.SIGKILL)
		p.wait()
		requireUntouched()
		want := map[fs.FileMode]int{0o644: 1, 0o600: 4}[tt.mode]
		require.Equal(t, want, callProgram(t, asNobody, "pidfile="+path, "status").code, "it is dead")
		requireUntouched()

		next := start(t, daemon, "pidfile="+path, fmt.Sprintf("mode=%o", tt.mode))
		next.await("msg=ready")
		next.signal(syscall.SIGTERM)
		require.Equal(t, 0, next.wait())
		require.Equal(t, 3, callProgram(t, asNobody, "pidfile="+path, "status").code, "nobody holds it")
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
			stopped := runCommand(t, wrapped(strace, daemon, "pidfile="+path, "stop"))
			require.Equal(t, 0, stopped.code, stopped.stderr)
			require.Contains(t, stopped.stderr, fmt.Sprintf("daemon: stopped (pid %d, ", p.pid()))
			require.Equal(t, 0, p.wait())
			require.NoFileExists(t, path)

			calls, err := os.ReadFile(trace)
			require.NoError(t, err)
			require.Contains(t, string(calls), "(INJECTED)")
			require.Contains(t, string(calls), fmt.Sprintf("kill(%d, SIGTERM", p.pid()))
		})
	}
}

// TestStopSignalsThroughThePidfd is also why stop returns at once: it waits for the same descriptor and asks for nothing
// again and again.
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
	stop := launch(t, wrapped([]string{
		"strace", "-f", "-I1", "-o", trace,
		"-e", "trace=pidfd_open,pidfd_send_signal,kill,openat,?poll,ppoll",
	}, daemon, "pidfile="+path, "stop"))
	p.await("OnStop")
	for range 20 { // it has time enough to ask again and again
		require.Equal(t, 0, callVerb(t, path, "status").code)
	}
	touch(t, gate)
	require.Equal(t, 0, stop.wait(), "%s", stop.out)
	text, err := os.ReadFile(trace)
	require.NoError(t, err)
	calls := string(text)
	require.Contains(t, calls, fmt.Sprintf("pidfd_open(%d, ", p.pid()))
	require.Contains(t, calls, ", SIGTERM, NULL, 0)")
	require.NotContains(t, calls, " kill(")
	for _, asking := range []string{path, "poll("} {
		require.Less(t, strings.Count(calls, asking), 20, "%s is asked a few times, however long the stop takes:\n%s", asking, calls)
	}
}

// inNamespace runs the test again in a PID namespace, where it can say which PID is next, and tells whether it is there.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceVariable) != "" {
		return true
	}
	needs(t, "root")
	unshare := []string{"unshare", "-pf", "--mount-proc", "--kill-child"}
	needsLeave(t, unshare...)
	cmd := exec.Command(unshare[0], append(unshare[1:], testBinary(), "-test.v", "-test.count=1", "-test.timeout=60s", "-test.run=^"+t.Name()+"$")...)
	cmd.Env = append(os.Environ(), namespaceVariable+"=1", "GORACE=atexit_sleep_ms=0")
	got := runCommand(t, cmd)
	require.Equal(t, 0, got.code, "%s%s", got.stdout, got.stderr)
	require.Contains(t, got.stdout, "--- PASS: "+t.Name())
	return false
}

// startAs starts a program under a PID that is free. It tries again when a thread of the test took it.
func startAs(t *testing.T, pid int, program string, args ...string) *process {
	t.Helper()
	var p *process
	eventually(t, func() bool {
		require.NoError(t, os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0))
		p = start(t, program, args...)
		if p.pid() == pid {
			return true
		}
		p.signal(syscall.SIGKILL)
		p.wait()
		return false
	}, "PID %d to be given out again", pid)
	return p
}

// Row C8.
func TestAZombieWhoseHeirHoldsTheFileIsNoDaemon(t *testing.T) {
	t.Parallel()
	path := pidPath(t)
	programsUsed.Store(idle, true)
	cmd := command(holding, "leaving", path)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start()) // nobody waits for it before the end
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	said, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	heir := heirIn(t, said)

	found, err := Find(path)
	require.NoError(t, err)
	defer found.Close()
	require.NoError(t, cmd.Process.Kill())
	require.NoError(t, found.pin.Wait(t.Context()))
	_, err = Find(path)
	require.ErrorContains(t, err, "has ended, but what it started still holds the lock")
	require.NoError(t, heir.Kill())
}

// Row C8.
func TestAStrangerWhoGotThePIDOfADeadDaemonIsLeftAlone(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	p, path := startDaemon(t)
	p.signal(syscall.SIGKILL)
	p.wait()
	requireText(t, path, fmt.Sprintln(p.pid()))

	other := pidPath(t)
	stranger := startAs(t, p.pid(), daemon, "pidfile="+other)
	stranger.await("msg=ready")
	requireUntouched := untouched(t, path)
	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "stop"))
	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "reload"))
	require.Equal(t, 1, callVerb(t, path, "status").code)
	requireUntouched()

	next := start(t, daemon, "pidfile="+path)
	next.await("msg=ready")
	require.Equal(t, 0, callVerb(t, path, "stop").code)
	require.Equal(t, 0, next.wait())
	requireLives(t, stranger)
}

// Row C9.
func TestAPIDThatWasGivenOutAgainIsNotSignalled(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	p, path := startDaemon(t)
	found, err := Find(path)
	require.NoError(t, err)
	defer found.Close()
	p.signal(syscall.SIGKILL)
	p.wait()

	// The next daemon has the same PID and the same PID file: only the pidfd tells the two apart.
	next := startAs(t, p.pid(), daemon, "pidfile="+path)
	next.await("msg=ready")
	require.NoError(t, verifyOnly(found), "by lock and number it is the same")
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), ErrNotRunning)
	requireLives(t, next)
}

func verifyOnly(p *Process) error {
	_, err := p.verify()
	return err
}
