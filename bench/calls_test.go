package bench

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
)

// BenchmarkHUP measures the time from kill(2) to the code that reloads, in the same process.
func BenchmarkHUP(b *testing.B) {
	hup := func(b *testing.B, arrived <-chan time.Time) {
		idle(b, func() time.Duration {
			sent := time.Now()
			if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
				b.Fatal(err)
			}
			return (<-arrived).Sub(sent)
		})
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

// BenchmarkReload measures a reload of a daemon in another process, from the request to the
// verdict.
func BenchmarkReload(b *testing.B) {
	b.Run("floor=kill,signal.Notify,pipe", func(b *testing.B) {
		pid, verdicts := another(b, "floor")
		_, err := verdicts.ReadString('\n')
		require.NoError(b, err)
		idle(b, func() time.Duration {
			asked := time.Now()
			if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
				b.Fatal(err)
			}
			if _, err := verdicts.ReadString('\n'); err != nil {
				b.Fatal(err)
			}
			return time.Since(asked)
		})
	})
	b.Run("lifecycle", func(b *testing.B) {
		_, daemon := anotherDaemon(b)
		idle(b, func() time.Duration {
			asked := time.Now()
			if err := daemon.Reload(context.Background()); err != nil {
				b.Fatal(err)
			}
			return time.Since(asked)
		})
	})
}

// BenchmarkStatus measures how long it takes to find out whether a daemon in another process is
// alive. With lifecycle, the answer also contains the state of the daemon.
func BenchmarkStatus(b *testing.B) {
	b.Run("floor=open,read,close,kill", func(b *testing.B) {
		pidfile, _ := anotherDaemon(b)
		for b.Loop() {
			var pid int
			text, err := os.ReadFile(pidfile)
			if err == nil {
				_, err = fmt.Sscan(string(text), &pid)
			}
			if err == nil {
				err = syscall.Kill(pid, 0)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("lifecycle=Find,Status,Close", func(b *testing.B) {
		pidfile, _ := anotherDaemon(b)
		b.ReportAllocs()
		for b.Loop() {
			daemon, err := lifecycle.Find(pidfile)
			if err == nil {
				_, err = daemon.Status()
				daemon.Close()
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("lifecycle=Status", func(b *testing.B) {
		_, daemon := anotherDaemon(b)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := daemon.Status(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkState measures one change of a daemon's status text. The daemon writes the text to its
// state file.
func BenchmarkState(b *testing.B) {
	b.Run("floor=pwrite", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "floor.state"))
		require.NoError(b, err)
		defer f.Close()
		record := make([]byte, 4096)
		for b.Loop() {
			if _, err := f.WriteAt(record, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("lifecycle", func(b *testing.B) {
		begun := make(chan *lifecycle.Life, 1)
		end := life(b, lifecycle.PIDFile(filepath.Join(b.TempDir(), "bench.pid")),
			lifecycle.OnStart(func(ctx context.Context) error { begun <- lifecycle.From(ctx); return nil }))
		defer end()
		inside := <-begun
		texts := []string{"3 connections", "4 connections"} // an unchanged text is not written
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			inside.SetStatus(texts[i%len(texts)])
		}
	})
}
