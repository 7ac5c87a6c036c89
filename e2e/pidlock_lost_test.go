package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/proctest"
)

// Row A10.
func TestADaemonReportsOnceThatItsPIDFileWasReplacedAndDoesNotTouchTheOther(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	other := filepath.Join(filepath.Dir(pidfile), "other")
	require.NoError(t, os.WriteFile(other, []byte("1\n"), 0o640))
	require.NoError(t, os.Rename(other, pidfile))
	for n := range 3 {
		p.Signal(syscall.SIGHUP)
		p.Await("msg=reloaded", n+1)
	}
	require.Equal(t, 1, p.Out.Count(lostWarning))
	require.Zero(t, p.Out.Count("msg=stopping"), "the daemon continues")
	state, err := readStatus(proctest.StatePath(pidfile))
	require.NoError(t, err)
	require.True(t, state.PIDFileLost)
	status := callVerb(t, pidfile, "status")
	require.Equal(t, 1, status.Code)
	require.Contains(t, status.Stdout, fmt.Sprintf("\n  pid %d may still run: its PID file was deleted or replaced", p.PID()))

	require.NoError(t, os.Remove(proctest.StatePath(pidfile)))
	requireUntouched := proctest.Untouched(t, pidfile)
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	require.Equal(t, 1, p.Out.Count(lostWarning))
	requireUntouched()
}

// The daemon still holds its state file.
func TestASecondStartIsRefusedAfterThePIDFileWasDeleted(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	if runtime.GOOS == "linux" {
		for _, content := range []string{"", "1\n"} {
			require.NoError(t, os.Remove(pidfile))
			if content != "" {
				require.NoError(t, os.WriteFile(pidfile, []byte(content), 0o644))
			}
			for _, verb := range []string{"run", "start"} {
				got := callVerb(t, pidfile, verb)
				require.Equal(t, 1, got.Code)
				require.Contains(t, got.Stderr, fmt.Sprintf("already running (pid %d), but its PID file %s was deleted or replaced: end that process first", p.PID(), pidfile))
			}
			text, err := os.ReadFile(pidfile)
			require.Equal(t, content, string(text))
			require.Equal(t, content == "", err != nil)
			proctest.Touch(t, pidfile)
		}
	}
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	next := proctest.Start(t, daemon, "pidfile="+pidfile)
	next.Await("msg=ready")
	next.Signal(syscall.SIGTERM)
	require.Equal(t, 0, next.Wait())
	requireNothingLeft(t, pidfile)
}

// If the state file is deleted too, the second start succeeds, because a lock on a deleted file
// cannot refuse it. The first daemon reports that.
// Row A11.
func TestADaemonReportsThatItsPIDFileWasDeletedAndDoesNotTouchTheNextOne(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"at its next signal", "at its end"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			p, pidfile := startDaemon(t)
			require.NoError(t, os.Remove(pidfile))
			require.NoError(t, os.Remove(proctest.StatePath(pidfile)))
			next := proctest.Start(t, daemon, "pidfile="+pidfile)
			next.Await("msg=ready")
			if when == "at its next signal" {
				p.Signal(syscall.SIGUSR2)
				p.Await(lostWarning)
			}
			p.Signal(syscall.SIGTERM)
			require.Equal(t, 0, p.Wait())
			require.Equal(t, 1, p.Out.Count(lostWarning))

			requireRunning(t, pidfile, next.PID())
			next.Signal(syscall.SIGTERM)
			require.Equal(t, 0, next.Wait())
			require.Zero(t, next.Out.Count(lostWarning))
			requireNothingLeft(t, pidfile)
		})
	}
}

// Row A12.
func TestAHardLinkIsRefused(t *testing.T) {
	t.Parallel()
	t.Run("of a stale file", func(t *testing.T) {
		pidfile := proctest.PIDFileWith(t, "12345\n")
		link := filepath.Join(filepath.Dir(pidfile), "link.pid")
		require.NoError(t, os.Link(pidfile, link))
		requireUnsafe(t, pidfile, "it has 2 hard links")
		requireUnsafe(t, link, "it has 2 hard links")
		require.NoError(t, os.Remove(link))
		requireStarts(t, pidfile)
	})
	t.Run("of a file in use", func(t *testing.T) {
		p, pidfile := startDaemon(t)
		link := filepath.Join(filepath.Dir(pidfile), "link.pid")
		require.NoError(t, os.Link(pidfile, link))
		requireUnsafe(t, pidfile, "it has 2 hard links")
		requireUnsafe(t, link, "it has 2 hard links")
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait())
		require.NoFileExists(t, pidfile)
		proctest.RequireText(t, link, "")
	})
}

// Row A15.
func TestASecondDaemonOnThePIDFileIsRefusedWithThePIDOfTheFirst(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t, "name=alpha")
	got := callVerb(t, pidfile, "name=beta", "run")
	require.Equal(t, proctest.Result{Stderr: fmt.Sprintf("beta: already running (pid %d)\n", p.PID()), Code: 1}, got)
	proctest.RequireText(t, pidfile, fmt.Sprintln(p.PID()))
}

