package lifecycle

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// holding is a process that holds a PID file as a daemon does, and says nothing about itself.
var holding = proctest.Register("holding", func(args []string) int {
	lock, err := takePIDFile(args[0])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("holds it")
	<-make(chan struct{})
	runtime.KeepAlive(lock)
	return 0
})

// callVerb calls a verb of the program daemon.
func callVerb(t *testing.T, pidfile string, args ...string) proctest.Result {
	t.Helper()
	return proctest.Call(t, daemon, append([]string{"pidfile=" + pidfile}, args...)...)
}

// linesOf is how many whole lines the program has written that are exactly this one.
func linesOf(p *proctest.Process, line string) (n int) {
	for l := range strings.Lines(p.Out.String()) {
		if l == line+"\n" {
			n++
		}
	}
	return n
}

// requireLives requires that nothing has reached the daemon: it still does what it is told.
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

// Row C9.
func TestWhoDoesNotHoldTheFileAnyMoreIsNotHeldOnTo(t *testing.T) {
	t.Parallel()
	bystander, _ := startDaemon(t)
	p, path := startDaemon(t)
	requireUntouched := untouched(t, path)
	for _, h := range []holder{
		{Held: true, Daemon: true, Known: true, PID: bystander.PID()}, // another holds it by now
		{Held: true, Daemon: true, Known: true, PID: 1<<31 - 1},       // it has ended
	} {
		_, err := hold(path, h)
		require.ErrorIs(t, err, os.ErrProcessDone)
	}
	_, err := hold(proctest.PIDPath(t), holder{Held: true, Daemon: true, Known: true, PID: p.PID()}) // nobody holds it by now
	require.ErrorIs(t, err, os.ErrProcessDone)
	requireUntouched()
	requireLives(t, bystander)
}

func openForReading(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// verbless calls Main with no verb at all.
var verbless = proctest.Register("verbless", func([]string) int {
	return Main(nil, nil, Name("verbless"), PIDFile(""), OnStart(func(context.Context) error {
		fmt.Println("started")
		return nil
	}))
})
