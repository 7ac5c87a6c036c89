package proc

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/monotonic"
)

func TestAProcessIsListedWithItsParentAndChildren(t *testing.T) {
	t.Parallel()
	before := monotonic.Boottime()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	after := monotonic.Boottime()
	var found Process
	for _, p := range List() {
		if p.PID == cmd.Process.Pid {
			found = p
		}
	}
	self, ok := Of(os.Getpid())
	require.True(t, ok)
	require.Equal(t, Process{
		PID: cmd.Process.Pid, Parent: os.Getpid(), Group: cmd.Process.Pid, Session: self.Session,
		Name: "sleep", ID: Identity(cmd.Process.Pid), Began: found.Began,
	}, found)
	require.NotEmpty(t, found.ID)
	require.LessOrEqual(t, before-Tick, found.Began)
	require.LessOrEqual(t, found.Began, after)
}

func TestAZombieIsListedAndHasNoIdentity(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("true")
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	var p Process
	require.Eventually(t, func() bool { p, _ = Of(cmd.Process.Pid); return p.Ended }, time.Minute, time.Millisecond)
	require.NotEmpty(t, p.ID)
	require.Empty(t, Identity(p.PID))
}

func TestTheNamespaceIsTheSameInAChild(t *testing.T) {
	t.Parallel()
	require.NotContains(t, Namespace(), " ")
	link, err := exec.Command("readlink", "/proc/self/ns/pid").Output()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(Namespace(), strings.TrimSpace(string(link))+"/"), Namespace())
}

// FuzzStat checks that parseStat returns the fields of the kernel for any process name.
func FuzzStat(f *testing.F) {
	for _, name := range []string{"sh", "a b", ") R 1 1", "\x1b]0;x\a\n", "(((", ""} {
		f.Add(name, 4711)
	}
	f.Fuzz(func(t *testing.T, name string, parent int) {
		p, ok := parseStat(fmt.Sprintf("7 (%s) T %d 8 9%s 3 0 99 0\n", name, parent, strings.Repeat(" 0", 13)))
		require.True(t, ok)
		require.Equal(t, Process{PID: 7, Parent: parent, Group: 8, Session: 9, Name: name, Began: 99 * Tick, ID: monotonic.Clock() + "/99", Stopped: true}, p)
		_, _ = parseStat(name)
	})
}