// requireUnsafe requires that every verb refuses the file at pidfile and changes nothing.
func requireUnsafe(t *testing.T, pidfile, why string) {
	t.Helper()
	before, err := os.Lstat(pidfile)
	require.NoError(t, err)
	for verb, code := range map[string]int{"run": 1, "status": 4, "stop": 1, "reload": 1} {
		got := callVerb(t, pidfile, verb)
		require.Equal(t, code, got.Code, verb)
		require.Contains(t, got.Stdout+got.Stderr, fmt.Sprintf("unsafe PID file %s: %s", pidfile, why), verb)
		require.Equal(t, 1, strings.Count(got.Stdout+got.Stderr, "\n"), "the verb says and does nothing else")
	}
	after, err := os.Lstat(pidfile)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	require.Equal(t, before.ModTime(), after.ModTime())
	require.Equal(t, before.Mode(), after.Mode())
}

func TestALockOfAnotherProgramIsNotReportedAsADaemon(t *testing.T) {
	proctest.Needs(t, "linux") // elsewhere nothing distinguishes the two locks
	t.Parallel()
	pidfile := proctest.PIDFileWith(t, fmt.Sprintln(os.Getpid()))
	requireUntouched := proctest.Untouched(t, pidfile)
	foreign := held(t, pidfile)
	requireRefused(t, 1, "start failed: PID file "+pidfile+": locked by another program", pidfile)
	status := callVerb(t, pidfile, "status")
	require.Equal(t, 4, status.Code)
	require.Contains(t, status.Stdout, "locked by another program")
	require.Equal(t, 1, callVerb(t, pidfile, "stop").Code, "no process is signalled")
	requireUntouched()
	require.NoError(t, foreign.Close())
	requireStarts(t, pidfile)
}

func TestASharedLockOfAnotherProgramPreventsAStart(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDFileWith(t, "12345\n")
	requireUntouched := proctest.Untouched(t, pidfile)
	f := openForReading(t, pidfile)
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_SH))
	requireRefused(t, 1, "locked by another program", pidfile)
	require.Equal(t, proctest.Result{Stdout: fmt.Sprintf("daemon: dead: pid 12345 left %s\n", pidfile), Code: 1}, callVerb(t, pidfile, "status"))
	requireUntouched()
}

// An application that reads its own PID file loses the owner lock; see package filelock.
func TestADaemonThatReadItsOwnPIDFileIsFoundByTheNumber(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	p := proctest.Start(t, daemon, "pidfile="+pidfile, "usr2=cat:"+pidfile)
	p.Await("msg=ready")
	p.Signal(syscall.SIGUSR2)
	p.Await(fmt.Sprintf("OnSignal says: %d", p.PID()))
	p.Await("OnSignal done")

	found, err := lifecycle.Find(pidfile)
	require.NoError(t, err)
	require.Equal(t, p.PID(), found.PID)
	require.NoError(t, found.Close())
	requireRunning(t, pidfile, p.PID())
	requireRefused(t, 1, alreadyRunning(p.PID()), pidfile)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	require.Equal(t, 0, p.Wait())
}

// Rows E1, E2.
func TestAChildThatOutlivesTheDaemonDoesNotKeepTheLock(t *testing.T) {
	t.Parallel()
	p, child, pidfile := startForker(t)
	p.Signal(syscall.SIGKILL)
	p.Wait()
	require.NoError(t, child.Signal(syscall.Signal(0)), "the daemon lives")
	require.Equal(t, 1, callVerb(t, pidfile, "status").Code, "the daemon is dead, and its PID file remains")
	requireStarts(t, pidfile)
	require.NoError(t, child.Signal(syscall.Signal(0)), "the daemon still lives")
}

// takePIDFile acquires the PID file as a daemon does, without the state file.
func takePIDFile(path string) (*pidfile.Lock, error) {
	lock, err := pidfile.Acquire(path, 0o644)
	if err != nil {
		return nil, err
	}
	if err := lock.WritePID(); err != nil {
		_, _ = lock.Release()
		return nil, err
	}
	return lock, nil
}

func startForker(t *testing.T) (p *proctest.Process, child *os.Process, pidfile string) {
	t.Helper()
	proctest.Use(idle)
	pidfile = proctest.PIDPath(t)
	p = proctest.Start(t, forker, pidfile)
	p.Await("ready pid=")
	_, text, _ := strings.Cut(p.Out.String(), "child: ")
	var pid int
	_, err := fmt.Sscan(text, &pid)
	require.NoError(t, err)
	child, err = os.FindProcess(pid)
	require.NoError(t, err)
	t.Cleanup(func() { child.Kill() })
	return p, child, pidfile
}

// forker starts a child in OnStart that outlives it.
var forker = proctest.Register("forker", func(args []string) int {
	return lifecycle.ExitCode(lifecycle.Run(nil, lifecycle.PIDFile(args[0]), lifecycle.OnStart(func(context.Context) error {
		child := proctest.Command(idle)
		err := child.Start()
		fmt.Println("child:", child.Process.Pid)
		return err
	})))
})
