package worker

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// executeAgain lets the supervisor execute itself. It returns when the new program has adopted the
// worker.
func (s *supervisor) executeAgain() {
	s.t.Helper()
	s.say("freeze")
	require.Regexp(s.t, "^true [01] <nil>$", s.line("frozen"))
	s.say("execute")
	s.line("ignored and blocked:") // the first line of the new program
	require.Equal(s.t, "0", s.line("orphans:"), "the worker is none")
	s.line("pid ")
}

func TestANewProgramAdoptsTheWorker(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, own("talk"))
	pid := s.pid()
	for range 3 {
		s.executeAgain()
		s.say("hello")
		require.Equal(t, "v2", lineOf[greeting](s, "hello ").Hello.Version, "it is there again")
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	require.Contains(t, string(status), fmt.Sprintf("\nPPid:\t%d\n", s.cmd.Process.Pid))
	s.say("replace")
	s.line("replaced")
	s.say("ask badly")
	require.Contains(t, s.line("answer:"), "it is bad")
	s.say("term")
	require.Equal(t, "signal: terminated <nil> os: process already finished", s.line("ended:"))
}

// Each execve interrupts the output and a message of the worker.
func TestNothingThatAWorkerSendsIsLost(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, own("halves"))
	pid := s.pid()
	for range 2 {
		s.line("wrote")
		s.executeAgain()
		require.NoError(t, unix.Kill(pid, unix.SIGUSR1))
	}
	s.line("wrote")
	s.say("hello")
	require.Equal(t, "v1", lineOf[greeting](s, "hello ").Hello.Version)
	s.executeAgain()
	require.NoError(t, unix.Kill(pid, unix.SIGUSR1))
	s.line("ended: exit status 0")
	require.Equal(t, []string{"panic: half a line", "all"}, s.tail())
}

// tail returns the output of the worker, which the supervisor writes last.
func (s *supervisor) tail() []string {
	all := s.all("")
	for i, line := range all {
		if strings.HasPrefix(line, "more hello:") {
			return all[i+1:]
		}
	}
	return nil
}

func TestTheExitStatusOfAWorkerThatEndsDuringTheExecveIsNotLost(t *testing.T) {
	t.Parallel()
	for _, o := range []testOrder{own("wait"), shell("echo waits; exec sleep 30")} {
		s := startSupervisor(t, o)
		pid := s.pid()
		s.line("waits")
		s.say("freeze")
		require.Contains(t, s.line("frozen"), "<nil>")
		require.NoError(t, s.worker.Kill())
		proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		require.NoError(t, err, "it is not reaped")
		require.Contains(t, string(stat), ") Z ")
		s.say("execute")
		require.Equal(t, "0", s.line("orphans:"), "the worker is none")
		require.Equal(t, "signal: killed <nil> os: process already finished", s.line("ended:"))
	}
}

// The kernel kills a supervised program when the thread that forked it ends.
func TestASupervisedProgramOutlivesManyPrograms(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, shell("echo waits; exec sleep 60"))
	pid := s.pid()
	s.line("waits")
	for range proctest.Rounds(5, 20, 300) {
		s.executeAgain()
	}
	require.False(t, proctest.IsOver(pid))
	s.kill()
	proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)
}

// The children of both programs have the same thread as their parent.
func TestTheFirstThreadForksInANewProgram(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, shell("echo waits; exec sleep 60"))
	pid := s.pid()
	s.line("waits")
	s.executeAgain()
	s.say("start another")
	another := s.line("another ")
	first, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.cmd.Process.Pid))
	require.NoError(t, err)
	require.ElementsMatch(t, []string{fmt.Sprint(pid), another}, strings.Fields(string(first)))
	status, err := os.ReadFile("/proc/" + another + "/status")
	require.NoError(t, err)
	require.Contains(t, string(status), "\nSigBlk:\t"+noSignals+"\n", "though the new program was executed with some blocked")
}

func TestAWorkerIsSupervisedAfterAFailedExecve(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, own("talk"))
	s.pid()
	s.say("freeze")
	s.line("frozen")
	s.say("execute in vain")
	require.Equal(t, "exec /no/such/program: no such file or directory", s.line("not executed:"))
	s.say("thaw")
	s.line("thawed")
	s.say("hello")
	require.Equal(t, "v2", lineOf[greeting](s, "hello ").Hello.Version)
	s.say("term")
	require.Equal(t, "signal: terminated <nil> os: process already finished", s.line("ended:"))
}

func TestAProcessThatIsNotThereIsNotFrozen(t *testing.T) {
	t.Parallel()
	hold, release := fifo(t)
	p, err := Start(Spec{Args: []string{"x"}, Program: "/bin/true", Umask: -1})
	require.NoError(t, err)
	_, _, err = p.Freeze()
	require.ErrorIs(t, err, ErrNotBegun, "its program was not executed")
	require.NoError(t, p.Executed(t.Context()))
	_, err = p.Wait()
	require.NoError(t, err)
	_, _, err = p.Freeze()
	require.ErrorIs(t, err, os.ErrProcessDone)
	_, _ = hold, release

	_, err = Adopt(State{PID: os.Getpid(), Name: []byte("x")}, []*os.File{os.Stdin})
	require.ErrorContains(t, err, "with 1 files")
}
