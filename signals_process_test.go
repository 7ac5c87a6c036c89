package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// awaitPID returns at the very moment at which the PID of the process can be read from its PID file.
func awaitPID(t *testing.T, p *process, path string) {
	t.Helper()
	want := fmt.Sprintln(p.pid())
	for deadline := time.Now().Add(patienceOfTests); ; runtime.Gosched() {
		if text, err := os.ReadFile(path); err == nil && string(text) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no PID in %s; pid %d wrote:\n%s", path, p.pid(), p.out)
		}
	}
}

// flood sends n signals as fast as they can be sent.
func flood(t *testing.T, p *process, sig syscall.Signal, n int) {
	t.Helper()
	for range n {
		if err := p.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
}

// requireBalanced requires that a daemon that has ended called every hook as often as it should, and got all of them back.
func requireBalanced(t *testing.T, p *process) {
	t.Helper()
	started := linesOf(p, "OnStart done")
	require.LessOrEqual(t, started, 1, "%s", p.out)
	for _, line := range []string{"OnStop", "OnStop done", "OnExit", "OnExit done"} {
		require.Equal(t, started, linesOf(p, line), "%s:\n%s", line, p.out)
	}
	for _, hook := range []string{"OnStart", "OnCheck", "OnReload", "OnSignal", "fn"} {
		require.Equal(t, linesOf(p, hook), linesOf(p, hook+" done"), "%s:\n%s", hook, p.out)
	}
	require.Equal(t, 1, linesOf(p, "Run returned: <nil>"), "%s", p.out)
}

// requireExited requires that the process ended by itself: not by a signal.
func requireExited(t *testing.T, p *process, code int) {
	t.Helper()
	p.wait()
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, status.Exited(), "%v; it wrote:\n%s", p.cmd.ProcessState, p.out)
	require.Equal(t, code, status.ExitStatus(), "%s", p.out)
}

// requireObeys requires that every signal of the life reaches it, the last of them being the stop.
func requireObeys(t *testing.T, p *process, stop syscall.Signal) {
	t.Helper()
	p.await("msg=ready")
	p.signal(syscall.SIGHUP)
	p.await("msg=reloaded")
	p.signal(syscall.SIGUSR1)
	p.await("nothing to reopen")
	p.signal(syscall.SIGUSR2)
	p.await("OnSignal done")
	p.signal(stop)
	requireExited(t, p, 0)
}

func TestAStopSignalTheMomentThePIDCanBeReadEndsItCleanly(t *testing.T) {
	t.Parallel()
	rounds := 40
	if testing.Short() {
		rounds = 12
	}
	for round := range rounds {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			path := pidPath(t)
			p := start(t, daemon, "pidfile="+path)
			awaitPID(t, p, path)
			p.signal(syscall.SIGTERM)
			requireExited(t, p, 0)
			requireBalanced(t, p)
			requireNothingLeft(t, path)
		})
	}
}

// requireNothingLeft requires that the PID file and whatever was beside it is gone.
func requireNothingLeft(t *testing.T, path string) {
	t.Helper()
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Empty(t, left)
}

// Rows F4, F16.
func TestAHUPTheMomentThePIDCanBeReadIsAReload(t *testing.T) {
	t.Parallel()
	for range 10 {
		path := pidPath(t)
		p := start(t, daemon, "pidfile="+path)
		awaitPID(t, p, path)
		p.signal(syscall.SIGHUP)
		p.await("msg=reloaded")
		require.Less(t, p.out.index("msg=ready"), p.out.index("OnReload"))
		p.signal(syscall.SIGTERM)
		requireExited(t, p, 0)
		require.Equal(t, 1, linesOf(p, "OnReload"))
		requireBalanced(t, p)
	}
}

// Row F16.
func TestAHUPTheMomentItSaysReadyIsAReload(t *testing.T) {
	t.Parallel()
	for range 5 {
		p := start(t, daemon, "pidfile="+pidPath(t))
		for deadline := time.Now().Add(patienceOfTests); p.out.count("msg=ready") == 0; runtime.Gosched() {
			require.True(t, time.Now().Before(deadline), "not ready")
		}
		p.signal(syscall.SIGHUP)
		p.await("msg=reloaded")
		p.signal(syscall.SIGTERM)
		requireExited(t, p, 0)
		require.Equal(t, 1, linesOf(p, "OnReload"))
	}
}

