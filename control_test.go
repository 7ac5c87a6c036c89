package lifecycle

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

	"example.com/lifecycle/internal/filelock"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/safefile"
)

// holding is a process that holds a PID file and is no whole daemon:
//
//	plain     holds it as a daemon does, and knows no signals
//	deaf      the same, and ignores TERM
//	leaving   the same as plain, and leaves its descriptor to a program that it starts
//	late:PATH says who it is only when that file exists
var holding = registerProgram("holding", func(args []string) int {
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
		heir := command(idle)
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
var idle = registerProgram("idle", func([]string) int { select {} })

// callVerb calls a verb of the program daemon.
func callVerb(t *testing.T, pidfile string, args ...string) result {
	t.Helper()
	return callProgram(t, daemon, append([]string{"pidfile=" + pidfile}, args...)...)
}

func touch(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, nil, 0o644))
}

// linesOf is how many whole lines the program has written that are exactly this one.
func linesOf(p *process, line string) (n int) {
	for l := range strings.Lines(p.out.String()) {
		if l == line+"\n" {
			n++
		}
	}
	return n
}

// requireLives requires that nothing has reached the daemon: it still does what it is told.
func requireLives(t *testing.T, p *process) {
	t.Helper()
	require.Zero(t, p.out.count("msg=stopping"), "%s", p.out)
	require.Zero(t, linesOf(p, "OnReload"), "%s", p.out)
	p.signal(syscall.SIGHUP)
	p.await("msg=reloaded")
	require.Equal(t, 1, linesOf(p, "OnReload"))
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
}

func notRunning(pidfile string) string { return "daemon: not running (nobody holds " + pidfile + ")\n" }

// Row C1.
func TestAnEmptyFileThatNobodyHoldsIsNoDaemon(t *testing.T) {
	t.Parallel()
	path := pidFileWith(t, "")
	requireUntouched := untouched(t, path)
	require.Equal(t, result{notRunning(path), "", 3}, callVerb(t, path, "status"))
	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "stop"))
	requireUntouched()

	p := start(t, daemon, "pidfile="+path)
	p.await("msg=ready")
	requireText(t, path, fmt.Sprintln(p.pid()))
}

func requireText(t *testing.T, path, want string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(text))
}

// Row C2.
func TestAHolderThatNeverWritesItsPIDIsUnknown(t *testing.T) {
	t.Parallel()
	path := pidPath(t)
	p := start(t, holding, "late:"+filepath.Join(t.TempDir(), "never"), path)
	p.await("locked it")
	requireUntouched := untouched(t, path)
	each(t, map[string]result{
		"status": {"daemon: unknown: PID file " + path + ": held by a process that has not written its PID\n", "", 4},
		"stop":   {"", "daemon: stop: PID file " + path + ": held by a process that has not written its PID\n", 1},
		"reload": {"", "daemon: reload: PID file " + path + ": held by a process that has not written its PID\n", 1},
	}, path)
	requireUntouched()
	p.signal(syscall.SIGTERM)
	require.Equal(t, -1, p.wait(), "it lived until now")
}

// each calls several verbs at the same time.
func each(t *testing.T, want map[string]result, pidfile string) {
	t.Helper()
	called := map[string]*process{}
	outputs := map[string][2]*lines{}
	for name := range want {
		cmd := command(daemon, "pidfile="+pidfile, name)
		out := [2]*lines{{}, {}}
		cmd.Stdout, cmd.Stderr = out[0], out[1]
		called[name], outputs[name] = launch(t, cmd), out
	}
	for name, p := range called {
		code := p.wait()
		require.Equal(t, want[name], result{outputs[name][0].String(), outputs[name][1].String(), code}, name)
	}
}

// The test has a bystander whose PID a lenient reader would find in the file.
// Rows C3, C5.
func TestWhatIsNoPIDIsNeverSignalled(t *testing.T) {
	t.Parallel()
	bystander, _ := startDaemon(t)
	pid := bystander.pid()
	contents := []string{"0\n", "-1\n"}
	for _, format := range []string{"-%d\n", "+%d\n", "0%d\n", " %d\n", "%dabc\n", "%d\n13", "%d\x00", "%d.0\n", "0x%x\n"} {
		contents = append(contents, fmt.Sprintf(format, pid))
	}
	contents = append(contents, strconv.FormatInt(1<<32+int64(pid), 10)+"\n")
	for _, text := range contents {
		path := pidFileWith(t, text)
		requireUntouched := untouched(t, path)
		require.Equal(t, result{notRunning(path), "", 3}, callVerb(t, path, "status"), "%q", text)
		require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "stop"), "%q", text)
		require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "reload"), "%q", text)
		requireUntouched()
	}
	requireLives(t, bystander)
}

