package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// awaitPID returns as soon as the PID of the process can be read from its PID file.
func awaitPID(t *testing.T, p *proctest.Process, path string) {
	t.Helper()
	want := fmt.Sprintln(p.PID())
	for deadline := time.Now().Add(proctest.Patience); ; runtime.Gosched() {
		if text, err := os.ReadFile(path); err == nil && string(text) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no PID in %s; pid %d wrote:\n%s", path, p.PID(), p.Out)
		}
	}
}

// flood sends n signals as fast as they can be sent.
func flood(t *testing.T, p *proctest.Process, sig syscall.Signal, n int) {
	t.Helper()
	for range n {
		if err := p.Cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
}

// requireBalanced requires that a daemon that has ended has called every hook as often as it
// should, and that every call has returned.
func requireBalanced(t *testing.T, p *proctest.Process) {
	t.Helper()
	started := linesOf(p, "OnStart done")
	require.LessOrEqual(t, started, 1, "%s", p.Out)
	for _, line := range []string{"OnStop", "OnStop done", "OnExit", "OnExit done"} {
		require.Equal(t, started, linesOf(p, line), "%s:\n%s", line, p.Out)
	}
	for _, hook := range []string{"OnStart", "OnCheck", "OnReload", "OnSignal", "fn"} {
		require.Equal(t, linesOf(p, hook), linesOf(p, hook+" done"), "%s:\n%s", hook, p.Out)
	}
	require.Equal(t, 1, linesOf(p, "Run returned: <nil>"), "%s", p.Out)
}

// requireExited requires that the process exited with that code, and was not ended by a signal.
func requireExited(t *testing.T, p *proctest.Process, code int) {
	t.Helper()
	p.Wait()
	status := p.Cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, status.Exited(), "%v; it wrote:\n%s", p.Cmd.ProcessState, p.Out)
	require.Equal(t, code, status.ExitStatus(), "%s", p.Out)
}

// requireObeys requires that every signal of the life reaches the daemon. It sends stop last.
func requireObeys(t *testing.T, p *proctest.Process, stop syscall.Signal) {
	t.Helper()
	p.Await("msg=ready")
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded")
	p.Signal(syscall.SIGUSR1)
	p.Await("nothing to reopen")
	p.Signal(syscall.SIGUSR2)
	p.Await("OnSignal done")
	p.Signal(stop)
	requireExited(t, p, 0)
}

func TestAStopSignalAsSoonAsThePIDCanBeReadEndsCleanly(t *testing.T) {
	t.Parallel()
	rounds := 40
	if testing.Short() {
		rounds = 12
	}
	for round := range rounds {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			path := proctest.PIDPath(t)
			p := proctest.Start(t, daemon, "pidfile="+path)
			awaitPID(t, p, path)
			p.Signal(syscall.SIGTERM)
			requireExited(t, p, 0)
			requireBalanced(t, p)
			requireNothingLeft(t, path)
		})
	}
}

// requireNothingLeft requires that the PID file and all files beside it are gone, except the record
// of a failure.
func requireNothingLeft(t *testing.T, path string) {
	t.Helper()
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	if s, err := readStatus(proctest.StatePath(path)); err == nil && s.Failed != nil {
		left = slices.DeleteFunc(left, func(e os.DirEntry) bool { return e.Name() == filepath.Base(proctest.StatePath(path)) })
	}
	require.Empty(t, left)
}

// Rows F4, F16.
func TestAHUPAsSoonAsThePIDCanBeReadIsAReload(t *testing.T) {
	t.Parallel()
	for range 10 {
		path := proctest.PIDPath(t)
		p := proctest.Start(t, daemon, "pidfile="+path)
		awaitPID(t, p, path)
		p.Signal(syscall.SIGHUP)
		p.Await("msg=reloaded")
		require.Less(t, p.Out.Index("msg=ready"), p.Out.Index("OnReload"))
		p.Signal(syscall.SIGTERM)
		requireExited(t, p, 0)
		require.Equal(t, 1, linesOf(p, "OnReload"))
		requireBalanced(t, p)
	}
}

