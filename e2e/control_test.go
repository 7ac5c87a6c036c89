package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// idle is a program that does nothing and handles no signal.
var idle = proctest.Register("idle", func([]string) int { select {} })

// callVerb calls a verb of the program daemon.
func callVerb(t *testing.T, pidfile string, args ...string) proctest.Result {
	t.Helper()
	return proctest.Call(t, daemon, append([]string{"pidfile=" + pidfile}, args...)...)
}

// linesOf returns how many complete lines of the program equal line.
func linesOf(p *proctest.Process, line string) (n int) {
	for l := range strings.Lines(p.Out.String()) {
		if l == line+"\n" {
			n++
		}
	}
	return n
}

// requireLives requires that the daemon still follows requests.
func requireLives(t *testing.T, p *proctest.Process) {
	t.Helper()
	require.Zero(t, p.Out.Count("msg=stopping"), "%s", p.Out)
	require.Zero(t, linesOf(p, "OnReload"), "%s", p.Out)
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded")
	require.Equal(t, 1, linesOf(p, "OnReload"))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
}

func notRunning(pidfile string) string { return "daemon: not running (nobody holds " + pidfile + ")\n" }

func openForReading(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}
