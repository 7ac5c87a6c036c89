package lifecycle

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// verbPlace is a place for a PID file. Whatever was started with it, detached or not, is ended with the test.
func verbPlace(t *testing.T) (pidfile string) {
	t.Helper()
	pidfile = proctest.PIDPath(t)
	t.Cleanup(func() {
		for _, pid := range verbProcesses(t, pidfile) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return pidfile
}

// verbProcesses are the processes that have this PID file among their arguments; where that cannot be seen, the one that holds it.
func verbProcesses(t *testing.T, pidfile string) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if _, seen := os.Stat("/proc/self/cmdline"); err != nil || seen != nil {
		if p, err := Find(pidfile); err == nil {
			defer p.Close()
			pids = append(pids, p.PID)
		}
		return pids
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		args, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline")) // a zombie has none
		if slices.ContainsFunc(bytes.Split(args, []byte{0}), func(arg []byte) bool { return string(arg) == "pidfile="+pidfile }) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestAStackIsToldWithoutWhatATerminalWouldObey(t *testing.T) {
	t.Parallel()
	l, err := newLife(nil, []Option{Name("app"), quiet, Embedded()})
	require.NoError(t, err)
	var said proctest.Lines
	failed := newFailure(&HookError{"db", "OnStart", &PanicError{"boom", []byte("goroutine 1:\n\t/src/\x1b[2J.go:7\n")}}, nil)
	program{life: l, stderr: &said}.sayFailedStart(failed.Err())
	require.Equal(t, "app: start failed: db: panic: boom\n  | goroutine 1:\n  | \t/src/\uFFFD[2J.go:7\n", said.String())
}
