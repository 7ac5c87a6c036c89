package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/filelock"
	"example.com/lifecycle/internal/sys/safefile"
)

// holding is a process that holds a PID file but is not a complete daemon:
//
//	plain     holds it as a daemon does, and handles no signals
//	deaf      the same, and ignores TERM
//	leaving   the same as plain, and leaves its descriptor to a program that it starts
//	late:PATH writes its PID only when that file exists
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

// Row C1.
func TestAnEmptyUnlockedFileMeansNoDaemon(t *testing.T) {
	t.Parallel()
	path := proctest.PIDFileWith(t, "")
	requireUntouched := proctest.Untouched(t, path)
	require.Equal(t, proctest.Result{Stdout: notRunning(path), Code: 3}, callVerb(t, path, "status"))
	require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "stop"))
	requireUntouched()

	p := proctest.Start(t, daemon, "pidfile="+path)
	p.Await("msg=ready")
	proctest.RequireText(t, path, fmt.Sprintln(p.PID()))
}

// Row C2.
func TestAHolderWithoutAPIDIsUnknown(t *testing.T) {
	t.Parallel()
	path := proctest.PIDPath(t)
	p := proctest.Start(t, holding, "late:"+filepath.Join(t.TempDir(), "never"), path)
	p.Await("locked it")
	requireUntouched := proctest.Untouched(t, path)
	each(t, map[string]proctest.Result{
		"status": {Stdout: "daemon: unknown: PID file " + path + ": held by a process that has not written its PID\n", Code: 4},
		"stop":   {Stderr: "daemon: stop: PID file " + path + ": held by a process that has not written its PID\n", Code: 1},
		"reload": {Stderr: "daemon: reload: PID file " + path + ": held by a process that has not written its PID\n", Code: 1},
	}, path)
	requireUntouched()
	p.Signal(syscall.SIGTERM)
	require.Equal(t, -1, p.Wait(), "the process was alive until now")
}

// The test has a bystander process. A lenient reader would find its PID in the file.
// Rows C3, C5.
func TestAnInvalidPIDIsNeverSignalled(t *testing.T) {
	t.Parallel()
	bystander, _ := startDaemon(t)
	pid := bystander.PID()
	contents := []string{"0\n", "-1\n"}
	for _, format := range []string{"-%d\n", "+%d\n", "0%d\n", " %d\n"} {
		contents = append(contents, fmt.Sprintf(format, pid))
	}
	contents = append(contents, strconv.FormatInt(1<<32+int64(pid), 10)+"\n")
	for _, text := range contents {
		path := proctest.PIDFileWith(t, text)
		requireUntouched := proctest.Untouched(t, path)
		require.Equal(t, proctest.Result{Stdout: notRunning(path), Code: 3}, callVerb(t, path, "status"), "%q", text)
		require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "stop"), "%q", text)
		require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "reload"), "%q", text)
		requireUntouched()
	}
	requireLives(t, bystander)
}

// Row C3.
func TestTheNumberInAFileThatAnotherProgramLocksIsIgnored(t *testing.T) {
	t.Parallel()
	bystander, _ := startDaemon(t)
	path := proctest.PIDFileWith(t, fmt.Sprintln(bystander.PID()))
	held(t, path)
	if _, blind := mustState(t, path); blind {
		t.Skip("this system does not show marks: the number decides")
	}
	requireUntouched := proctest.Untouched(t, path)
	// The text names the holder if the system reports it.
	foreign := mustLook(t, path).Unidentified(path).Error() + "\n"
	require.Contains(t, foreign, "locked by another program")
	each(t, map[string]proctest.Result{
		"status": {Stdout: "daemon: unknown: PID file " + path + ": " + foreign, Code: 4},
		"stop":   {Stderr: "daemon: stop: PID file " + path + ": " + foreign, Code: 1},
		"reload": {Stderr: "daemon: reload: PID file " + path + ": " + foreign, Code: 1},
	}, path)
	requireRefused(t, 1, "start failed: PID file "+path+": "+foreign, path)
	requireUntouched()
	requireLives(t, bystander)
}

