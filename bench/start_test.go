package bench

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
)

// reportMedian reports what is to be compared: ns/op has in it what comes before and after.
func reportMedian(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e6, "median-ms")
	b.ReportMetric(float64(took[len(took)*9/10])/1e6, "p90-ms")
}

// least is how many times are measured of what takes long: a median of one is none.
const least = 5

// timed measures what is done between two other things.
func timed(b *testing.B, before, do, after func()) {
	b.Helper()
	var took []time.Duration
	once := func() {
		before()
		begun := time.Now()
		do()
		took = append(took, time.Since(begun))
		after()
	}
	once() // reads the programs from the disk
	took = nil
	for b.Loop() {
		once()
	}
	for !testing.Short() && len(took) < least {
		once()
	}
	reportMedian(b, took)
}

func nop() {}

// BenchmarkStart is the time from the call of a program until its service is ready in the background, or answers, where nobody says so. Ours is three
// executions, of the launcher, of stage 1 and of the daemon, where go-daemon needs two.
func BenchmarkStart(b *testing.B) {
	b.Run("floor=3 empty programs", func(b *testing.B) {
		empty := build(b, "empty")
		timed(b, nop, func() {
			for range 3 {
				run(b, empty)
			}
		}, nop)
	})
	for _, of := range services {
		b.Run(of.name, func(b *testing.B) {
			s := of.make(b)
			timed(b, s.rest, s.start, s.stop)
		})
	}
}

// BenchmarkStop is the time from the wish that a service stops until it is gone.
func BenchmarkStop(b *testing.B) {
	b.Run("floor=kill,wait", func(b *testing.B) {
		empty := build(b, "empty")
		var cmd *exec.Cmd
		timed(b, func() {
			cmd = exec.Command(empty, "wait")
			require.NoError(b, cmd.Start())
			time.Sleep(5 * time.Millisecond)
		}, func() {
			require.NoError(b, cmd.Process.Signal(syscall.SIGTERM))
			_ = cmd.Wait()
		}, nop)
	})
	for _, of := range services {
		b.Run(of.name, func(b *testing.B) {
			s := of.make(b)
			timed(b, func() { s.rest(); s.start() }, s.stop, nop)
		})
	}
	b.Run("lifecycle/Process.Stop", func(b *testing.B) {
		pidfile, socket := places(b)
		path := build(b, "lifecycle")
		timed(b, func() { run(b, path, pidfile, socket, "start") }, func() {
			daemon, err := lifecycle.Find(pidfile)
			require.NoError(b, err)
			defer daemon.Close()
			require.NoError(b, daemon.Stop(context.Background()))
		}, nop)
	})
}

// BenchmarkStatusCommand is a command that says of a service that it runs.
func BenchmarkStatusCommand(b *testing.B) {
	b.Run("floor=empty program", func(b *testing.B) {
		empty := build(b, "empty")
		timed(b, nop, func() { run(b, empty) }, nop)
	})
	for _, of := range services {
		b.Run(of.name, func(b *testing.B) {
			s := of.make(b)
			if s.status == nil {
				b.Skip("has none")
			}
			s.start()
			defer s.stop()
			timed(b, nop, func() { run(b, s.status[0], s.status[1:]...) }, nop)
		})
	}
}

// awaitFile waits for what a supervisor makes when it listens.
func awaitFile(b *testing.B, path string) {
	b.Helper()
	require.Eventually(b, func() bool {
		found, err := filepath.Glob(path)
		return err == nil && found != nil
	}, 10*time.Second, time.Millisecond)
}
