package e2e

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/filelock"
)

// holder is an alias because many tests have variables named pidfile.
type holder = pidfile.Holder

func mustLook(t *testing.T, path string) holder {
	t.Helper()
	h, err := pidfile.Inspect(path)
	require.NoError(t, err)
	return h
}

func TestAPIDFileThatEveryUserCanWriteIsNotRead(t *testing.T) {
	path := proctest.PIDFileWith(t, "1\n")
	require.NoError(t, os.Chmod(path, 0o646))
	_, err := lifecycle.Find(path)
	require.ErrorIs(t, err, lifecycle.ErrUnsafePIDFile)
	require.ErrorContains(t, err, path)
}

// Two processes inspect a stale file and a missing file as fast as they can.
func TestAnInspectionNeverMakesAStartFail(t *testing.T) {
	t.Parallel()
	path := proctest.PIDPath(t)
	over := make(chan struct{})
	done := make(chan error, 2)
	for range cap(done) {
		go func() {
			for {
				select {
				case <-over:
					done <- nil
					return
				default:
				}
				if _, err := pidfile.Inspect(path); err != nil {
					done <- err
					return
				}
				runtime.Gosched()
			}
		}()
	}
	for round := range 6 {
		p := proctest.Start(t, daemon, "pidfile="+path)
		p.Await("msg=ready")
		if round%2 == 0 {
			p.Signal(syscall.SIGKILL) // leaves the file to the next daemon
			require.Equal(t, -1, p.Wait())
			continue
		}
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait())
	}
	close(over)
	for range cap(done) {
		require.NoError(t, <-done)
	}
}

// lookingDaemon inspects its own PID file while it lives. It must keep its owner lock.
var lookingDaemon = proctest.Register("looking daemon", func(args []string) int {
	path := args[0]
	err := lifecycle.Run(func(ctx context.Context) error {
		h, err := pidfile.Inspect(path)
		fmt.Println("looked:", h.PID == os.Getpid() && h.Known && err == nil)
		if found, err := lifecycle.Find(path); err == nil {
			fmt.Println("found:", found.PID == os.Getpid())
			found.Close()
		}
		<-ctx.Done()
		return ctx.Err()
	}, lifecycle.Name("looking daemon"), lifecycle.PIDFile(path))
	return lifecycle.ExitCode(err)
})

func TestInspectingItsOwnPIDFileKeepsTheOwnerLock(t *testing.T) {
	t.Parallel()
	path := proctest.PIDPath(t)
	p := proctest.Start(t, lookingDaemon, path)
	p.Await("looked: true")
	p.Await("found: true")
	require.Equal(t, holder{Held: true, Daemon: true, Known: true, PID: p.PID(), Number: p.PID(), Owner: os.Geteuid()},
		mustLook(t, path))
	if state, blind := mustState(t, path); !blind {
		require.Equal(t, filelock.State{Held: true, Present: true, Owned: true, PID: p.PID()}, state)
	}
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
}

// searchingDaemon inspects its PID file in another goroutine, from before its start to after its
// end.
var searchingDaemon = proctest.Register("searching daemon", func(args []string) int {
	path := args[0]
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-over:
				return
			default:
			}
			if h, err := pidfile.Inspect(path); err != nil || h.Held && h.Known && h.PID != os.Getpid() {
				fmt.Println("a wrong answer:", h, err)
			}
		}
	}()
	err := lifecycle.Run(nil, lifecycle.Name("searching daemon"), lifecycle.PIDFile(path))
	close(over)
	<-done
	return lifecycle.ExitCode(err)
})

func TestAnInspectionDuringAStartIsSafe(t *testing.T) {
	t.Parallel()
	for range 3 {
		path := proctest.PIDPath(t)
		p := proctest.Start(t, searchingDaemon, path)
		p.Await("ready pid=")
		if state, blind := mustState(t, path); !blind {
			require.Equal(t, filelock.State{Held: true, Present: true, Owned: true, PID: p.PID()}, state)
		}
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait(), "%s", p.Out)
		require.Zero(t, p.Out.Count("a wrong answer"), "%s", p.Out)
	}
}

// held locks the file at path until the end of the test, as a program without this library does.
func held(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	require.NoError(t, filelock.TryLock(f))
	return f
}
