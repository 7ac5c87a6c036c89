package lifecycle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func TestMainRunsAnEmbeddedLife(t *testing.T) {
	stops := func(ctx context.Context) error { From(ctx).Stop(nil); return nil }
	require.Equal(t, 0, Main([]string{"run"}, stops, Embedded(), quiet))
	require.Equal(t, proctest.Result{Stderr: "app: boom\n", Code: 9}, embeddedMain(t, "run", func(ctx context.Context) error {
		err := From(ctx).Reload(ctx) // it has been ready
		return errors.Join(err, WithExitCode(errBoom, 9))
	}))
	require.Equal(t, proctest.Result{Stderr: "app: start failed: boom\n", Code: 1}, embeddedMain(t, "run", nil, OnStart(fails)))
}

func TestTheVerbsSayThatAnEmbeddedLifeHasNoPIDFile(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "app.pid")
	v := []Option{OnReload(started), PIDFile(pidFile)}
	const none = "there is no PID file, so a running one cannot be found: unsupported operation\n"
	require.Equal(t, proctest.Result{Stderr: "app: stop: " + none, Code: 1}, embeddedMain(t, "stop", nil, v...))
	require.Equal(t, proctest.Result{Stderr: "app: reload: " + none, Code: 1}, embeddedMain(t, "reload", nil, v...))
	require.Equal(t, proctest.Result{Stdout: "app: unknown: " + none, Code: 4}, embeddedMain(t, "status", nil, v...))
	require.Equal(t, proctest.Result{Stderr: "app: check passed\n"}, embeddedMain(t, "check", nil, v...))
	require.Equal(t, proctest.Result{Stderr: "app: check failed: boom\n", Code: 6}, embeddedMain(t, "check", nil, OnCheck(fails)))
}

// embeddedMain is Main with one verb, embedded.
func embeddedMain(t *testing.T, verb string, fn func(context.Context) error, opts ...Option) proctest.Result {
	t.Helper()
	l, err := newLife(fn, append(opts, Name("app"), quiet, Embedded()))
	require.NoError(t, err)
	var stdout, stderr proctest.Lines
	code := program{life: l, stdout: &stdout, stderr: &stderr}.main([]string{verb})
	return proctest.Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}
}

// Row I10.
func TestTenThousandEmbeddedLivesLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("TMPDIR", dir)
	goroutines, descriptors := runtime.NumGoroutine(), openDescriptors(t)
	reload := func(ctx context.Context) error { return From(ctx).Reload(ctx) }
	lives := func(n int) {
		for range n {
			require.NoError(t, Run(reload, Embedded(), quiet, PIDFile("app.pid"), With(Hooks{OnStart: started, OnReload: started, OnExit: started}),
				OnSignal(syscall.SIGUSR2, started), Every(time.Minute, started)))
		}
	}
	lives(1000)
	before := heap()
	lives(9000)
	require.Less(t, heap()-before, int64(1<<20), "bytes more after 9,000 lives more")
	proctest.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines }, "%d goroutines", goroutines)
	require.LessOrEqual(t, openDescriptors(t), descriptors)
	require.Empty(t, folder(t, dir))
}

// heap is how much of the heap is in use.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one has let go of
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// openDescriptors is how many descriptors this process has; 0 where it cannot know.
func openDescriptors(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	return len(folder(t, "/proc/self/fd"))
}

func folder(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