// Row C3.
func TestAFileThatAStrangerLocksNamesNobodyWhateverItSays(t *testing.T) {
	t.Parallel()
	bystander, _ := startDaemon(t)
	path := pidFileWith(t, fmt.Sprintln(bystander.pid()))
	held(t, path)
	if _, blind := mustState(t, path); blind {
		t.Skip("marks cannot be seen on this system, so the number decides")
	}
	requireUntouched := untouched(t, path)
	foreign := mustLook(t, path).Unidentified(path).Error() + "\n" // it says who it is where the system tells
	require.Contains(t, foreign, "locked by another program")
	each(t, map[string]result{
		"status": {"daemon: unknown: PID file " + path + ": " + foreign, "", 4},
		"stop":   {"", "daemon: stop: PID file " + path + ": " + foreign, 1},
		"reload": {"", "daemon: reload: PID file " + path + ": " + foreign, 1},
		"run":    {"", "daemon: start failed: PID file " + path + ": " + foreign, 1},
	}, path)
	requireUntouched()
	requireLives(t, bystander)
}

// Row C4.
func TestAFileThatSaysOneIsStale(t *testing.T) {
	t.Parallel()
	path := pidFileWith(t, "1\n")
	requireUntouched := untouched(t, path)
	require.Equal(t, result{"daemon: dead: pid 1 left " + path + "\n", "", 1}, callVerb(t, path, "status"))
	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "stop"))
	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "reload"))
	requireUntouched()

	var stale *NotRunningError
	_, err := Find(path)
	require.ErrorAs(t, err, &stale)
	require.Equal(t, &NotRunningError{PIDFile: path, Stale: true, PID: 1}, stale)
	require.ErrorIs(t, err, ErrNotRunning)
	require.EqualError(t, err, "lifecycle: not running: pid 1 is dead and has left "+path)
}

// Row C8.
func TestAFileThatNobodyHoldsNamesNobodyEvenIfThatPIDLives(t *testing.T) {
	t.Parallel()
	bystander, _ := startDaemon(t)
	path := pidFileWith(t, fmt.Sprintln(bystander.pid()))
	requireUntouched := untouched(t, path)
	dead := fmt.Sprintf("daemon: dead: pid %d left %s\n", bystander.pid(), path)
	require.Equal(t, result{dead, "", 1}, callVerb(t, path, "status"))
	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "stop"))
	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "reload"))
	requireUntouched()

	p := start(t, daemon, "pidfile="+path)
	p.await("msg=ready")
	requireText(t, path, fmt.Sprintln(p.pid()))
	requireLives(t, bystander)
}

// Row C9.
func TestWhoDoesNotHoldTheFileAnyMoreIsNotHeldOnTo(t *testing.T) {
	t.Parallel()
	bystander, _ := startDaemon(t)
	p, path := startDaemon(t)
	requireUntouched := untouched(t, path)
	for _, h := range []holder{
		{Held: true, Daemon: true, Known: true, PID: bystander.pid()}, // another holds it by now
		{Held: true, Daemon: true, Known: true, PID: 1<<31 - 1},       // it has ended
	} {
		_, err := hold(path, h)
		require.ErrorIs(t, err, os.ErrProcessDone)
	}
	_, err := hold(pidPath(t), holder{Held: true, Daemon: true, Known: true, PID: p.pid()}) // nobody holds it by now
	require.ErrorIs(t, err, os.ErrProcessDone)
	requireUntouched()
	requireLives(t, bystander)
}

