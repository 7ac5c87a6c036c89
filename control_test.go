package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/filelock"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/safefile"
)

// holding is a process that holds a PID file and is no whole daemon:
//
//	plain     holds it as a daemon does, and knows no signals
//	deaf      the same, and ignores TERM
//	leaving   the same as plain, and leaves its descriptor to a program that it starts
//	late:PATH says who it is only when that file exists
var holding = proctest.Register("holding", func(args []string) int {
	how, path := args[0], args[1]
	do, gate, _ := strings.Cut(how, ":")
	var f *os.File
	var err error
	if do == "late" {
		f, err = lockLate(path, gate)
	} else {
		var lock *pidfile.Lock
		if lock, err = takePIDFile(path); err == nil {
			f = lock.File()
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	switch do {
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	case "leaving":
		heir := proctest.Command(idle)
		heir.ExtraFiles = []*os.File{f}
		if err := heir.Start(); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("heir:", heir.Process.Pid)
	}
	fmt.Println("holds it")
	select {}
})

func lockLate(path, gate string) (*os.File, error) {
	f, _, err := safefile.Create(path, 0o644)
	if err != nil {
		return nil, err
	}
	if err := filelock.TryLock(f); err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(0), filelock.LockPresence(f)); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, err
	}
	fmt.Println("locked it")
	if err := behave("late", "until:"+gate)(context.Background()); err != nil {
		return nil, err
	}
	_ = filelock.LockOwnership(f)
	return f, safefile.WriteOnce(f, fmt.Appendln(nil, os.Getpid()))
}

// idle is a process that does nothing and dies of every signal.
var idle = proctest.Register("idle", func([]string) int { select {} })

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
