package lifecycle

import (
	"bufio"
	"errors"
	"fmt"
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