// Row C9.
func TestASignalGoesOnlyToWhoStillHoldsTheFile(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	found, err := Find(path)
	require.NoError(t, err)
	defer found.Close()
	require.Equal(t, p.pid(), found.PID)
	require.NoError(t, found.Signal(syscall.SIGUSR2))
	p.await("OnSignal done")

	require.NoError(t, os.Rename(path, path+".moved"))
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), ErrNotRunning, "the path names nobody")
	require.NoError(t, os.WriteFile(path, fmt.Appendln(nil, p.pid()), 0o644))
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), ErrNotRunning, "the path names a file that nobody holds")
	require.NoError(t, os.Rename(path+".moved", path))
	require.NoError(t, found.Signal(syscall.SIGTERM))
	require.NoError(t, found.Wait(t.Context()))
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), ErrNotRunning)
	require.NoError(t, found.Stop(t.Context()), "it is gone, and that was wanted")
	require.NoError(t, found.Kill(t.Context()))
	require.Equal(t, 0, p.wait())
}

// Row C9.
func TestAClosedProcessAnswersErrClosed(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	found, err := Find(path)
	require.NoError(t, err)
	require.NoError(t, found.Close())
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), os.ErrClosed)
	require.ErrorIs(t, found.Wait(t.Context()), os.ErrClosed)
	require.ErrorIs(t, found.Stop(t.Context()), os.ErrClosed)
	require.ErrorIs(t, found.Close(), os.ErrClosed)
	requireLives(t, p)
}

func TestFindTakesARelativePathAndKeepsIt(t *testing.T) {
	p, path := startDaemon(t)
	t.Chdir(filepath.Dir(filepath.Dir(path)))
	found, err := Find(filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path)))
	require.NoError(t, err)
	defer found.Close()
	require.Equal(t, p.pid(), found.PID)
	t.Chdir(t.TempDir())
	require.NoError(t, found.Stop(t.Context()))
	require.Equal(t, 0, p.wait())
}

// selfishDaemon is the program daemon, which first writes a number into its PID file: what a restarted container finds there.
var selfishDaemon = registerProgram("selfish daemon", func(args []string) int {
	pid := map[string]int{"own": os.Getpid(), "parent": os.Getppid()}[args[0]]
	if err := os.WriteFile(args[1], fmt.Appendln(nil, pid), 0o644); err != nil {
		fmt.Println(err)
		return 1
	}
	return programs[daemon](append([]string{"pidfile=" + args[1]}, args[2:]...))
})

// Row C11.
func TestOurOwnOrOurParentsPIDInAStaleFileIsStale(t *testing.T) {
	t.Parallel()
	for _, whose := range []string{"own", "parent"} {
		path := pidPath(t)
		status := start(t, selfishDaemon, whose, path, "status")
		require.Equal(t, 1, status.wait())
		pid := map[string]int{"own": status.pid(), "parent": os.Getpid()}[whose]
		require.Equal(t, fmt.Sprintf("daemon: dead: pid %d left %s\n", pid, path), status.out.String())
		for _, name := range []string{"stop", "reload"} {
			require.Equal(t, result{"", notRunning(path), 7}, callProgram(t, selfishDaemon, whose, path, name), whose)
			require.FileExists(t, path)
		}
		p := start(t, selfishDaemon, whose, path)
		p.await("msg=ready")
		requireText(t, path, fmt.Sprintln(p.pid()))
		p.signal(syscall.SIGTERM)
		require.Equal(t, 0, p.wait())
		require.NoFileExists(t, path)
	}
}

// Rows C12, C14.
func TestWhatNeedsADaemonSaysThatNoneIsRunning(t *testing.T) {
	t.Parallel()
	path := pidPath(t)
	requireUntouched := untouched(t, path)
	require.Equal(t, result{notRunning(path), "", 3}, callVerb(t, path, "status"))
	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "stop"))
	require.Equal(t, result{"", notRunning(path), 0}, callVerb(t, path, "stop", "--oknodo"))
	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "reload"))
	requireUntouched()

	missing := filepath.Join(filepath.Dir(path), "no", "such", "directory", "x.pid")
	require.Equal(t, result{notRunning(missing), "", 3}, callVerb(t, missing, "status"))
	require.Equal(t, result{"", notRunning(missing), 7}, callVerb(t, missing, "stop"))
	requireUntouched()
}

// Row C12.
func TestThereIsNoOtherProcessToFindWithoutAPIDFile(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"stop", "reload", "status"} {
		got := callVerb(t, "", name)
		require.NotZero(t, got.code, name)
		require.Contains(t, got.stdout+got.stderr, "there is no PID file", name)
	}
	_, err := Find("")
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

// Row C13.
func TestASecondStartIsRefusedAndSaysByWhom(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	requireUntouched := untouched(t, path)
	again := callVerb(t, path, "run")
	require.Equal(t, result{"", fmt.Sprintf("daemon: already running (pid %d)\n", p.pid()), 1}, again, "nothing was started")
	requireUntouched()
	requireLives(t, p)
}

