package e2e

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/statefile"
)

// spoilings contains ways to spoil the state file of a live daemon. Each replaces the file that the
// daemon has open.
var spoilings = map[string]func(t *testing.T, statePath string){
	"missing": func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
	"damaged": func(t *testing.T, path string) { replace(t, path, make([]byte, statefile.Size)) },
	"of another process": func(t *testing.T, path string) {
		record := recordOf(t, lifecycle.Status{Name: "daemon", PID: os.Getpid(), Phase: lifecycle.Stopping})
		replace(t, path, record)
	},
	"a symbolic link": func(t *testing.T, path string) {
		require.NoError(t, os.Rename(path, path+".moved"))
		require.NoError(t, os.Symlink(path+".moved", path))
	},
}

func TestStopAndKillNeedNoStateFile(t *testing.T) {
	t.Parallel()
	for how, spoil := range spoilings {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p, path := startDaemon(t)
			spoil(t, proctest.StatePath(path))
			require.NoError(t, sendOff(t, mustFind(t, path).Stop).wait())
			requireExited(t, p, 0)
			requireBalanced(t, p)

			p, path = startDaemon(t)
			spoil(t, proctest.StatePath(path))
			stopped := callVerb(t, path, "stop")
			require.Equal(t, 0, stopped.Code)
			require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, \d+(\.\d)? m?s\)\n$`, p.PID()), stopped.Stderr)
			requireExited(t, p, 0)
			requireBalanced(t, p)

			p, path = startDaemon(t)
			spoil(t, proctest.StatePath(path))
			require.NoError(t, sendOff(t, mustFind(t, path).Kill).wait())
			require.Equal(t, -1, p.Wait())
		})
	}
}

func TestKillReturnsWhenTheDaemonIsGoneAndCallsNoHook(t *testing.T) {
	t.Parallel()
	for how, args := range map[string][]string{
		"ready":     nil,
		"suspended": nil,
		"stopping":  {"stop=hang"},
		"reloading": {"reload=hang"},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p, path := startDaemon(t, args...)
			found, f := mustFind(t, path), openForReading(t, path)
			switch how {
			case "suspended":
				p.Signal(syscall.SIGSTOP)
			case "stopping":
				p.Signal(syscall.SIGTERM)
				p.Await("OnStop")
			case "reloading":
				p.Signal(syscall.SIGHUP)
				p.Await("OnReload")
			}
			require.NoError(t, sendOff(t, found.Kill).wait())
			requireFree(t, f)
			require.ErrorIs(t, found.Signal(syscall.Signal(0)), lifecycle.ErrNotRunning)
			require.NoError(t, sendOff(t, found.Kill).wait(), "the process is gone, as requested")
			require.Equal(t, -1, p.Wait())
			require.Equal(t, syscall.SIGKILL, p.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
			require.Zero(t, linesOf(p, "OnExit"))
			proctest.RequireText(t, path, fmt.Sprintln(p.PID()))
			requireStarts(t, path)
		})
	}
}
