package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// Row F7.
func TestATERMDuringOnStartRollsBack(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		path := proctest.PIDPath(t)
		p := proctest.Start(t, twoParts, path, "wait")
		p.Await("second.OnStart")
		p.Signal(sig)
		requireExited(t, p, 0)
		require.Equal(t, 1, linesOf(p, "first.OnStop done"))
		require.Equal(t, 1, linesOf(p, "first.OnExit done"))
		require.Less(t, p.Out.Index("first.OnStop"), p.Out.Index("first.OnExit"))
		require.Zero(t, p.Out.Count("second.OnStop"), "a component that was not started gets no OnStop")
		require.Zero(t, p.Out.Count("second.OnExit"), "a component that was not started gets no OnExit")
		require.Zero(t, linesOf(p, "fn"))
		require.Zero(t, p.Out.Count("ready pid="))
		p.Await("Run returned: <nil>")
		requireNothingLeft(t, path)
	}
}

// Row F7.
func TestAnOnStartThatSucceedsAfterATERMIsStoppedToo(t *testing.T) {
	t.Parallel()
	path := proctest.PIDPath(t)
	p := proctest.Start(t, twoParts, path, "late")
	p.Await("second.OnStart")
	p.Signal(syscall.SIGTERM)
	requireExited(t, p, 0)
	for _, line := range []string{"first.OnStop done", "first.OnExit done", "second.OnStop done", "second.OnExit done"} {
		require.Equal(t, 1, linesOf(p, line), line)
	}
	require.Zero(t, linesOf(p, "fn"))
	require.Zero(t, p.Out.Count("ready pid="))
	requireNothingLeft(t, path)
}

// The test sends signals as fast as it can. The log shows when the daemon treats one as a forced
// quit.
// Row F8.
func TestASecondStopSignalAfterASecondQuitsAtOnce(t *testing.T) {
	t.Parallel()
	for name, signals := range map[string][]syscall.Signal{
		"TERM":         {syscall.SIGTERM},
		"INT":          {syscall.SIGINT},
		"TERM and INT": {syscall.SIGTERM, syscall.SIGINT},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, path := startDaemon(t, "stop=hang")
			begun := time.Now()
			sent := 0
			proctest.Eventually(t, func() bool {
				select {
				case <-p.Done:
					return true
				default:
				}
				p.Cmd.Process.Signal(signals[sent%len(signals)])
				sent++
				return false
			}, "the daemon to quit")
			requireExited(t, p, 1)
			require.Greater(t, sent, 2)
			require.Equal(t, 1, linesOf(p, "OnStop"))
			require.Zero(t, linesOf(p, "OnStop done"))
			require.Zero(t, linesOf(p, "OnExit"), "the process ends at once")
			requireNothingLeft(t, path)

			_, line, found := strings.Cut(p.Out.String()[:p.Out.Index("another stop signal: quitting at once")], "msg=stopping")
			require.True(t, found)
			stamp := line[strings.LastIndex(line, "time=")+len("time="):]
			stamp, _, _ = strings.Cut(stamp, " ")
			quit, err := time.Parse(time.RFC3339, stamp)
			require.NoError(t, err)
			require.GreaterOrEqual(t, quit.Sub(begun), time.Second-time.Millisecond, "the log cuts the time to milliseconds")
		})
	}
}

// stuckLog is a daemon whose OnStop hangs. Its log hangs when it receives a line that contains a
// text.
var stuckLog = proctest.Register("stuck log", func(args []string) int {
	return lifecycle.ExitCode(lifecycle.Run(nil, lifecycle.PIDFile(args[0]), lifecycle.OnStop(behave("OnStop", "hang")),
		lifecycle.Logger(slog.New(stuckHandler{slog.NewTextHandler(os.Stdout, nil), args[1]}))))
})

type stuckHandler struct {
	slog.Handler
	at string
}

// Row F8.
func TestAHangingLogDoesNotDelayAForcedQuit(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"stopping", "another stop signal", "the PID file was deleted"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			path := proctest.PIDPath(t)
			p := proctest.Start(t, stuckLog, path, at)
			p.Await("msg=ready")
			if strings.Contains(at, "deleted") {
				require.NoError(t, os.Remove(path))
			}
			p.ForceQuit()
			requireExited(t, p, 1)
			requireNothingLeft(t, path)
		})
	}
}

// Row F10.
func TestAFloodOfTERMsStopsOnce(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startDaemon(t, "stop=until:"+gate)
	for begun, n := time.Now(), 0; n < 10_000 && time.Since(begun) < time.Second/2; n += 100 {
		flood(t, p, syscall.SIGTERM, 100)
	}
	proctest.Touch(t, gate)
	requireExited(t, p, 0)
	require.Equal(t, 1, linesOf(p, "OnStop"))
	requireBalanced(t, p)
	requireNothingLeft(t, path)
}

// afterwards is a program that continues for a while after Run returns.
var afterwards = proctest.Register("afterwards", func(args []string) int {
	err := lifecycle.Run(func(context.Context) error { return nil }, lifecycle.Name("afterwards"), lifecycle.PIDFile(args[0]))
	fmt.Println("Run has returned")
	behave("afterwards", "until:"+args[1])(context.Background())
	return lifecycle.ExitCode(err)
})

// Row F16.
func TestASignalAfterRunDoesNotChangeTheExitCode(t *testing.T) {
	t.Parallel()
	for range 5 {
		path, gate := proctest.PIDPath(t), filepath.Join(t.TempDir(), "gate")
		p := proctest.Start(t, afterwards, path, gate)
		p.Await("Run has returned")
		begun := time.Now()
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
			p.Cmd.Process.Signal(sig)
		}
		proctest.Touch(t, gate)
		p.Wait()
		if time.Since(begun) > time.Second {
			t.Skip("this machine is so slow that the second was over")
		}
		requireExited(t, p, 0)
	}
}

func TestADaemonThatAnotherStopSignalEndedHasFailed(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t, "stop=hang")
	stop := proctest.Start(t, daemon, "pidfile="+path, "stop")
	p.Await("OnStop\n")
	require.Equal(t, lifecycle.Stopping, stateOf(t, path).Phase)
	p.ForceQuit()
	requireExited(t, p, 1)
	if p.Out.Count(`level=ERROR msg="another stop signal: quitting at once"`) == 0 {
		t.Skip("this machine is so slow that the time for the record was over")
	}
	const failed = "another stop signal ended it at once, in OnStop of daemon"
	require.Equal(t, 1, stop.Wait())
	require.Contains(t, stop.Out.String(), "), but it failed: "+failed+"\n")
	require.Regexp(t, `^daemon: not running; failed \d+s ago: `+failed+` \(exit 1\)\n$`, callVerb(t, path, "status").Stdout)
	requireNothingLeft(t, path)
}