// Row F16.
func TestAHUPRightAfterReadyIsAReload(t *testing.T) {
	t.Parallel()
	for range 5 {
		p := proctest.Start(t, daemon, "pidfile="+proctest.PIDPath(t))
		for deadline := time.Now().Add(proctest.Patience); p.Out.Count("msg=ready") == 0; runtime.Gosched() {
			require.True(t, time.Now().Before(deadline), "not ready")
		}
		p.Signal(syscall.SIGHUP)
		p.Await("msg=reloaded")
		p.Signal(syscall.SIGTERM)
		requireExited(t, p, 0)
		require.Equal(t, 1, linesOf(p, "OnReload"))
	}
}

// Row F1.
func TestAHUPUnderNohupIsAReload(t *testing.T) {
	proctest.Needs(t, "nohup")
	t.Parallel()
	p := proctest.Launch(t, proctest.Wrapped([]string{"nohup"}, daemon, "pidfile="+proctest.PIDPath(t)))
	p.Await("msg=ready")
	for n := range 3 {
		p.Signal(syscall.SIGHUP)
		p.Await("msg=reloaded", n+1)
	}
	p.Signal(syscall.SIGTERM)
	requireExited(t, p, 0)
	requireBalanced(t, p)
}

// Row F2.
func TestSignalsThatTheCallerIgnoredArrive(t *testing.T) {
	t.Parallel()
	trap := []string{"sh", "-c", `trap "" TERM INT HUP CHLD USR1 USR2 PIPE; exec "$0" "$@"`}
	for _, stop := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		// The caller ignores CHLD. OnCheck must still get the exit code of a program that it
		// starts.
		p := proctest.Launch(t, proctest.Wrapped(trap, daemon, "pidfile="+proctest.PIDPath(t), "check=children"))
		requireObeys(t, p, stop)
		requireBalanced(t, p)
	}
}

// twoParts is a life of two components. Its second argument is the behaviour of the second OnStart;
// see behave. If the argument is "late", that OnStart succeeds after its context has ended.
var twoParts = proctest.Register("two parts", func(args []string) int {
	second := behave("second.OnStart", args[1])
	if args[1] == "late" {
		second = func(ctx context.Context) error {
			fmt.Println("second.OnStart")
			<-ctx.Done()
			return nil
		}
	}
	err := lifecycle.Run(behave("fn", "wait"), lifecycle.Name("two parts"), lifecycle.PIDFile(args[0]),
		lifecycle.With(lifecycle.Hooks{
			Name: "first", OnStart: behave("first.OnStart", ""),
			OnStop: behave("first.OnStop", ""), OnExit: behave("first.OnExit", ""),
		}),
		lifecycle.With(lifecycle.Hooks{
			Name: "second", OnStart: second,
			OnStop: behave("second.OnStop", ""), OnExit: behave("second.OnExit", ""),
		}))
	fmt.Printf("Run returned: %v\n", err)
	return lifecycle.ExitCode(err)
})

func (h stuckHandler) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, h.at) {
		fmt.Println("the log hangs")
		select {}
	}
	return h.Handler.Handle(ctx, r)
}

// Row F9.
func TestTheLastContentIsReadAfterAFloodOfHUPs(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "config")
	write := func(text string) {
		require.NoError(t, os.WriteFile(config+".new", []byte(text), 0o644))
		require.NoError(t, os.Rename(config+".new", config))
	}
	write("version 0")
	p, path := startDaemon(t, "reload=cat:"+config)
	const floods = 10
	for n := range floods {
		write(fmt.Sprintf("version %d", n+1))
		flood(t, p, syscall.SIGHUP, 1_000)
	}
	p.Await(fmt.Sprintf("OnReload says: version %d", floods))
	p.Signal(syscall.SIGINT)
	requireExited(t, p, 0)
	requireBalanced(t, p)
	requireNothingLeft(t, path)

	reloads := linesOf(p, "OnReload")
	require.GreaterOrEqual(t, reloads, 1)
	require.Less(t, reloads, 2_000, "reloads of 10,000 HUPs")
	said := p.Out.String()
	said = said[strings.LastIndex(said, "OnReload says: "):]
	require.True(t, strings.HasPrefix(said, fmt.Sprintf("OnReload says: version %d\n", floods)), said)
}
