package supervise

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/proc"
)

func TestAMarkComesBackAsItWas(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	pid := cmd.Process.Pid
	self, _ := proc.Of(os.Getpid())
	m, ok := parseMark(New(Spec{OwnSession: true}).markOf(pid))
	require.True(t, ok)
	require.Equal(t, mark{PID: pid, Session: self.Session, Namespace: proc.Namespace(), ID: proc.Identity(pid)}, m)
	m, _ = parseMark(New(Spec{}).markOf(pid))
	require.Zero(t, m.Session, "other processes may be in it")
	for _, bad := range []string{"", "7", "x 0 ns id", "7 0 ns", "-1 0 ns id", "0 0 ns id", "1 0 ns id"} {
		_, ok := parseMark(bad)
		require.False(t, ok, bad)
	}
}
