//go:build unix

package docs

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goScript makes a directory in which the command go is this script. It returns the variable PATH
// with that directory in front.
func goScript(t *testing.T, script string) (env string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	return "PATH=" + dir + ":" + os.Getenv("PATH")
}

func driveTour(t *testing.T, program string) {
	// start starts the tour in its own process group. The test finds the processes of the tour by this
	// group. The temporary files are in tmp.
	start := func(t *testing.T, env ...string) (tour *exampleProcess, tmp string) {
		tmp = t.TempDir()
		tour = prepareExample(t, ".", program)
		tour.cmd.Env = append(append(tour.cmd.Env, "TMPDIR="+tmp), env...)
		tour.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		return tour, tmp
	}
	// built makes the tour use the echod that TestExamples has built.
	built := func(t *testing.T) (env string) {
		return goScript(t, `exec cp "`+filepath.Join(filepath.Dir(program), "echod")+`" "$3"`)
	}
	// A daemon that the tour detaches leaves its process group, but runs from its directory.
	assertNothingLeft := func(t *testing.T, tour *exampleProcess, tmp string) {
		assertEmptyDir(t, tmp)
		assert.ErrorIs(t, syscall.Kill(-tour.cmd.Process.Pid, 0), syscall.ESRCH, "a process remains")
		processes, _ := os.ReadDir("/proc") // none on a system without /proc
		for _, process := range processes {
			path, _ := os.Readlink(filepath.Join("/proc", process.Name(), "exe"))
			assert.False(t, strings.HasPrefix(path, tmp), "pid %s remains: %s", process.Name(), path)
		}
	}

	t.Run("all answers are right", func(t *testing.T) {
		tour, tmp := start(t)
		tour.start()
		assert.Equal(t, 0, tour.wait(), tour.out)
		assert.Contains(t, tour.out.String(), "Every answer was right.")
		assertShown(t, "echod", tour.out.String())
		assertNothingLeft(t, tour, tmp)
	})

	t.Run("interrupted", func(t *testing.T) {
		tour, tmp := start(t, built(t))
		tour.start()
		tour.waitFor("echod: ready")
		require.NoError(t, tour.cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, 1, tour.wait(), tour.out)
		assertNothingLeft(t, tour, tmp)
	})

	t.Run("interrupted while it builds", func(t *testing.T) {
		tour, tmp := start(t, "GOCACHE="+t.TempDir())
		tour.start()
		tour.waitFor("go build")
		require.Eventually(t, func() bool {
			builds, err := filepath.Glob(filepath.Join(tmp, "*", "go-build*"))
			return err == nil && len(builds) > 0
		}, examplePatience, time.Millisecond)
		require.NoError(t, tour.cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, 1, tour.wait(), tour.out)
		assertNothingLeft(t, tour, tmp)
	})

	t.Run("nobody reads it any more", func(t *testing.T) { // tour | head -5
		tour, tmp := start(t, built(t))
		r, w, err := os.Pipe()
		require.NoError(t, err)
		defer r.Close()
		tour.cmd.Stdout = w
		tour.start()
		require.NoError(t, w.Close())
		for lines := bufio.NewScanner(r); ; { // until echod runs
			require.True(t, lines.Scan(), "%v", tour.out)
			if strings.Contains(lines.Text(), "echod: ready") {
				break
			}
		}
		require.NoError(t, r.Close())
		assert.Equal(t, 1, tour.wait(), tour.out)
		assertNothingLeft(t, tour, tmp)
	})

	t.Run("wrong answers", func(t *testing.T) {
		// This command go builds an echod that does nothing.
		tour, tmp := start(t, goScript(t, `printf '#!/bin/sh\n' >"$3"; chmod +x "$3"`))
		tour.start()
		assert.Equal(t, 1, tour.wait(), tour.out)
		assert.Regexp(t, `(?s)\ntour: \d+ wrong\n.*echod start: exit code 0 and "", want 1 and "echod: start failed: `, tour.out.String())
		assertNothingLeft(t, tour, tmp)
	})
}
