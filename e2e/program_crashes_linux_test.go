package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// The only trace of many crashes is a counter. In CI and in the long form there are 1000 crashes.
// Rows H1, H7.
func TestManyCrashesLeaveNothing(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	b.readied(b.guard("test -e "+gate+" && exit 3; exec sleep 60", "supervise=min:-1ns,limit:-1,settle:20ms", "start"))
	worker := b.worker(0)
	parent := b.status().PID
	crash := func(n int) {
		restarts := b.status().Restarts
		proctest.Touch(t, gate)
		require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
		for step := min(n, 50); step <= n; step += 50 { // in steps, for a busy machine
			b.told(fmt.Sprintf("%d crashes of %d", step, n), func(s lifecycle.Status) bool { return s.Restarts >= restarts+step })
		}
		require.NoError(t, os.Remove(gate))
		worker = b.worker(worker)
	}
	crash(proctest.Rounds(40, 300, 300)) // lets the heap reach its final size
	before, memory := descriptorsOf(t, parent), residentMemory(t, parent)
	crash(proctest.Rounds(50, 1000, 1000))
	require.Equal(t, before, descriptorsOf(t, parent))
	more := 2 << 10
	if underRace() {
		more *= 8 // for the memory of the race detector
	}
	require.Less(t, residentMemory(t, parent), memory+more)
	require.Len(t, childrenOf(t, parent), 1)
	b.stop()
}

func descriptorsOf(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	require.NoError(t, err)
	return len(entries)
}

// residentMemory returns the resident memory of a process in KiB.
func residentMemory(t *testing.T, pid int) (kib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fmt.Sscan(rest, &kib)
	require.NotZero(t, kib)
	return kib
}

// childrenOf returns the children of the process, including zombies.
func childrenOf(t *testing.T, pid int) (children []string) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		children = append(children, strings.Fields(string(text))...)
	}
	return children
}

// underRace reports whether this binary was built with the race detector.
func underRace() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
