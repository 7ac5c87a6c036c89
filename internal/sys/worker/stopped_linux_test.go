package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/ctlsock"
)

// heldStage starts a supervised program from this process. The stage blocks before the init
// function of this package.
func heldStage(t *testing.T) (p *Process, release func()) {
	t.Helper()
	hold, release := fifo(t)
	name, path, _ := strings.Cut(hold, "=")
	o := shell("exec sleep 30").Spec
	o.Become = &Credentials{Env: []string{name + "=" + path, child + "=plain"}}
	p, err := Start(o)
	require.NoError(t, err)
	return p, release
}

var errEnough = errors.New("enough")

// A stage changes its user before it executes the program. From then on, any process of that user
// can suspend the stage.
// Row H13.
func TestASuspendedStageIsKilledAtItsDeadline(t *testing.T) {
	t.Parallel()
	for what, stop := range map[string]func(t *testing.T, pid int){
		"SIGSTOP": func(t *testing.T, pid int) { require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP)) },
		"SIGTSTP": func(t *testing.T, pid int) { require.NoError(t, syscall.Kill(pid, syscall.SIGTSTP)) },
		"nothing": func(*testing.T, int) {},
		"traced": func(t *testing.T, pid int) {
			trace(t, pid)
			require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p, _ := heldStage(t)
			stop(t, p.PID)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(10*time.Millisecond, func() { cancel(errEnough) })
			require.ErrorIs(t, p.Executed(ctx), errEnough)
			state, err := p.Wait()
			if what == "traced" {
				require.ErrorContains(t, err, "another process traces it")
			} else {
				require.NoError(t, err)
				require.Equal(t, "signal: killed", state.String())
			}
		})
	}
}

func TestACancelledStageIsNotAwaited(t *testing.T) {
	t.Parallel()
	p, _ := heldStage(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errEnough)
	require.ErrorIs(t, p.Executed(ctx), errEnough)
	_, err := p.Wait()
	require.NoError(t, err)
}

func TestAStageThatIsReleasedInTimeExecutesItsProgram(t *testing.T) {
	t.Parallel()
	p, release := heldStage(t)
	require.NoError(t, syscall.Kill(p.PID, syscall.SIGSTOP))
	release()
	require.NoError(t, syscall.Kill(p.PID, syscall.SIGCONT))
	ctx, cancel := context.WithCancelCause(t.Context())
	require.NoError(t, p.Executed(ctx))
	cancel(errEnough)
	require.NoError(t, p.Signal(syscall.SIGTERM))
	state, err := p.Wait()
	require.NoError(t, err)
	require.Equal(t, "signal: terminated", state.String(), "TERM ended the process before the KILL")
}

// Another process may hold the stage's end of the socket open. Executed must not wait for that
// process.
func TestStartGivesUpAStageEvenIfAnotherProcessHoldsItsControlSocket(t *testing.T) {
	t.Parallel()
	ours, theirs, err := ctlsock.Pair()
	require.NoError(t, err)
	defer theirs.Close() // it stays open until the end of the test
	cmd := exec.Command("sleep", "30")
	require.NoError(t, cmd.Start())
	p := &Process{PID: cmd.Process.Pid, running: newRunning(ours, &Spec{Args: cmd.Args, Program: cmd.Path})}
	p.process = cmd.Process
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(errEnough) })
	require.ErrorIs(t, p.Executed(ctx), errEnough)
	_, err = p.Wait()
	require.NoError(t, err)
}

// traces traces another process and never waits for it.
func traces(pid int) {
	runtime.LockOSThread()
	fmt.Println(unix.PtraceSeize(pid))
	select {}
}

// trace starts another process that traces the process with that PID.
func trace(t *testing.T, pid int) {
	t.Helper()
	cmd := program(t, "trace", fmt.Sprint(pid))
	said := pipe(t)
	cmd.Stdout = said.w
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	said.w.Close()
	text := make([]byte, 100)
	n, err := said.r.Read(text)
	require.NoError(t, err)
	if got := strings.TrimSpace(string(text[:n])); got != "<nil>" {
		t.Skipf("this test needs the right to trace: %s", got)
	}
}

// The parent cannot reap a process before the tracer has waited for it (wait_task_zombie of Linux).
// Row H14.
func TestTheEndOfATracedWorkerIsNoticed(t *testing.T) {
	t.Parallel()
	p, err := Start(shell("exec sleep 30").Spec)
	require.NoError(t, err)
	require.NoError(t, p.Executed(t.Context()))
	trace(t, p.PID)
	require.NoError(t, p.Signal(syscall.SIGKILL))
	state, err := p.Wait()
	require.ErrorContains(t, err, "another process traces it")
	require.Nil(t, state)
}

// Row H15.
func TestAWorkerThatFloodsItsControlSocketUsesNoMemoryAndRunsOn(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, own("flood"))
	pid := s.pid()
	require.Equal(t, "broken pipe", s.line("flooded:"))
	status, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(s.cmd.Process.Pid), "status"))
	require.NoError(t, err)
	var kib int
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(rest, &kib)
	require.NoError(t, err)
	require.Less(t, kib, 100<<10)
	require.False(t, proctest.IsOver(pid))
}

// flood writes to the control socket until that fails. It never writes a newline.
func flood() error {
	text, fd := make([]byte, 1<<20), controlSocket()
	_ = unix.SetNonblock(fd, false)
	for range 500 {
		if _, err := unix.Write(fd, text); err != nil {
			return err
		}
	}
	return nil
}

// controlSocket returns the descriptor of the control socket of a worker.
func controlSocket() (fd int) {
	for fd = firstSocket; fd < 64; fd++ {
		if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && kind == unix.SOCK_STREAM {
			return fd
		}
	}
	panic("it has no control socket")
}
