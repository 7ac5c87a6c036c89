package worker

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// Row D10.
func TestAWorkerDetectsTheEndOfItsSupervisor(t *testing.T) {
	t.Parallel()
	for what, lose := range map[string]func(*supervisor){
		"killed": (*supervisor).kill,
		"closed": func(s *supervisor) { s.say("close") },
	} {
		s := startSupervisor(t, own("wait"))
		pid := s.pid()
		s.line("waits")
		require.False(t, proctest.IsOver(pid))
		lose(s)
		require.Equal(t, "true", s.line("lost"), what)
		proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)
	}
}

// Row D10.
func TestAWorkerThatHasNotCalledTakeEndsWithItsSupervisor(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, own("take nothing"))
	pid := s.pid()
	s.line("waits")
	s.kill()
	proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)

	s = startSupervisor(t, own("take nothing"))
	s.line("waits")
	s.say("close")
	require.Equal(t, "exit status 1 <nil> os: process already finished", s.line("ended:"))
}

// Row D10.
func TestAWorkerWithoutASupervisorDoesNotBegin(t *testing.T) {
	t.Parallel()
	hold, release := fifo(t)
	s := startSupervisor(t, own("wait"), func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, hold) })
	pid := s.pid()
	s.kill()
	release()
	proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)
	for line := range s.lines {
		require.Fail(t, "the worker reported", line)
	}
}