// Row F1.
func TestUnderNohupAHUPIsAReload(t *testing.T) {
	needs(t, "nohup")
	t.Parallel()
	p := launch(t, wrapped([]string{"nohup"}, daemon, "pidfile="+pidPath(t)))
	p.await("msg=ready")
	for n := range 3 {
		p.signal(syscall.SIGHUP)
		p.await("msg=reloaded", n+1)
	}
	p.signal(syscall.SIGTERM)
	requireExited(t, p, 0)
	requireBalanced(t, p)
}

// Row F2.
func TestWhatTheCallerIgnoresArrives(t *testing.T) {
	t.Parallel()
	trap := []string{"sh", "-c", `trap "" TERM INT HUP CHLD USR1 USR2 PIPE; exec "$0" "$@"`}
	for _, stop := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		// Its OnCheck starts a program and gets its exit code, although CHLD was ignored.
		p := launch(t, wrapped(trap, daemon, "pidfile="+pidPath(t), "check=children"))
		requireObeys(t, p, stop)
		requireBalanced(t, p)
	}
}

// twoParts is a life of two components. Its second argument is what the second OnStart does: see behave, or "late" to succeed when
// its context has ended.
var twoParts = registerProgram("two parts", func(args []string) int {
	second := behave("second.OnStart", args[1])
	if args[1] == "late" {
		second = func(ctx context.Context) error {
			fmt.Println("second.OnStart")
			<-ctx.Done()
			return nil
		}
	}
	err := Run(behave("fn", "wait"), Name("two parts"), PIDFile(args[0]),
		With(Hooks{
			Name: "first", OnStart: behave("first.OnStart", ""),
			OnStop: behave("first.OnStop", ""), OnExit: behave("first.OnExit", ""),
		}),
		With(Hooks{
			Name: "second", OnStart: second,
			OnStop: behave("second.OnStop", ""), OnExit: behave("second.OnExit", ""),
		}))
	fmt.Printf("Run returned: %v\n", err)
	return ExitCode(err)
})

// Row F7.
func TestATERMDuringOnStartRollsBack(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		path := pidPath(t)
		p := start(t, twoParts, path, "wait")
		p.await("second.OnStart")
		p.signal(sig)
		requireExited(t, p, 0)
		require.Equal(t, 1, linesOf(p, "first.OnStop done"))
		require.Equal(t, 1, linesOf(p, "first.OnExit done"))
		require.Less(t, p.out.index("first.OnStop"), p.out.index("first.OnExit"))
		require.Zero(t, p.out.count("second.OnStop"), "it was not started")
		require.Zero(t, p.out.count("second.OnExit"), "it was not started")
		require.Zero(t, linesOf(p, "fn"))
		require.Zero(t, p.out.count("ready pid="))
		p.await("Run returned: <nil>")
		requireNothingLeft(t, path)
	}
}

// Row F7.
func TestAnOnStartThatSucceedsInSpiteOfATERMIsStoppedToo(t *testing.T) {
	t.Parallel()
	path := pidPath(t)
	p := start(t, twoParts, path, "late")
	p.await("second.OnStart")
	p.signal(syscall.SIGTERM)
	requireExited(t, p, 0)
	for _, line := range []string{"first.OnStop done", "first.OnExit done", "second.OnStop done", "second.OnExit done"} {
		require.Equal(t, 1, linesOf(p, line), line)
	}
	require.Zero(t, linesOf(p, "fn"))
	require.Zero(t, p.out.count("ready pid="))
	requireNothingLeft(t, path)
}

