package supervise

import (
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/monotonic"
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

// A supervisor that is killed during an upgrade leaves several workers.
func TestAllWorkersOfAKilledSupervisorAreFoundAndEnded(t *testing.T) {
	t.Parallel()
	killed := New(Spec{Program: func() (string, error) { return "", nil }})
	var left []Marked
	for range 3 {
		cmd := exec.Command("sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		require.NoError(t, cmd.Start())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait()
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-ended
		})
		pid := cmd.Process.Pid
		left = append(left, Marked{PID: pid, Mark: killed.markOf(pid, "X"), At: monotonic.Boottime()})
	}
	require.True(t, Alive{}.IsZero())
	workers := Alive{left[0], left[1:]}
	require.Equal(t, workers, workers.Surviving())
	require.Len(t, workers.Survivors(), 3)
	ended, err := Remains{Of: workers, Limit: time.Minute, Margin: time.Second, Log: slog.New(slog.DiscardHandler)}.End(t.Context())
	require.NoError(t, err)
	require.Len(t, ended.Names, 3)
	require.True(t, workers.Surviving().IsZero())
}
