package pin

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	someUser     = 12345
	namespaceVar = "PIN_TEST_NAMESPACE"
)

func init() {
	programs["effective"] = changeEffectiveUser
	programs["unprivileged"] = signalUnprivileged
}

func needRoot(t *testing.T, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root " + why)
	}
}

// changeEffectiveUser changes only the effective user: the real user stays root. As a side effect,
// the owner of /proc/PID stays root too.
func changeEffectiveUser([]string) error {
	if err := syscall.Setresuid(-1, someUser, -1); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// signalUnprivileged pins its parent, a process of root, in each way, and signals it as another
// user.
func signalUnprivileged([]string) error {
	if err := syscall.Setresuid(someUser, someUser, someUser); err != nil {
		return err
	}
	for name, hold := range ways {
		p, err := openBy(hold, os.Getppid())
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		err = p.Signal(syscall.SIGUSR1)
		if uid, uidErr := p.UID(); !errors.Is(err, fs.ErrPermission) || uid != 0 || uidErr != nil {
			return fmt.Errorf("%s: signal: %v, user: %d, %v", name, err, uid, uidErr)
		}
	}
	fmt.Println("permission denied")
	return nil
}

func TestUIDIsTheEffectiveUser(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		uid, err := mustOpen(t, open, startSignals(t).Process.Pid).UID()
		require.NoError(t, err)
		require.Equal(t, os.Geteuid(), uid)
	})
}

func TestUIDIsTheEffectiveUserOfAnother(t *testing.T) {
	needRoot(t, "to become another user")
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		c := start(t, program("effective"))
		require.Equal(t, "ready", c.line())
		uid, err := mustOpen(t, open, c.Process.Pid).UID()
		require.NoError(t, err)
		require.Equal(t, someUser, uid)
	})
}

func TestSignalWithoutPermissionReturnsErrPermission(t *testing.T) {
	needRoot(t, "to become another user")
	require.Equal(t, "permission denied", start(t, program("unprivileged")).line())
}

// TestAnotherProcessWithThePIDIsNotSignalled runs itself again in a PID namespace, where it can
// choose the next PID.
func TestAnotherProcessWithThePIDIsNotSignalled(t *testing.T) {
	needRoot(t, "to make a PID namespace")
	if os.Getenv(namespaceVar) != "" {
		testReuse(t)
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	unshare := []string{"-pf", "--mount-proc", "--kill-child"}
	if out, err := exec.Command("unshare", append(unshare, "true")...).CombinedOutput(); err != nil {
		t.Skipf("needs the right to unshare: %v: %s", err, out)
	}
	cmd := exec.Command("unshare", append(unshare, self, "-test.v", "-test.count=1", "-test.timeout=30s",
		"-test.run=^"+t.Name()+"$")...)
	cmd.Env = append(os.Environ(), namespaceVar+"=1", "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name()+"/pidfd")
	require.Contains(t, string(out), "--- PASS: "+t.Name()+"/proc")
}

func testReuse(t *testing.T) {
	eachWay(t, func(t *testing.T, open func(int) (*Pin, error)) {
		old := startSignals(t)
		p := mustOpen(t, open, old.Process.Pid)
		old.kill()
		young := startAs(t, old.Process.Pid)

		require.ErrorIs(t, p.Signal(syscall.SIGUSR1), os.ErrProcessDone)
		_, err := p.UID()
		require.ErrorIs(t, err, os.ErrProcessDone)
		require.NoError(t, p.Wait(patience(t)))

		// Of two pending signals, Linux delivers the lower one first, and USR1 is lower.
		require.NoError(t, young.Process.Signal(syscall.SIGUSR2))
		require.Equal(t, "SIGUSR2", young.line())
	})
	t.Run("a bare PID would have reached it", func(t *testing.T) {
		old := startSignals(t)
		p := mustOpen(t, func(pid int) (*Pin, error) { return openBy(holdBare, pid) }, old.Process.Pid)
		old.kill()
		young := startAs(t, old.Process.Pid)
		require.NoError(t, p.Signal(syscall.SIGUSR1))
		require.Equal(t, "SIGUSR1", young.line())
	})
}

// startAs starts a program with that PID, which must be free. It tries again if a thread of the
// test has taken the PID.
func startAs(t *testing.T, pid int) *child {
	t.Helper()
	for ctx := patience(t); ctx.Err() == nil; {
		last := []byte(strconv.Itoa(pid - 1))
		require.NoError(t, os.WriteFile("/proc/sys/kernel/ns_last_pid", last, 0))
		c := start(t, program("signals"))
		if c.Process.Pid == pid {
			require.Equal(t, "ready", c.line())
			return c
		}
		c.kill()
	}
	t.Fatalf("the kernel does not reuse PID %d", pid)
	return nil
}