// This test sends as many as it can. The log says when the daemon took one of them for a second wish.
// Row F8.
func TestAnotherStopSignalMoreThanASecondLaterQuitsAtOnce(t *testing.T) {
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
			eventually(t, func() bool {
				select {
				case <-p.done:
					return true
				default:
				}
				p.cmd.Process.Signal(signals[sent%len(signals)])
				sent++
				return false
			}, "the daemon to quit")
			requireExited(t, p, 1)
			require.Greater(t, sent, 2)
			require.Equal(t, 1, linesOf(p, "OnStop"))
			require.Zero(t, linesOf(p, "OnStop done"))
			require.Zero(t, linesOf(p, "OnExit"), "at once")
			requireNothingLeft(t, path)

			_, line, found := strings.Cut(p.out.String()[:p.out.index("another stop signal: quitting at once")], "msg=stopping")
			require.True(t, found)
			stamp := line[strings.LastIndex(line, "time=")+len("time="):]
			stamp, _, _ = strings.Cut(stamp, " ")
			quit, err := time.Parse(time.RFC3339, stamp)
			require.NoError(t, err)
			require.GreaterOrEqual(t, quit.Sub(begun), time.Second-time.Millisecond, "the log cuts the time to milliseconds")
		})
	}
}

// stuckLog is a daemon whose OnStop hangs, and its log when it is told something that contains a text.
var stuckLog = registerProgram("stuck log", func(args []string) int {
	return ExitCode(Run(nil, PIDFile(args[0]), OnStop(behave("OnStop", "hang")),
		Logger(slog.New(stuckHandler{slog.NewTextHandler(os.Stdout, nil), args[1]}))))
})

type stuckHandler struct {
	slog.Handler
	at string
}

func (h stuckHandler) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, h.at) {
		fmt.Println("the log hangs")
		select {}
	}
	return h.Handler.Handle(ctx, r)
}

// Row F8.
func TestALogThatHangsKeepsNobodyFromQuitting(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"stopping", "another stop signal", "the PID file was deleted"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			path := pidPath(t)
			p := start(t, stuckLog, path, at)
			p.await("msg=ready")
			if strings.Contains(at, "deleted") {
				require.NoError(t, os.Remove(path))
			}
			p.insist()
			requireExited(t, p, 1)
			requireNothingLeft(t, path)
		})
	}
}

// Row F9.
func TestAfterAFloodOfHUPsTheLastContentIsLive(t *testing.T) {
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
	p.await(fmt.Sprintf("OnReload says: version %d", floods))
	p.signal(syscall.SIGINT)
	requireExited(t, p, 0)
	requireBalanced(t, p)
	requireNothingLeft(t, path)

	reloads := linesOf(p, "OnReload")
	require.GreaterOrEqual(t, reloads, 1)
	require.Less(t, reloads, 2_000, "of 10,000")
	said := p.out.String()
	said = said[strings.LastIndex(said, "OnReload says: "):]
	require.True(t, strings.HasPrefix(said, fmt.Sprintf("OnReload says: version %d\n", floods)), said)
}

// Row F10.
func TestAFloodOfTERMsStopsOnce(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startDaemon(t, "stop=until:"+gate)
	for begun, n := time.Now(), 0; n < 10_000 && time.Since(begun) < insistAfter/2; n += 100 {
		flood(t, p, syscall.SIGTERM, 100)
	}
	touch(t, gate)
	requireExited(t, p, 0)
	require.Equal(t, 1, linesOf(p, "OnStop"))
	requireBalanced(t, p)
	requireNothingLeft(t, path)
}

// Row F11.
func TestWhateverSignalsComeItEndsStoppedAndBalanced(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 11))
			path := pidPath(t)
			p := start(t, daemon, "pidfile="+path)
			awaitPID(t, p, path)
			harmless := []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT}
			for range random.IntN(40) {
				p.signal(harmless[random.IntN(len(harmless))])
				for range random.IntN(3) {
					runtime.Gosched()
				}
			}
			any := append(harmless, syscall.SIGTERM, syscall.SIGINT)
			p.signal(syscall.SIGTERM)
			for range 10 {
				p.cmd.Process.Signal(any[random.IntN(len(any))])
			}
			requireExited(t, p, 0)
			requireBalanced(t, p)
			requireNothingLeft(t, path)
		})
	}
}

