package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// awaitPID returns at the very moment at which the PID of the process can be read from its PID file.
func awaitPID(t *testing.T, p *process, path string) {
	t.Helper()
	want := fmt.Sprintln(p.pid())
	for deadline := time.Now().Add(patienceOfTests); ; runtime.Gosched() {
		if text, err := os.ReadFile(path); err == nil && string(text) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no PID in %s; pid %d wrote:\n%s", path, p.pid(), p.out)
		}
	}
}

// requireBalanced requires that a daemon that has ended called every hook as often as it should, and got all of them back.
func requireBalanced(t *testing.T, p *process) {
	t.Helper()
	started := linesOf(p, "OnStart done")
	require.LessOrEqual(t, started, 1, "%s", p.out)
	for _, line := range []string{"OnStop", "OnStop done", "OnExit", "OnExit done"} {
		require.Equal(t, started, linesOf(p, line), "%s:\n%s", line, p.out)
	}
	for _, hook := range []string{"OnStart", "OnCheck", "OnReload", "OnSignal", "fn"} {
		require.Equal(t, linesOf(p, hook), linesOf(p, hook+" done"), "%s:\n%s", hook, p.out)
	}
	require.Equal(t, 1, linesOf(p, "Run returned: <nil>"), "%s", p.out)
}

// requireExited requires that the process ended by itself: not by a signal.
func requireExited(t *testing.T, p *process, code int) {
	t.Helper()
	p.wait()
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, status.Exited(), "%v; it wrote:\n%s", p.cmd.ProcessState, p.out)
	require.Equal(t, code, status.ExitStatus(), "%s", p.out)
}

// requireNothingLeft requires that the PID file and whatever was beside it is gone.
func requireNothingLeft(t *testing.T, path string) {
	t.Helper()
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Empty(t, left)
}

type stuckHandler struct {
	slog.Handler
	at string
}

func (h stuckHandler) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, h.at) {
		fmt.Println("the log hangs")
		select {}
	}
	return h.Handler.Handle(ctx, r)
}