// Row C19.
func TestAFailedReloadKeepsWhatWas(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"check=error", "reload=error", "reload=panic"} {
		p, path := startDaemon(t, how)
		got := callVerb(t, path, "reload")
		require.Equal(t, 1, got.code)
		require.Contains(t, got.stderr, "daemon: reload rejected, old configuration kept: ")
		require.Contains(t, got.stderr, "on purpose\n")
		p.await(`level=ERROR msg="reload rejected, old configuration kept"`)
		require.Equal(t, 0, callVerb(t, path, "status").code)
		require.Equal(t, 0, callVerb(t, path, "stop").code)
		require.Equal(t, 0, p.wait())
	}
}

// Row C17.
func TestADaemonThatIsStoppedByACtrlZIsStopped(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	p.signal(syscall.SIGSTOP)
	stopped := callVerb(t, path, "stop")
	require.Equal(t, 0, stopped.code, stopped.stderr)
	require.Contains(t, stopped.stderr, fmt.Sprintf("daemon: stopped (pid %d, ", p.pid()))
	require.Equal(t, 0, p.wait())
	require.Equal(t, 1, linesOf(p, "OnExit done"))
}

// Row C17.
func TestAnOnStopThatHangsIsLeftBehindByTheDaemonItself(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t, "stop=hang", "stoptimeout=200ms")
	stopped := callVerb(t, path, "stop", "stoptimeout=200ms")
	require.Equal(t, 0, stopped.code)
	require.Contains(t, stopped.stderr, fmt.Sprintf("daemon: stopped (pid %d, ", p.pid()))
	require.Equal(t, 1, p.wait())
	p.await("Run returned: lifecycle: OnStop of daemon: did not return in 200ms")
	require.Equal(t, 1, linesOf(p, "OnExit done"))
	require.NoFileExists(t, path)
}

