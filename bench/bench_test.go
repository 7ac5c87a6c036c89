// Package bench measures what a life costs, next to the floor and to peers in the same run:
//
//	make bench
package bench

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/sevlyar/go-daemon"
	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
)

// life starts a life, waits until it is ready, and returns what ends it.
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

// BenchmarkHUP is the time from kill(2) to the code that reloads, in a process that was idle before, as daemons are. ns/op has the
// idling in it: compare median-ns.
func BenchmarkHUP(b *testing.B) {
	hup := func(b *testing.B, arrived <-chan time.Time) {
		var took []time.Duration
		for b.Loop() {
			time.Sleep(200 * time.Microsecond)
			sent := time.Now()
			if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
				b.Fatal(err)
			}
			took = append(took, (<-arrived).Sub(sent))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2]), "median-ns")
		b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
	}
	b.Run("floor=signal.Notify", func(b *testing.B) {
		c, arrived := make(chan os.Signal, 1), make(chan time.Time, 1)
		signal.Notify(c, syscall.SIGHUP)
		go func() {
			for range c {
				arrived <- time.Now()
			}
		}()
		hup(b, arrived)
		signal.Stop(c)
		close(c)
	})
	b.Run("lifecycle", func(b *testing.B) {
		arrived := make(chan time.Time, 1)
		end := life(b, lifecycle.PIDFile(filepath.Join(b.TempDir(), "bench.pid")),
			lifecycle.OnReload(func(context.Context) error { arrived <- time.Now(); return nil }))
		defer end()
		hup(b, arrived)
	})
}

// BenchmarkLife is a whole life, from Run to its return, with so many components that have an OnStart, OnStop and OnExit.
func BenchmarkLife(b *testing.B) {
	nothing := func(context.Context) error { return nil }
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
}

// BenchmarkLock is the PID file of others, taken and removed; ours is what BenchmarkLife/components=0/pidfile costs more than
// BenchmarkLife/components=0.
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
