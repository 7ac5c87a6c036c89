package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func TestTheStateHasAColourOnATerminal(t *testing.T) {
	t.Parallel()
	none, gate := proctest.PIDPath(t), gatePath(t)
	starting := proctest.Start(t, daemon, "pidfile="+proctest.PIDPath(t), "start=until:"+gate)
	starting.Await("OnStart")
	ready, path := startDaemon(t)
	dead, stale := startDaemon(t)
	require.NoError(t, dead.Cmd.Process.Kill())
	dead.Wait()
	slow := strings.TrimPrefix(starting.Cmd.Args[1], "pidfile=")

	for _, tt := range []struct {
		pidfile, shown string
		code           int
	}{
		{path, fmt.Sprintf("daemon: \x1b[32mready\x1b[0m (pid %d) for ", ready.PID()), 0},
		{slow, fmt.Sprintf("daemon: \x1b[33mstarting\x1b[0m (pid %d) for ", starting.PID()), 0},
		{stale, fmt.Sprintf("daemon: \x1b[31mdead\x1b[0m: pid %d left ", dead.PID()), 1},
		{"/dev/null", "daemon: \x1b[31munknown\x1b[0m: unsafe PID file ", 4},
		{none, "daemon: not running (nobody holds ", 3},
	} {
		s := newScreen(t, 0)
		require.Equal(t, tt.code, s.verb(nil, "pidfile="+tt.pidfile, "status").Wait())
		s.awaitText("\n")
		require.True(t, strings.HasPrefix(s.String(), tt.shown), "%q", s)
		require.Equal(t, strings.Count(tt.shown, "\x1b"), strings.Count(s.String(), "\x1b"), "%q", s)

		plain := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(tt.shown, "")
		for _, env := range []string{"NO_COLOR=1", "TERM=dumb", "TERM="} {
			s := newScreen(t, 0)
			require.Equal(t, tt.code, s.verb([]string{env}, "pidfile="+tt.pidfile, "status").Wait())
			s.awaitText("\n")
			require.True(t, strings.HasPrefix(s.String(), plain), "%q", s)
		}
		s = newScreen(t, 0)
		require.Equal(t, tt.code, s.verb(nil, "pidfile="+tt.pidfile, "status", "--json").Wait())
		s.awaitText("}\r\n")
		require.NotContains(t, s.String(), "\x1b")
		require.True(t, strings.HasPrefix(callVerb(t, tt.pidfile, "status").Stdout, plain))
	}
	proctest.Touch(t, gate)
	starting.Await("msg=ready")
	requireStops(t, starting)
	requireStops(t, ready)
}