// Row C17.
func TestWhoIgnoresTERMIsKilledAndThatIsSaid(t *testing.T) {
	t.Parallel()
	path := pidPath(t)
	p := start(t, holding, "deaf", path)
	p.await("holds it")
	f := openForReading(t, path)
	killed := callVerb(t, path, "stop", "stoptimeout=100ms")
	require.Equal(t, 0, killed.code)
	require.Regexp(t, fmt.Sprintf(`^daemon: killed \(pid %d\): still running after \d\.\d s\n$`, p.pid()), killed.stderr)
	requireFree(t, f)
	require.Equal(t, -1, p.wait())
	require.Equal(t, syscall.SIGKILL, p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
}

func openForReading(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// requireFree requires that nobody holds the file, which may have lost its name.
func requireFree(t *testing.T, f *os.File) {
	t.Helper()
	state, err := filelock.Inspect(f)
	require.NoError(t, err)
	require.False(t, state.Held)
}

// Row C18.
func TestWhenStopReturnsTheFileIsFree(t *testing.T) {
	t.Parallel()
	for range 5 {
		p, path := startDaemon(t)
		f := openForReading(t, path)
		stopped := callVerb(t, path, "stop")
		requireFree(t, f)
		require.NoFileExists(t, path)
		require.Equal(t, 0, stopped.code)
		require.Equal(t, 0, p.wait())
		require.Equal(t, 1, linesOf(p, "OnStop"))
	}
}

// startHeir starts a holder that leaves the file to another process, and returns both.
func startHeir(t *testing.T) (p *process, heir *os.Process, path string) {
	t.Helper()
	path = pidPath(t)
	programsUsed.Store(idle, true)
	p = start(t, holding, "leaving", path)
	p.await("holds it")
	return p, heirIn(t, p.out.String()), path
}

// heirIn is the process that a leaving holder says it has left the file to.
func heirIn(t *testing.T, said string) *os.Process {
	t.Helper()
	_, pid, _ := strings.Cut(said, "heir: ")
	pid, _, _ = strings.Cut(pid, "\n")
	n, err := strconv.Atoi(pid)
	require.NoError(t, err)
	heir, err := os.FindProcess(n)
	require.NoError(t, err)
	t.Cleanup(func() { heir.Kill() })
	return heir
}

// Row C18.
func TestAsLongAsAnybodyHoldsTheFileTheDaemonIsNotGone(t *testing.T) {
	t.Parallel()
	p, heir, path := startHeir(t)
	found, err := Find(path)
	require.NoError(t, err)
	defer found.Close()
	p.signal(syscall.SIGKILL)
	p.wait()

	over, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	require.EqualError(t, found.Wait(over), "lifecycle: waiting for "+path+" to be released: enough")
	require.NoError(t, heir.Kill())
	require.NoError(t, found.Wait(t.Context()))
	requireFree(t, openForReading(t, path))
}

// Row C18.
func TestStopWaitsForWhoeverHoldsTheFile(t *testing.T) {
	t.Parallel()
	p, heir, path := startHeir(t)
	f := openForReading(t, path)
	stop := start(t, daemon, "pidfile="+path, "stop")
	p.wait() // it is dead, and its heir holds the file
	select {
	case <-stop.done:
		t.Fatalf("stop returned while the file was held: %s", stop.out)
	default:
	}
	require.NoError(t, heir.Kill())
	require.Equal(t, 0, stop.wait(), "%s", stop.out)
	requireFree(t, f)
}

// Row C18.
func TestAnHeirOfADeadDaemonIsSaidToBeOne(t *testing.T) {
	t.Parallel()
	p, heir, path := startHeir(t)
	p.signal(syscall.SIGKILL)
	p.wait()
	_, err := Find(path)
	require.EqualError(t, err, fmt.Sprintf("lifecycle: PID file %s: pid %d has ended, but what it started still holds the lock", path, p.pid()))
	require.NotErrorIs(t, err, ErrNotRunning)
	require.NoError(t, heir.Kill())
	eventually(t, func() bool { _, err := Find(path); return errors.Is(err, ErrNotRunning) }, "the end of the heir")
}

// Row C20.
func TestAVerbThatIsKilledWhileItWaitsLeavesTheDaemonAlone(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		gate := filepath.Join(t.TempDir(), "gate")
		p, path := startDaemon(t, "stop=until:"+gate)
		stop := start(t, daemon, "pidfile="+path, "stop")
		p.await("OnStop")
		stop.signal(sig)
		require.Equal(t, -1, stop.wait())
		require.Equal(t, sig, stop.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())

		require.Equal(t, 0, callVerb(t, path, "status").code, "it still stops in its own time")
		touch(t, gate)
		require.Equal(t, 0, p.wait())
		require.Equal(t, 1, linesOf(p, "OnStop done"))
		require.Equal(t, 1, linesOf(p, "OnExit done"))
		require.NoFileExists(t, path)
	}
}

// Row C20.
func TestTheEndOfTheContextEndsTheWaitingAndNotTheDaemon(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	found, err := Find(path)
	require.NoError(t, err)
	defer found.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	err = found.Wait(ctx)
	require.ErrorIs(t, err, cause)
	require.EqualError(t, err, fmt.Sprintf("lifecycle: waiting for pid %d to end: enough", p.pid()))
	requireLives(t, p)
	require.NoError(t, found.Wait(t.Context()))
}

// Row C21.
func TestWithNobodyWhoReadsTheExitCodeIsTheSame(t *testing.T) {
	t.Parallel()
	for how, run := range mutes {
		none := pidPath(t)
		p, path := startDaemon(t)
		for _, tt := range []struct {
			want int
			args []string
		}{
			{2, []string{"pidfile=" + none, "no-such-verb"}},
			{3, []string{"pidfile=" + none, "status"}},
			{7, []string{"pidfile=" + none, "stop"}},
			{0, []string{"pidfile=" + none, "stop", "--oknodo"}},
			{7, []string{"pidfile=" + none, "reload"}},
			{0, []string{"pidfile=" + none, "check"}},
			{6, []string{"pidfile=" + none, "check=error", "check"}},
			{1, []string{"pidfile=" + none, "start=error", "run"}},
			{0, []string{"pidfile=" + none, "run=:", "run"}},
			{1, []string{"pidfile=" + path, "run"}},
			{1, []string{"pidfile=" + path, "start"}},
			{0, []string{"pidfile=" + path, "status"}},
			{0, []string{"pidfile=" + path, "reload"}},
			{0, []string{"pidfile=" + path, "stop"}},
			{3, []string{"pidfile=" + path, "status"}},
		} {
			require.Equal(t, tt.want, run(t, tt.args...), "%v with %s", tt.args, how)
		}
		require.Equal(t, 0, p.wait())
	}
}

// mutes run the program daemon so that nobody reads what it writes, and return its exit code.
var mutes = map[string]func(t *testing.T, args ...string) (exitCode int){
	"a broken pipe": func(t *testing.T, args ...string) int {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, r.Close())
		defer w.Close()
		cmd := command(daemon, args...)
		cmd.Stdout, cmd.Stderr = w, w
		return launch(t, cmd).wait()
	},
	"all closed": func(t *testing.T, args ...string) int {
		return launch(t, wrapped([]string{"sh", "-c", `exec "$0" "$@" <&- >&- 2>&-`}, daemon, args...)).wait()
	},
}

