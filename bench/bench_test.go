// Package bench measures the cost of a life. The same run measures floors and other tools for
// comparison.
//
//	make bench
package bench

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sevlyar/go-daemon"
	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/lifecycletest"
)

// programVariable names the program that this test binary runs as in another process.
const programVariable = "LIFECYCLE_BENCH_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(programVariable) {
	case "":
		os.Exit(measure(m))
	case "daemon":
		go endWithStdin()
		os.Exit(lifecycle.ExitCode(lifecycle.Run(nil,
			lifecycle.PIDFile(os.Args[1]),
			lifecycle.Logger(slog.New(slog.DiscardHandler)),
			lifecycle.OnStart(nothing),
			lifecycle.OnReload(nothing))))
	case "floor":
		go endWithStdin()
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGHUP)
		fmt.Println("ready")
		for range c {
			fmt.Println("reloaded")
		}
	}
}

// limit is how long all benchmarks may take. -timeout applies only to tests.
const limit = 5 * time.Minute

// measure runs the benchmarks. It prints facts about the machine in the format that testing uses
// for the processor.
func measure(m *testing.M) (code int) {
	flag.Parse()
	var err error
	if built.dir, err = os.MkdirTemp("", "bench"); err == nil {
		defer os.RemoveAll(built.dir)
		err = adopt()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	time.AfterFunc(limit, func() { panic("the benchmarks hang") })
	if flag.Lookup("test.bench").Value.String() != "" {
		fmt.Printf("date: %s\ngo: %s\ncores: %d\n", time.Now().Format(time.DateOnly), runtime.Version(), runtime.NumCPU())
		if kernel, err := exec.Command("uname", "-sr").Output(); err == nil {
			fmt.Printf("kernel: %s", kernel)
		}
		if load, err := os.ReadFile("/proc/loadavg"); err == nil {
			fmt.Printf("load: %s\n", strings.Fields(string(load))[0])
		}
	}
	return m.Run()
}

// endWithStdin ends this process when the process that started it ends, for any reason.
func endWithStdin() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// another starts another process that runs until the benchmark ends.
func another(b *testing.B, program string, args ...string) (pid int, stdout *bufio.Reader) {
	b.Helper()
	self, err := os.Executable()
	require.NoError(b, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), programVariable+"="+program)
	stdin, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid, bufio.NewReader(out)
}

// anotherDaemon starts a daemon in another process. It finds the daemon and waits until it is
// ready.
func anotherDaemon(b *testing.B) (pidfile string, daemon *lifecycle.Process) {
	b.Helper()
	pidfile = filepath.Join(b.TempDir(), "bench.pid")
	another(b, "daemon", pidfile)
	require.Eventually(b, func() (found bool) {
		var err error
		daemon, err = lifecycle.Find(pidfile)
		return err == nil
	}, 10*time.Second, time.Millisecond)
	b.Cleanup(func() { daemon.Close() })
	require.NoError(b, daemon.WaitReady(context.Background()))
	return pidfile, daemon
}

func nothing(context.Context) error { return nil }

// idle lets the process idle, as a daemon does, and then calls do. do returns how long it took.
// Compare median-ns, because ns/op includes the idle time.
func idle(b *testing.B, do func() time.Duration) {
	b.Helper()
	var took []time.Duration
	for b.Loop() {
		time.Sleep(200 * time.Microsecond)
		took = append(took, do())
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "median-ns")
	b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
}

// life starts a life, waits until it is ready, and returns the function that ends it.
func life(tb testing.TB, opts ...lifecycle.Option) (end func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, over := make(chan struct{}), make(chan error)
	opts = append(opts,
		lifecycle.Logger(slog.New(slog.DiscardHandler)),
		lifecycle.BaseContext(ctx),
		lifecycle.ReadyWhen(func(context.Context) error { close(ready); return nil }))
	go func() { over <- lifecycle.Run(nil, opts...) }()
	select {
	case <-ready:
	case err := <-over:
		tb.Fatal("the life ended at once: ", err)
	}
	return func() {
		cancel()
		require.NoError(tb, <-over)
	}
}

// BenchmarkLife measures a whole life, from the call of Run to its return. Each component has an
// OnStart, OnStop and OnExit.
func BenchmarkLife(b *testing.B) {
	for _, n := range []int{0, 1, 10, 100} {
		b.Run(fmt.Sprintf("components=%d", n), func(b *testing.B) {
			opts := []lifecycle.Option{lifecycle.PIDFile("")}
			for range n {
				opts = append(opts, lifecycle.With(lifecycle.Hooks{OnStart: nothing, OnStop: nothing, OnExit: nothing}))
			}
			b.ReportAllocs()
			for b.Loop() {
				life(b, opts...)()
			}
		})
	}
	b.Run("components=0/pidfile", func(b *testing.B) {
		pidfile := lifecycle.PIDFile(filepath.Join(b.TempDir(), "bench.pid"))
		for b.Loop() {
			life(b, pidfile)()
		}
	})
	b.Run("components=0/embedded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			life(b, lifecycle.Embedded())()
		}
	})
	b.Run("components=0/lifecycletest", func(b *testing.B) {
		quiet := lifecycle.Logger(slog.New(slog.DiscardHandler))
		b.ReportAllocs()
		for b.Loop() {
			test := &oneTest{TB: b}
			lifecycletest.Start(test, nil, quiet, lifecycle.ReadyWhen(nothing))
			test.end()
		}
	})
}

// oneTest is a testing.TB whose cleanups run before the benchmark ends.
type oneTest struct {
	testing.TB
	cleanups []func()
}

func (t *oneTest) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *oneTest) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

// BenchmarkLock measures how other libraries take and remove a PID file. Our cost is the difference
// between BenchmarkLife/components=0/pidfile and BenchmarkLife/components=0.
func BenchmarkLock(b *testing.B) {
	b.Run("floor=open,flock,write,unlink", func(b *testing.B) {
		path, pid := filepath.Join(b.TempDir(), "floor.pid"), fmt.Appendln(nil, os.Getpid())
		for b.Loop() {
			f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
			if err == nil {
				err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
			}
			if err == nil {
				_, err = f.Write(pid)
			}
			if err != nil {
				b.Fatal(err)
			}
			os.Remove(path)
			f.Close()
		}
	})
	b.Run("peer=go-daemon", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "peer.pid")
		for b.Loop() {
			lock, err := daemon.CreatePidFile(path, 0o644)
			if err != nil {
				b.Fatal(err)
			}
			if err := lock.Remove(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
