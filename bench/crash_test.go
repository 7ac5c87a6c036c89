package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// workers receives the reports of programs that they are alive.
type workers struct {
	fifo string
	said *bufio.Reader
}

func newWorkers(b *testing.B) *workers {
	b.Helper()
	w := &workers{fifo: filepath.Join(b.TempDir(), "fifo")}
	require.NoError(b, syscall.Mkfifo(w.fifo, 0o600))
	f, err := os.OpenFile(w.fifo, os.O_RDWR, 0) // the open for writing keeps reads from returning EOF
	require.NoError(b, err)
	b.Cleanup(func() { f.Close() })
	w.said = bufio.NewReader(f)
	return w
}

// next waits until the next worker is alive, and returns its PID.
func (w *workers) next(b *testing.B) (pid int) {
	b.Helper()
	line, err := w.said.ReadString('\n')
	require.NoError(b, err)
	_, err = fmt.Sscan(line, &pid)
	require.NoError(b, err)
	return pid
}

// pause is the time before each crash, because the parent may still be busy with the last crash.
const pause = 10 * time.Millisecond

// BenchmarkCrash measures the time from a SIGKILL of a program until it is alive again. For
// comparison it measures a mere execution, and a loop that only waits and executes. runsv(8) and
// s6-supervise start a program at most once per second.
func BenchmarkCrash(b *testing.B) {
	program := build(b, "worker")
	start := func(b *testing.B, w *workers) *exec.Cmd {
		cmd := exec.Command(program, w.fifo)
		require.NoError(b, cmd.Start())
		w.next(b)
		return cmd
	}
	end := func(cmd *exec.Cmd) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	b.Run("floor=execution", func(b *testing.B) {
		w := newWorkers(b)
		var took []time.Duration
		for b.Loop() {
			begun := time.Now()
			cmd := start(b, w)
			took = append(took, time.Since(begun))
			end(cmd)
		}
		reportMedian(b, took)
	})
	b.Run("floor=death and execution", func(b *testing.B) {
		w := newWorkers(b)
		cmd := start(b, w)
		var took []time.Duration
		for b.Loop() {
			time.Sleep(pause)
			begun := time.Now()
			end(cmd)
			cmd = start(b, w)
			took = append(took, time.Since(begun))
		}
		end(cmd)
		reportMedian(b, took)
	})
	script := func(dir string, w *workers) string {
		require.NoError(b, os.WriteFile(filepath.Join(dir, "run"), fmt.Appendf(nil, "#!/bin/sh\nexec %s %s\n", program, w.fifo), 0o755))
		return dir
	}
	for _, supervisor := range []struct {
		name string
		argv func(w *workers) []string
	}{
		{"lifecycle", func(w *workers) []string { return []string{program, w.fifo, "supervise"} }},
		{"peer=runit", func(w *workers) []string { return []string{"runsv", script(b.TempDir(), w)} }},
		{"peer=s6", func(w *workers) []string { return []string{"s6-supervise", script(b.TempDir(), w)} }},
	} {
		b.Run(supervisor.name, func(b *testing.B) {
			w := newWorkers(b)
			argv := supervisor.argv(w)
			maker{command: argv[:1]}.skipWithout(b)
			cmd := exec.Command(argv[0], argv[1:]...)
			require.NoError(b, cmd.Start())
			pid := w.next(b)
			b.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				_ = syscall.Kill(pid, syscall.SIGKILL)
			})
			timed(b, func() { time.Sleep(pause) }, func() {
				require.NoError(b, syscall.Kill(pid, syscall.SIGKILL))
				pid = w.next(b)
			}, nop)
		})
	}
}