// Row C22.
func TestWhatIsNoVerbPrintsTheUsageAndDoesNothing(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	requireUntouched := untouched(t, path)
	for _, tt := range []struct {
		says string
		args []string
	}{
		{"unknown verb ", []string{""}},
		{"unknown verb stopp", []string{"stopp"}},
		{"unknown verb STOP", []string{"STOP"}},
		{"unknown verb -h", []string{"-h"}},
		{"unknown verb --oknodo", []string{"--oknodo", "stop"}},
		{"unexpected argument now", []string{"stop", "now"}},
		{"unexpected argument stop", []string{"stop", "stop"}},
		{"unexpected argument now", []string{"stop", "--oknodo", "now"}},
		{"unexpected argument -config: flags go before the verb", []string{"stop", "-config", "x"}},
		{"unexpected argument -oknodo: flags go before the verb", []string{"stop", "-oknodo"}},
		{"unexpected argument --oknodo: flags go before the verb", []string{"reload", "--oknodo"}},
		{"unexpected argument --: flags go before the verb", []string{"stop", "--"}},
		{"unexpected argument now", []string{"reload", "now"}},
		{"unexpected argument -v: flags go before the verb", []string{"status", "-v"}},
		{"unexpected argument x", []string{"check", "x"}},
		{"unexpected argument x", []string{"run", "x"}},
	} {
		got := callVerb(t, path, tt.args...)
		require.Equal(t, 2, got.code, "%q", tt.args)
		require.Empty(t, got.stdout, "%q: no hook was called", tt.args)
		require.True(t, strings.HasPrefix(got.stderr, "daemon: "+tt.says+"\nusage: daemon [flags] VERB\n"), "%q: %s", tt.args, got.stderr)
	}
	requireUntouched()
	requireLives(t, p)
}

// Row C22.
func TestNoVerbPrintsTheUsage(t *testing.T) {
	t.Parallel()
	got := callProgram(t, verbless)
	require.Equal(t, 2, got.code)
	require.Empty(t, got.stdout)
	require.True(t, strings.HasPrefix(got.stderr, "verbless: which verb?\nusage: verbless [flags] VERB\n"), got.stderr)
}

// verbless calls Main with no verb at all.
var verbless = registerProgram("verbless", func([]string) int {
	return Main(nil, nil, Name("verbless"), PIDFile(""), OnStart(func(context.Context) error {
		fmt.Println("started")
		return nil
	}))
})

// lingerer is a program that goes on when its life is over, until a file is there.
var lingerer = registerProgram("lingerer", func(args []string) int {
	err := Run(nil, Name("lingerer"), PIDFile(args[0]))
	fmt.Println("Run has returned")
	behave("lingerer", "until:"+args[1])(context.Background())
	return ExitCode(err)
})

// Row C18.
func TestWhoHasLetGoOfTheFileIsNotSignalledAndIsNotGoneUntilItEnds(t *testing.T) {
	t.Parallel()
	path, gate := pidPath(t), filepath.Join(t.TempDir(), "gate")
	p := start(t, lingerer, path, gate)
	p.await("ready pid=")
	found, err := Find(path)
	require.NoError(t, err)
	defer found.Close()
	p.signal(syscall.SIGTERM)
	p.await("Run has returned")

	want := fmt.Sprintf("lifecycle: pid %d does not hold %s any more, but still runs; it was not signalled", p.pid(), path)
	require.EqualError(t, found.Stop(t.Context()), want)
	require.EqualError(t, found.Kill(t.Context()), want)
	touch(t, gate)
	require.NoError(t, found.Stop(t.Context()))
	require.Equal(t, 0, p.wait())
}