// Row C4.
func TestAFileWithTheNumberOneIsStale(t *testing.T) {
	t.Parallel()
	path := proctest.PIDFileWith(t, "1\n")
	requireUntouched := proctest.Untouched(t, path)
	require.Equal(t, proctest.Result{Stdout: "daemon: dead: pid 1 left " + path + "\n", Code: 1}, callVerb(t, path, "status"))
	require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "stop"))
	require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "reload"))
	requireUntouched()

	var stale *lifecycle.NotRunningError
	_, err := lifecycle.Find(path)
	require.ErrorAs(t, err, &stale)
	require.Equal(t, &lifecycle.NotRunningError{PIDFile: path, Stale: true, PID: 1}, stale)
	require.ErrorIs(t, err, lifecycle.ErrNotRunning)
	require.EqualError(t, err, "lifecycle: not running: pid 1 died and left "+path)
}

// Row C8.
func TestTheNumberInAnUnlockedFileIsIgnoredEvenIfThatProcessLives(t *testing.T) {
	t.Parallel()
	bystander, _ := startDaemon(t)
	path := proctest.PIDFileWith(t, fmt.Sprintln(bystander.PID()))
	requireUntouched := proctest.Untouched(t, path)
	dead := fmt.Sprintf("daemon: dead: pid %d left %s\n", bystander.PID(), path)
	require.Equal(t, proctest.Result{Stdout: dead, Code: 1}, callVerb(t, path, "status"))
	require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "stop"))
	require.Equal(t, proctest.Result{Stderr: notRunning(path), Code: 7}, callVerb(t, path, "reload"))
	requireUntouched()

	p := proctest.Start(t, daemon, "pidfile="+path)
	p.Await("msg=ready")
	proctest.RequireText(t, path, fmt.Sprintln(p.PID()))
	requireLives(t, bystander)
}

// Row C9.
func TestASignalGoesOnlyToTheHolderOfTheFile(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	found, err := lifecycle.Find(path)
	require.NoError(t, err)
	defer found.Close()
	require.Equal(t, p.PID(), found.PID)
	require.NoError(t, found.Signal(syscall.SIGUSR2))
	p.Await("OnSignal done")

	require.NoError(t, os.Rename(path, path+".moved"))
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), lifecycle.ErrNotRunning, "the path names no process")
	require.NoError(t, os.WriteFile(path, fmt.Appendln(nil, p.PID()), 0o644))
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), lifecycle.ErrNotRunning, "the path names a file that no process holds")
	require.NoError(t, os.Rename(path+".moved", path))
	require.NoError(t, found.Signal(syscall.SIGTERM))
	require.NoError(t, found.Wait(t.Context()))
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), lifecycle.ErrNotRunning)
	require.NoError(t, found.Stop(t.Context()), "the process is gone, as requested")
	require.NoError(t, found.Kill(t.Context()))
	require.Equal(t, 0, p.Wait())
}

// Row C9.
func TestAClosedProcessReturnsErrClosed(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	found, err := lifecycle.Find(path)
	require.NoError(t, err)
	require.NoError(t, found.Close())
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), os.ErrClosed)
	require.ErrorIs(t, found.Wait(t.Context()), os.ErrClosed)
	require.ErrorIs(t, found.Stop(t.Context()), os.ErrClosed)
	require.ErrorIs(t, found.Close(), os.ErrClosed)
	requireLives(t, p)
}

func TestFindAcceptsARelativePathAndKeepsIt(t *testing.T) {
	p, path := startDaemon(t)
	t.Chdir(filepath.Dir(filepath.Dir(path)))
	found, err := lifecycle.Find(filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path)))
	require.NoError(t, err)
	defer found.Close()
	require.Equal(t, p.PID(), found.PID)
	t.Chdir(t.TempDir())
	require.NoError(t, found.Stop(t.Context()))
	require.Equal(t, 0, p.Wait())
}

// requireFree requires that no process holds the file. The file may have been removed.
func requireFree(t *testing.T, f *os.File) {
	t.Helper()
	state, err := filelock.Inspect(f)
	require.NoError(t, err)
	require.False(t, state.Held)
}

// each runs several verbs at the same time.
func each(t *testing.T, want map[string]proctest.Result, pidfile string) {
	t.Helper()
	called := map[string]*proctest.Process{}
	outputs := map[string][2]*proctest.Lines{}
	for name := range want {
		cmd := proctest.Command(daemon, "pidfile="+pidfile, name)
		out := [2]*proctest.Lines{{}, {}}
		cmd.Stdout, cmd.Stderr = out[0], out[1]
		called[name], outputs[name] = proctest.Launch(t, cmd), out
	}
	for name, p := range called {
		code := p.Wait()
		require.Equal(t, want[name], proctest.Result{Stdout: outputs[name][0].String(), Stderr: outputs[name][1].String(), Code: code}, name)
	}
}
