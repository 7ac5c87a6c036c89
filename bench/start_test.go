package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
)

// build builds a program of testdata, of the size that it would have without our tests.
func build(b *testing.B, program string) (path string) {
	b.Helper()
	path = filepath.Join(b.TempDir(), program)
	out, err := exec.Command("go", "build", "-o", path, "./testdata/"+program).CombinedOutput()
	require.NoError(b, err, "%s", out)
	return path
}

// run runs a program to its end, without pipes, which a process in the background would keep open.
func run(b *testing.B, path string, args ...string) {
	b.Helper()
	require.NoError(b, exec.Command(path, args...).Run(), "%s %v", path, args)
}

// service is a program in the background that answers on a socket.
type service struct {
	path, pidfile, socket string
	ready                 net.Listener // nil: start returns when it is ready
}

// newService builds the service on this library, or, for the peer, on go-daemon alone.
func newService(b *testing.B, program string) *service {
	b.Helper()
	path, dir := build(b, program), b.TempDir()
	s := &service{path: path, pidfile: filepath.Join(dir, "bench.pid"), socket: filepath.Join(dir, "socket")}
	if program == "godaemon" {
		var err error
		s.ready, err = net.Listen("unix", filepath.Join(dir, "ready"))
		require.NoError(b, err)
		b.Cleanup(func() { s.ready.Close() })
	}
	return s
}

// start returns when the service answers.
func (s *service) start(b *testing.B) {
	b.Helper()
	if s.ready == nil {
		run(b, s.path, s.pidfile, s.socket, "start")
		return
	}
	run(b, s.path, s.pidfile, s.socket, s.ready.Addr().String())
	conn, err := s.ready.Accept()
	require.NoError(b, err)
	conn.Close()
}

func (s *service) pid(b *testing.B) int {
	b.Helper()
	text, err := os.ReadFile(s.pidfile)
	require.NoError(b, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(b, err)
	return pid
}

// kill ends the service and removes what it leaves.
func (s *service) kill(b *testing.B) {
	b.Helper()
	pid := s.pid(b)
	require.NoError(b, syscall.Kill(pid, syscall.SIGKILL))
	for awaitsEnd(pid) {
		time.Sleep(time.Millisecond)
	}
	os.Remove(s.pidfile)
	os.Remove(s.socket)
}

// awaitsEnd says whether the process has not ended. One whose new parent does not care stays a zombie.
func awaitsEnd(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !bytes.Contains(text, []byte(") Z "))
}

// reportMedian reports what is to be compared: ns/op has in it what comes before and after.
func reportMedian(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e6, "median-ms")
	b.ReportMetric(float64(took[len(took)*9/10])/1e6, "p90-ms")
}

// BenchmarkStart is the time from the call of a program until its service answers in the background. It is three executions, of the
// launcher, of stage 1 and of the daemon, where go-daemon needs two.
func BenchmarkStart(b *testing.B) {
	measure := func(b *testing.B, start func(), end func()) {
		start() // reads the program from the disk
		end()
		var took []time.Duration
		for b.Loop() {
			begun := time.Now()
			start()
			took = append(took, time.Since(begun))
			end()
		}
		reportMedian(b, took)
	}
	b.Run("floor=3 empty programs", func(b *testing.B) {
		empty := build(b, "empty")
		measure(b, func() {
			for range 3 {
				run(b, empty)
			}
		}, func() {})
	})
	b.Run("peer=go-daemon", func(b *testing.B) {
		s := newService(b, "godaemon")
		measure(b, func() { s.start(b) }, func() { s.kill(b) })
	})
	b.Run("lifecycle", func(b *testing.B) {
		s := newService(b, "lifecycle")
		measure(b, func() { s.start(b) }, func() { run(b, s.path, s.pidfile, s.socket, "stop") })
	})
}

// BenchmarkStop is the time from the wish that a service stops until it is gone.
func BenchmarkStop(b *testing.B) {
	b.Run("floor=kill,wait", func(b *testing.B) {
		empty := build(b, "empty")
		var took []time.Duration
		for b.Loop() {
			cmd := exec.Command(empty, "wait")
			require.NoError(b, cmd.Start())
			time.Sleep(5 * time.Millisecond)
			begun := time.Now()
			require.NoError(b, cmd.Process.Signal(syscall.SIGTERM))
			_ = cmd.Wait()
			took = append(took, time.Since(begun))
		}
		reportMedian(b, took)
	})
	for what, stop := range map[string]func(s *service){
		"lifecycle/Process.Stop": func(s *service) {
			daemon, err := lifecycle.Find(s.pidfile)
			require.NoError(b, err)
			defer daemon.Close()
			require.NoError(b, daemon.Stop(context.Background()))
		},
		"lifecycle/verb": func(s *service) { run(b, s.path, s.pidfile, s.socket, "stop") },
	} {
		b.Run(what, func(b *testing.B) {
			s := newService(b, "lifecycle")
			var took []time.Duration
			for b.Loop() {
				s.start(b)
				begun := time.Now()
				stop(s)
				took = append(took, time.Since(begun))
			}
			reportMedian(b, took)
		})
	}
}

// BenchmarkIdle is what a service costs that nobody asks for anything: its memory, and how often one of its threads is woken, beside a program
// that only waits.
func BenchmarkIdle(b *testing.B) {
	if _, err := os.Stat("/proc/self/smaps_rollup"); err != nil {
		b.Skip("this system does not tell: ", err)
	}
	measure := func(b *testing.B, pid int) {
		const idle = 2 * time.Second
		wakeUps := 0
		for b.Loop() {
			time.Sleep(100 * time.Millisecond) // what the start has left to do
			before := switches(b, pid)
			time.Sleep(idle)
			wakeUps += switches(b, pid) - before
		}
		b.ReportMetric(float64(wakeUps)/float64(b.N)/idle.Seconds(), "wakeups/s")
		memory := memoryOf(b, pid)
		b.ReportMetric(float64(memory["Rss"]), "rss-kB")
		b.ReportMetric(float64(memory["Pss"]), "pss-kB")
		b.ReportMetric(float64(memory["Private_Dirty"]), "dirty-kB")
	}
	b.Run("floor=empty program", func(b *testing.B) {
		cmd := exec.Command(build(b, "empty"), "wait")
		require.NoError(b, cmd.Start())
		b.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		measure(b, cmd.Process.Pid)
	})
	for name, program := range map[string]string{"peer=go-daemon": "godaemon", "lifecycle": "lifecycle"} {
		b.Run(name, func(b *testing.B) {
			s := newService(b, program)
			s.start(b)
			defer s.kill(b)
			measure(b, s.pid(b))
		})
	}
}

// switches is how often a thread of the process has begun to run.
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

func memoryOf(b *testing.B, pid int) map[string]int {
	b.Helper()
	return numbersIn(b, fmt.Sprintf("/proc/%d/smaps_rollup", pid))
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