// Row F12.
func TestQUITPrintsWhereEverythingIsAndExits(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	p.signal(syscall.SIGQUIT)
	requireExited(t, p, 2)
	p.await("SIGQUIT: quit")
	p.await("goroutine ")
	p.await("lifecycle.(*life).serve")
	require.Equal(t, 1, callVerb(t, path, "status").code, "it is a crash")

	next := start(t, daemon, "pidfile="+path)
	next.await("msg=ready")
}

// Row F13.
func TestUSR1AndUSR2AreHarmless(t *testing.T) {
	t.Parallel()
	p, _ := startDaemon(t)
	for n := range 3 {
		p.signal(syscall.SIGUSR1)
		p.await("nothing to reopen", n+1)
		p.signal(syscall.SIGUSR2)
		p.await("OnSignal done", n+1)
	}
	requireLives(t, p)

	for _, how := range []string{"usr2=error", "usr2=panic", "usr2=goexit"} {
		p, _ := startDaemon(t, how)
		p.signal(syscall.SIGUSR2)
		p.await(`msg="a function given to OnSignal failed"`)
		requireLives(t, p)
	}
}

// Row F13.
func TestUSR2WithoutOnSignalIsHarmless(t *testing.T) {
	t.Parallel()
	p := start(t, twoParts, pidPath(t), "")
	p.await("ready pid=")
	p.signal(syscall.SIGUSR2)
	p.signal(syscall.SIGHUP)
	p.await("reloaded")
	p.signal(syscall.SIGTERM)
	requireExited(t, p, 0)
}

// Row F14.
func TestWhatHasNoMeaningHasNoEffect(t *testing.T) {
	t.Parallel()
	p, _ := startDaemon(t)
	for range 3 {
		for _, sig := range []syscall.Signal{
			syscall.SIGCONT, syscall.SIGWINCH, syscall.SIGPIPE, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGIO,
		} {
			p.signal(sig)
		}
	}
	requireLives(t, p)
}

// Rows E10, F14.
func TestABrokenStdoutDoesNotKill(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	path := pidPath(t)
	cmd := command(daemon, "pidfile="+path)
	cmd.Stdout = w
	p := launch(t, cmd)
	require.NoError(t, w.Close())
	p.await("msg=ready")
	for n := range 3 {
		p.signal(syscall.SIGHUP)
		p.await("msg=reloaded", n+1)
	}
	p.signal(syscall.SIGTERM)
	requireExited(t, p, 0)
	requireNothingLeft(t, path)
}

// The test cannot read the log, so the verbs have to tell.
// Row E10.
func TestABrokenLogDoesNotKill(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	config := filepath.Join(t.TempDir(), "config")
	path := pidPath(t)
	cmd := command(daemon, "pidfile="+path, "stop=until:"+config)
	cmd.Stderr = w
	p := launch(t, cmd)
	require.NoError(t, w.Close())
	p.await("fn")
	require.NoError(t, r.Close())
	p.signal(syscall.SIGHUP)
	p.await("OnReload done")
	p.signal(syscall.SIGHUP)
	p.await("OnReload done", 2)
	require.Equal(t, 0, callVerb(t, path, "status").code)
	p.signal(syscall.SIGTERM)
	p.await("OnStop")
	touch(t, config)
	requireExited(t, p, 0)
	requireBalanced(t, p)
	requireNothingLeft(t, path)
}

// afterwards is a program that goes on for a while when its life is over.
var afterwards = registerProgram("afterwards", func(args []string) int {
	err := Run(func(context.Context) error { return nil }, Name("afterwards"), PIDFile(args[0]))
	fmt.Println("Run has returned")
	behave("afterwards", "until:"+args[1])(context.Background())
	return ExitCode(err)
})

// Row F16.
func TestASignalBetweenTheEndOfRunAndThatOfTheProcessDoesNotSpoilItsExitCode(t *testing.T) {
	t.Parallel()
	for range 5 {
		path, gate := pidPath(t), filepath.Join(t.TempDir(), "gate")
		p := start(t, afterwards, path, gate)
		p.await("Run has returned")
		begun := time.Now()
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
			p.cmd.Process.Signal(sig)
		}
		touch(t, gate)
		p.wait()
		if time.Since(begun) > linger {
			t.Skip("this machine is so slow that the second was over")
		}
		requireExited(t, p, 0)
	}
}
