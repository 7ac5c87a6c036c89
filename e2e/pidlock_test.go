package e2e

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// requireRefused requires that a start is refused with that exit code and text before anything of it has run.
func requireRefused(t *testing.T, code int, text, pidfile string, args ...string) {
	t.Helper()
	got := callVerb(t, pidfile, append(args, "run")...)
	require.Equal(t, code, got.Code, "%s%s", got.Stdout, got.Stderr)
	require.Contains(t, got.Stderr, text)
	require.NotContains(t, got.Stdout, "OnStart")
}

func requireRunning(t *testing.T, pidfile string, pid int) {
	t.Helper()
	requireReady(t, pid, callVerb(t, pidfile, "status"))
}

// requireReady requires that this is how status answers for a daemon that is ready and has nothing else to say.
func requireReady(t *testing.T, pid int, got proctest.Result) {
	t.Helper()
	require.Equal(t, 0, got.Code, "%s%s", got.Stdout, got.Stderr)
	require.Empty(t, got.Stderr)
	require.Regexp(t, fmt.Sprintf(`^daemon: ready \(pid %d\) for \d+[sm]\n$`, pid), got.Stdout)
}

// requireStarts starts a daemon on that PID file and stops it.
func requireStarts(t *testing.T, pidfile string, args ...string) {
	t.Helper()
	p := proctest.Start(t, daemon, append([]string{"pidfile=" + pidfile}, args...)...)
	p.Await("msg=ready")
	proctest.RequireText(t, pidfile, fmt.Sprintln(p.PID()))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait(), "%s", p.Out)
	require.NoFileExists(t, pidfile)
}

func alreadyRunning(pid int) string { return fmt.Sprintf("daemon: already running (pid %d)\n", pid) }

const lostWarning = "the PID file was deleted or replaced"
