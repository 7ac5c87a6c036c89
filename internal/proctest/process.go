package proctest

import (
	"cmp"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Process is a process that a test has started.
type Process struct {
	t    *testing.T
	Cmd  *exec.Cmd
	Out  *Lines        // stdout and stderr
	Done chan struct{} // closed when the process has ended and all its output was read
}

// Start starts a registered program.
func Start(t *testing.T, program string, args ...string) *Process {
	t.Helper()
	return Launch(t, Command(program, args...))
}

// Launch starts cmd. At the end of the test, it kills the process by PID if it still runs.
func Launch(t *testing.T, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{t: t, Cmd: cmd, Out: &Lines{}, Done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.Out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.Out
	}
	cmd.WaitDelay = 5 * time.Second // children may keep descriptors open
	require.NoError(t, cmd.Start())
	go func() {
		cmd.Wait()
		close(p.Done)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.Done
		RequireNoCrash(t, p.Out.String())
		if t.Failed() {
			t.Logf("pid %d %v wrote:\n%s", p.PID(), cmd.Args, p.Out)
		}
	})
	return p
}

// crash matches the lines with which the Go runtime or the race detector ends a process.
var crash = Pattern(`(?m)^(panic: |fatal error: |WARNING: DATA RACE|unexpected fault address ).*$`)

// RequireNoCrash fails the test for each crash in the output of a program, unless the line contains
// "on purpose".
func RequireNoCrash(t *testing.T, out string) {
	t.Helper()
	for _, line := range crash().FindAllString(out, -1) {
		if !strings.Contains(line, "on purpose") {
			t.Errorf("a program has crashed: %s", line)
		}
	}
}

// PID returns the process ID.
func (p *Process) PID() int { return p.Cmd.Process.Pid }

// Signal sends a signal. It must not be called after Wait.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.Cmd.Process.Signal(sig))
}

// ForceQuit sends TERM repeatedly until the process has ended.
func (p *Process) ForceQuit() {
	p.t.Helper()
	Eventually(p.t, func() bool {
		select {
		case <-p.Done:
			return true
		default:
			_ = p.Cmd.Process.Signal(syscall.SIGTERM) // the process may end at this moment
			return false
		}
	}, "pid %d %v to quit", p.PID(), p.Cmd.Args)
}

// Wait waits until the process has ended. It returns the exit code, or -1 if a signal has killed
// the process.
func (p *Process) Wait() (exitCode int) {
	p.t.Helper()
	select {
	case <-p.Done:
	case <-time.After(Patience):
		p.t.Fatalf("pid %d %v does not end; it wrote:\n%s", p.PID(), p.Cmd.Args, p.Out)
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Await waits until the process has written a line that contains text, or n such lines if n is
// given.
func (p *Process) Await(text string, n ...int) {
	p.t.Helper()
	want := cmp.Or(append(n, 1)...)
	Eventually(p.t, func() bool {
		select {
		case <-p.Done:
			if p.Out.Count(text) < want {
				p.t.Fatalf("pid %d %v ended (%v) without having written %q %d times:\n%s",
					p.PID(), p.Cmd.Args, p.Cmd.ProcessState, text, want, p.Out)
			}
		default:
		}
		return p.Out.Count(text) >= want
	}, "%q from pid %d %v", text, p.PID(), p.Cmd.Args)
}

// Result is the output and exit code of a process that has ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Call runs a registered program to its end.
func Call(t *testing.T, program string, args ...string) Result {
	t.Helper()
	return CallCommand(t, Command(program, args...))
}

// CallCommand runs cmd to its end.
func CallCommand(t *testing.T, cmd *exec.Cmd) Result {
	t.Helper()
	var stdout, stderr Lines
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	code := Launch(t, cmd).Wait()
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}
}
