package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/filelock"
)

// sweptStart is a program daemon under the tracer.
type sweptStart struct {
	*proctest.Process
	t       *testing.T
	pidfile string
	stdin   io.WriteCloser
	notes   *proctest.Lines // the tracer's output
}

// startTraced starts the program daemon under the tracer. at is a number or a fault, in the syntax
// of the tracer.
func startTraced(t *testing.T, stage int, at any, pidfile string, args ...string) *sweptStart {
	t.Helper()
	return followTraced(t, proctest.Command(tracer, append([]string{strconv.Itoa(stage), fmt.Sprint(at), "pidfile=" + pidfile}, args...)...), pidfile)
}

func followTraced(t *testing.T, cmd *exec.Cmd, pidfile string) *sweptStart {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	notes := &proctest.Lines{}
	cmd.Stdout = notes
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the tracer has said:\n%s", notes)
		}
	})
	return &sweptStart{t: t, pidfile: pidfile, stdin: stdin, notes: notes, Process: proctest.Launch(t, cmd)}
}

// numbers returns the numbers after the word in the tracer's output.
func (p *sweptStart) numbers(word string) (n []int) {
	for line := range strings.Lines(p.notes.String()) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != word {
			continue
		}
		for _, field := range fields[1:] {
			number, err := strconv.Atoi(field)
			require.NoError(p.t, err)
			n = append(n, number)
		}
	}
	return n
}

// awaitExit returns the exit code of the launcher, -1 if it was killed.
func (p *sweptStart) awaitExit() (exitCode int) {
	p.t.Helper()
	proctest.Eventually(p.t, func() bool { return len(p.numbers("exit")) > 0 }, "the end of the launcher of %s", p.pidfile)
	return p.numbers("exit")[0]
}

// countAnew restarts the counting. The tracer kills the stage at the call at, or makes that call
// fail.
func (p *sweptStart) countAnew(at any) {
	p.t.Helper()
	before := len(p.numbers("counting"))
	_, err := fmt.Fprintln(p.stdin, at)
	require.NoError(p.t, err)
	proctest.Eventually(p.t, func() bool { return len(p.numbers("counting")) > before }, "the tracer of %s", p.pidfile)
}

// letGo ends the tracing. The tracer then kills no process any more. letGo returns how many calls
// each stage has made.
func (p *sweptStart) letGo() (counts []int) {
	p.t.Helper()
	require.NoError(p.t, p.stdin.Close())
	require.Equal(p.t, 0, p.Wait())
	// Continue each process, because a thread that began at that moment is still suspended by the
	// SIGSTOP of ptrace(2). A worker that has not executed its program yet does not have the PID
	// file in its arguments.
	for _, pid := range append(p.processes(), p.numbers("process")...) {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	return p.numbers("counts")
}

// processes returns the processes of the program daemon with that PID file.
func (p *sweptStart) processes() []int {
	var pids []int
	for _, pid := range processesOf(p.pidfile) {
		if pid != p.PID() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// endAll ends the processes that a test has detached, by PID.
func endAll(t *testing.T, pidfile string) {
	t.Helper()
	t.Cleanup(func() {
		for _, pid := range processesOf(pidfile) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}

// settle waits until no process remains, or only a daemon whose start is over. It returns the PID
// of the daemon, or 0. It also checks the lock, because a killed process loses its arguments before
// its locks.
func (p *sweptStart) settle() (pid int) {
	p.t.Helper()
	proctest.Eventually(p.t, func() bool {
		pids := p.processes()
		if len(pids) == 0 {
			pid = 0
			return isFree(p.t, p.pidfile)
		}
		pid = pids[0]
		return len(pids) == 1 && !hasSocket(pid) && settled().MatchString(callVerb(p.t, p.pidfile, "status").Stdout)
	}, "a ready daemon or none at %s", p.pidfile)
	return pid
}

// settled matches the status of a daemon that is ready, or has no state file to report that.
var settled = proctest.Pattern(`^daemon: (ready \(pid \d+\) |running \(pid \d+\); cannot read its state: )`)

func hasSocket(pid int) bool {
	found, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, path := range found {
		if target, _ := os.Readlink(path); strings.HasPrefix(target, "socket:") {
			return true
		}
	}
	return false
}

// isFree reports whether no process holds the PID file.
func isFree(t *testing.T, pidfile string) bool {
	t.Helper()
	f, err := os.Open(pidfile)
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	require.NoError(t, err)
	defer f.Close()
	return filelock.TryLock(f) == nil
}

var readyText = proctest.Pattern(`(?m)^daemon: ready \(pid ([1-9]\d*), .* m?s\), log .*\n`)
