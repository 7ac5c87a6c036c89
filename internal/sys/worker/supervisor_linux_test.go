package worker

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// supervisor is a running supervisor.
type supervisor struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan string
	heard  []string // lines that no call of line has returned yet
	in     *os.File
	worker *os.Process
}

// program returns the command that executes this binary as what.
func program(t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), child+"="+what, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// startSupervisor starts a supervisor. The end of the test kills it.
func startSupervisor(t *testing.T, o testOrder, change ...func(*exec.Cmd)) *supervisor {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	cmd := program(t, "supervise", string(text))
	in, out := pipe(t), pipe(t)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in.r, out.w, out.w
	for _, c := range change {
		c(cmd)
	}
	require.NoError(t, cmd.Start())
	in.r.Close()
	out.w.Close()
	s := &supervisor{t: t, cmd: cmd, lines: make(chan string, 1000), in: in.w}
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(out.r); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		s.kill()
		if s.worker != nil {
			_ = s.worker.Kill()
			_ = s.worker.Release()
		}
		for line := range s.lines { // until no process has the pipe open
			s.heard = append(s.heard, line)
		}
		if t.Failed() {
			t.Logf("not asked for: %.2000q", s.heard)
		}
	})
	return s
}

func (s *supervisor) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// line waits for a line that begins with this text, and returns the rest of the line. It keeps
// other lines. They may come first, because two processes write.
func (s *supervisor) line(begin string) string {
	s.t.Helper()
	for i := 0; ; i++ {
		if i == len(s.heard) {
			line, more := <-s.lines
			require.True(s.t, more, "there is no line that begins with %q: %q", begin, s.heard)
			s.heard = append(s.heard, line)
		}
		if rest, found := strings.CutPrefix(s.heard[i], begin); found {
			s.heard = slices.Delete(s.heard, i, i+1)
			return strings.TrimSpace(rest)
		}
	}
}

// pid returns the PID of the worker. The end of the test kills the worker.
func (s *supervisor) pid() int {
	s.t.Helper()
	pid, err := strconv.Atoi(s.line("pid "))
	require.NoError(s.t, err)
	if !proctest.IsOver(pid) {
		s.worker, err = os.FindProcess(pid) // pins the worker (pidfd_open(2))
		require.NoError(s.t, err)
	}
	return pid
}

func (s *supervisor) say(what string) {
	s.t.Helper()
	_, err := s.in.WriteString(what + "\n")
	require.NoError(s.t, err)
}

func lineOf[T any](s *supervisor, begin string) (value T) {
	s.t.Helper()
	require.NoError(s.t, json.Unmarshal([]byte(s.line(begin)), &value))
	return value
}

type ends struct{ r, w *os.File }

func pipe(t *testing.T) ends {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return ends{r, w}
}

// fifo returns an environment variable that makes a worker block until release is called.
func fifo(t *testing.T) (env string, release func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(path, 0o666))
	return slow + "=" + path, func() {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
	}
}

// written writes a file with that text and returns its path.
func written(t *testing.T, name, text string, mode os.FileMode) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	require.NoError(t, os.Chmod(path, mode))
	return path
}
