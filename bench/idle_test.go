package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkIdle measures the cost of an idle service: its memory, and how often one of its threads
// is woken. For comparison it measures a program that only waits.
func BenchmarkIdle(b *testing.B) {
	needsSmaps(b)
	b.Run("floor=empty program", func(b *testing.B) {
		cmd := exec.Command(build(b, "empty"), "wait")
		require.NoError(b, cmd.Start())
		b.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		idleCost(b, cmd.Process.Pid)
	})
	b.Run("floor=the service in the foreground", func(b *testing.B) {
		_, socket := places(b)
		cmd := exec.Command(build(b, "plain"), socket)
		require.NoError(b, cmd.Start())
		b.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		awaitAnswer(b, socket)
		idleCost(b, cmd.Process.Pid)
	})
	own := []maker{services[0], services[1], {name: "lifecycle/without cgo", make: func(b *testing.B) *service {
		needsCgo(b)
		return ours(b, buildStatic(b, "lifecycle"))
	}}}
	for _, of := range peers {
		if of.name == "peer=python-daemon" { // the others idle like the service in the foreground
			own = append(own, of)
		}
	}
	for _, of := range own {
		b.Run(of.name, func(b *testing.B) {
			of.skipWithout(b)
			s := of.make(b)
			s.start()
			defer s.stop()
			idleCost(b, s.pid())
		})
	}
}

// BenchmarkSupervisor measures the cost of an idle supervisor, without the program that it
// restarts.
func BenchmarkSupervisor(b *testing.B) {
	needsSmaps(b)
	for _, of := range supervisors {
		b.Run(of.name, func(b *testing.B) {
			of.skipWithout(b)
			s := of.make(b)
			s.start()
			defer s.stop()
			idleCost(b, s.pid())
		})
	}
	for _, with := range []struct {
		name, program string
		build         func(b *testing.B, program string) string
	}{
		{"lifecycle", "lifecycle", build},
		{"lifecycle/without cgo", "lifecycle", buildStatic},
		{"guard", "../../_example/guard", build},
		{"guard/without cgo", "../../_example/guard", buildStatic},
	} {
		b.Run(with.name, func(b *testing.B) {
			if strings.HasSuffix(with.name, "without cgo") {
				needsCgo(b)
			}
			path := with.build(b, with.program)
			s := ours(b, path, "supervise")
			if strings.HasPrefix(with.name, "guard") {
				s = guarded(b, path)
			}
			s.start()
			defer s.stop()
			idleCost(b, s.pid())
		})
	}
}

// guarded returns the service of an unmodified program that the example guard keeps alive.
func guarded(b *testing.B, guard string) *service {
	b.Helper()
	program := build(b, "plain")
	pidfile, socket := places(b)
	flags := []string{"-pidfile", pidfile, "-log", pidfile + ".log"}
	return &service{
		start: func() { run(b, guard, append(flags, "start", "--", program, socket)...) },
		stop:  func() { run(b, guard, append(flags, "-name", "plain", "stop")...) },
		pid:   func() int { return readPID(b, pidfile) },
	}
}

func needsSmaps(b *testing.B) {
	b.Helper()
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		b.Skip("this system does not tell: ", err)
	}
}

// idleCost measures a process while it is idle.
func idleCost(b *testing.B, pid int) {
	b.Helper()
	settle, idle := 1500*time.Millisecond, 2*time.Second
	if testing.Short() {
		settle, idle = settle/20, idle/20
	}
	wakeUps := 0
	for b.Loop() {
		time.Sleep(settle) // lets the process finish its start
		before := switches(b, pid)
		time.Sleep(idle)
		wakeUps += switches(b, pid) - before
	}
	b.ReportMetric(float64(wakeUps)/float64(b.N)/idle.Seconds(), "wakeups/s")
	memory := numbersIn(b, fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	b.ReportMetric(float64(memory["Rss"]), "rss-kB")
	b.ReportMetric(float64(memory["Pss"]), "pss-kB")
	b.ReportMetric(float64(memory["Private_Clean"]+memory["Private_Dirty"]), "private-kB")
}

// switches returns how often the threads of the process have been scheduled.
func switches(b *testing.B, pid int) (n int) {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	require.NoError(b, err)
	require.NotEmpty(b, threads)
	for _, path := range threads {
		for name, value := range numbersIn(b, path) {
			if strings.HasSuffix(name, "_ctxt_switches") {
				n += value
			}
		}
	}
	return n
}

// numbersIn reads the lines "name: number" of a file in /proc.
func numbersIn(b *testing.B, path string) map[string]int {
	b.Helper()
	text, err := os.ReadFile(path)
	require.NoError(b, err)
	numbers := map[string]int{}
	for line := range strings.Lines(string(text)) {
		name, rest, found := strings.Cut(line, ":")
		if fields := strings.Fields(rest); found && len(fields) > 0 {
			if n, err := strconv.Atoi(fields[0]); err == nil {
				numbers[name] = n
			}
		}
	}
	return numbers
}
