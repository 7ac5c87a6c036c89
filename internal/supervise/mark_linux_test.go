package supervise

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/proc"
)

func TestParsingAMarkReturnsTheSameMark(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	pid := cmd.Process.Pid
	self, _ := proc.Of(os.Getpid())
	m, ok := parseMark(New(Spec{OwnSession: true, StopTimeout: time.Second}).markOf(pid, "X"))
	require.True(t, ok)
	require.Equal(t, mark{
		PID: pid, Session: self.Session, Namespace: proc.Namespace(), ID: proc.Identity(pid),
		Invocation: digest("X"), StopSignal: syscall.SIGTERM, StopTimeout: time.Second, ThisBinary: true,
	}, m)
	p, _ := proc.Of(pid)
	require.Equal(t, p.Began, m.began())
	m, _ = parseMark(New(Spec{Policy: Policy{StopSignal: syscall.SIGINT, KeepOrphans: true}, Program: func() (string, error) { return "", nil }}).markOf(pid, ""))
	require.Zero(t, m.Session, "other processes may be in it")
	require.Equal(t, "-", m.Invocation)
	require.Equal(t, syscall.SIGINT, m.StopSignal)
	require.True(t, m.Keep)
	require.False(t, m.ThisBinary)
}
