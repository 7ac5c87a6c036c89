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

// reportMedian reports the median. Compare the median, because ns/op includes the work before and
// after.
func reportMedian(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e6, "median-ms")
	b.ReportMetric(float64(took[len(took)*9/10])/1e6, "p90-ms")
}

// least is the minimum number of measurements for slow operations: a median of one value is
// worthless.
const least = 5

// timed measures do. It calls before and after around each call of do, outside of the measured
// time.
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
	once() // unmeasured: reads the programs from the disk
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

// rounds is how often each service is started and stopped. The services take turns. Other load on
// the machine then affects all of them equally.
const rounds = 40

// turns has the times of the starts and stops of a service.
type turns struct {
	service       *service
	missing       string
	starts, stops []time.Duration
}

// taken is the result of takeTurns.
var taken map[string]*turns

// emptyThrice is the floor of our start: three executions of an empty program.
var emptyThrice = maker{name: "floor=3 empty programs", make: func(b *testing.B) *service {
	empty := build(b, "empty")
	return &service{stop: nop, start: func() {
		for range 3 {
			run(b, empty)
		}
	}}
}}

// takeTurns measures the turns of all services, and the floor of a start.
func takeTurns(b *testing.B) map[string]*turns {
	b.Helper()
	order, all := append([]maker{emptyThrice}, services...), map[string]*turns{}
	for _, of := range order {
		all[of.name] = &turns{missing: of.missing()}
		if all[of.name].missing == "" {
			all[of.name].service = of.make(b)
		}
	}
	n := rounds
	if testing.Short() {
		n = 1
	}
	for range n + 1 { // the first round reads the programs from the disk
		for _, of := range order {
			t := all[of.name]
			if t.service == nil || time.Now().Before(t.service.next) {
				continue // too early to start it again; a later round does
			}
			t.service.next = time.Now().Add(t.service.every)
			begun := time.Now()
			t.service.start()
			started := time.Now()
			t.service.stop()
			t.starts, t.stops = append(t.starts, started.Sub(begun)), append(t.stops, time.Since(started))
		}
	}
	for _, t := range all {
		if len(t.starts) > 1 {
			t.starts, t.stops = t.starts[1:], t.stops[1:]
		}
	}
	return all
}

// reportTurns reports times that takeTurns has measured. It does not use b.Loop, because the loop
// would have nothing to do.
func reportTurns(b *testing.B, of maker, took func(t *turns) []time.Duration) {
	b.Helper()
	if taken == nil {
		taken = takeTurns(b)
	}
	b.Run(of.name, func(b *testing.B) {
		t := taken[of.name]
		if t.missing != "" {
			b.Skip(t.missing)
		}
		b.ReportMetric(0, "ns/op") // omits ns/op
		reportMedian(b, took(t))
	})
}

// BenchmarkStart measures the time from the call of a program until its service in the background
// is ready. If a tool does not report ready, the time ends when the service answers. Our start has
// three executions: the launcher, stage 1 and the daemon. go-daemon needs two.
func BenchmarkStart(b *testing.B) {
	for _, of := range append([]maker{emptyThrice}, services...) {
		reportTurns(b, of, func(t *turns) []time.Duration { return t.starts })
	}
}

// BenchmarkStop measures the time from the request to stop a service until its process has ended.
func BenchmarkStop(b *testing.B) {
	for _, of := range services {
		reportTurns(b, of, func(t *turns) []time.Duration { return t.stops })
	}
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

// BenchmarkStatusCommand measures a command that reports whether a service runs.
func BenchmarkStatusCommand(b *testing.B) {
	b.Run("floor=empty program", func(b *testing.B) {
		empty := build(b, "empty")
		timed(b, nop, func() { run(b, empty) }, nop)
	})
	for _, of := range services {
		b.Run(of.name, func(b *testing.B) {
			of.skipWithout(b)
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

// awaitFile waits for the file that a supervisor makes when it is listening.
func awaitFile(b *testing.B, path string) {
	b.Helper()
	require.Eventually(b, func() bool {
		found, err := filepath.Glob(path)
		return err == nil && found != nil
	}, 10*time.Second, time.Millisecond)
}
