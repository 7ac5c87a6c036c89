package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// Row F11.
func TestRandomSignalsLeaveTheDaemonStoppedAndEveryHookBalanced(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 11))
			path := proctest.PIDPath(t)
			p := proctest.Start(t, daemon, "pidfile="+path)
			awaitPID(t, p, path)
			harmless := []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT}
			for range random.IntN(40) {
				p.Signal(harmless[random.IntN(len(harmless))])
				for range random.IntN(3) {
					runtime.Gosched()
				}
			}
			any := append(harmless, syscall.SIGTERM, syscall.SIGINT)
			p.Signal(syscall.SIGTERM)
			for range 10 {
				p.Cmd.Process.Signal(any[random.IntN(len(any))])
			}
			requireExited(t, p, 0)
			requireBalanced(t, p)
			requireNothingLeft(t, path)
		})
	}
}

// Row F12.
func TestQUITPrintsAllStacksAndExits(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	p.Signal(syscall.SIGQUIT)
	requireExited(t, p, 2)
	p.Await("SIGQUIT: quit")
	p.Await("goroutine ")
	p.Await("lifecycle.(*life).serve")
	require.Equal(t, 1, callVerb(t, path, "status").Code, "the end counts as a crash")

	next := proctest.Start(t, daemon, "pidfile="+path)
	next.Await("msg=ready")
}

// Row F13.
func TestUSR1AndUSR2AreHarmless(t *testing.T) {
	t.Parallel()
	p, _ := startDaemon(t)
	for n := range 3 {
		p.Signal(syscall.SIGUSR1)
		p.Await("nothing to reopen", n+1)
		p.Signal(syscall.SIGUSR2)
		p.Await("OnSignal done", n+1)
	}
	requireLives(t, p)

	for _, how := range []string{"usr2=error", "usr2=panic", "usr2=goexit"} {
		p, _ := startDaemon(t, how)
		p.Signal(syscall.SIGUSR2)
		p.Await(`msg="the OnSignal function failed"`)
		requireLives(t, p)
	}
}

// Row F13.
func TestUSR2WithoutOnSignalIsHarmless(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, twoParts, proctest.PIDPath(t), "")
	p.Await("ready pid=")
	p.Signal(syscall.SIGUSR2)
	p.Signal(syscall.SIGHUP)
	p.Await("reloaded")
	p.Signal(syscall.SIGTERM)
	requireExited(t, p, 0)
}

// Row F14.
func TestSignalsWithoutMeaningHaveNoEffect(t *testing.T) {
	t.Parallel()
	p, _ := startDaemon(t)
	for range 3 {
		for _, sig := range []syscall.Signal{
			syscall.SIGCONT, syscall.SIGWINCH, syscall.SIGPIPE, syscall.SIGCHLD, syscall.SIGURG, syscall.SIGIO,
		} {
			p.Signal(sig)
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
	path := proctest.PIDPath(t)
	cmd := proctest.Command(daemon, "pidfile="+path)
	cmd.Stdout = w
	p := proctest.Launch(t, cmd)
	require.NoError(t, w.Close())
	p.Await("msg=ready")
	for n := range 3 {
		p.Signal(syscall.SIGHUP)
		p.Await("msg=reloaded", n+1)
	}
	p.Signal(syscall.SIGTERM)
	requireExited(t, p, 0)
	requireNothingLeft(t, path)
}

// The test uses the verbs, because it cannot read the log.
// Row E10.
func TestABrokenLogDoesNotKill(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	config := filepath.Join(t.TempDir(), "config")
	path := proctest.PIDPath(t)
	cmd := proctest.Command(daemon, "pidfile="+path, "stop=until:"+config)
	cmd.Stderr = w
	p := proctest.Launch(t, cmd)
	require.NoError(t, w.Close())
	p.Await("fn")
	require.NoError(t, r.Close())
	p.Signal(syscall.SIGHUP)
	p.Await("OnReload done")
	p.Signal(syscall.SIGHUP)
	p.Await("OnReload done", 2)
	require.Equal(t, 0, callVerb(t, path, "status").Code)
	p.Signal(syscall.SIGTERM)
	p.Await("OnStop")
	proctest.Touch(t, config)
	requireExited(t, p, 0)
	requireBalanced(t, p)
	requireNothingLeft(t, path)
}
