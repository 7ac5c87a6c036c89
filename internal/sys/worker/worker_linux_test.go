package worker

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/activation"
	"example.com/lifecycle/internal/sys/ctlsock"
)

func own(note string) testOrder {
	return testOrder{Spec: Spec{Args: []string{"/somewhere/worker", "an argument", ""}}, Note: note}
}

const noSignals = "0000000000000000"

func TestAWorkerOfThisBinaryGetsItsNoteArgumentsNameAndDirectory(t *testing.T) {
	t.Parallel()
	o := own("look")
	o.Dir = t.TempDir()
	s := startSupervisor(t, o)
	pid := s.pid()
	got := lineOf[looks](s, "look ")
	require.Equal(t, looks{
		Note: `"look"`, Args: "/somewhere/worker an argument ", Comm: "worker", Dir: o.Dir, PID: pid, Parent: s.cmd.Process.Pid, Group: pid,
		Exe: got.Exe, Env: got.Env, Open: got.Open, Ignored: noSignals, Blocked: noSignals,
	}, got)
	require.Equal(t, "exit status 3 <nil> os: process already finished", s.line("ended:"))
}

// copyOf returns the path of a copy of the test binary that every user can reach.
func copyOf(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	path = filepath.Join(dir, "program")
	self, err := os.Executable()
	require.NoError(t, err)
	// Another process makes the copy. If this process made it, a program that another test starts at
	// the same time would inherit the file open for writing. Executing the copy would then fail with
	// ETXTBSY.
	require.NoError(t, exec.Command("cp", self, path).Run())
	require.NoError(t, os.Chmod(path, 0o755))
	return path
}

// Row E16.
func TestAWorkerOfThisBinaryStartsAfterItsFileWasRemovedOrReplaced(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"removed", "replaced"} {
		path := copyOf(t)
		o := own("look")
		o.Binary = what
		s := startSupervisor(t, o, func(cmd *exec.Cmd) { cmd.Path = path })
		require.Equal(t, "worker", lineOf[looks](s, "look ").Comm)
	}
}

func TestANoteMayBeLongerThanTheBufferOfASocket(t *testing.T) {
	t.Parallel()
	hold, release := fifo(t)
	o := own("")
	o.Size = 3 << 20
	s := startSupervisor(t, o, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, hold) })
	s.pid() // the worker has not read the note yet
	release()
	require.Equal(t, strconv.Itoa(o.Size), s.line("a note of"))
}

// stale sets the variables that a service manager of the supervisor itself would set.
func stale(cmd *exec.Cmd) {
	cmd.Env = append(slices.DeleteFunc(cmd.Env, func(v string) bool { return nameOf(v) == "HOME" || nameOf(v) == "USER" }),
		"NOTIFY_SOCKET=@stale", "FDSTORE=1", "WATCHDOG_USEC=1", "WATCHDOG_PID=1", "LISTEN_PID=1", "LISTEN_PIDFDID=1", "LISTEN_FDS=1",
		"LISTEN_FDNAMES=stale", "LISTEN_ADDRESS=:80", "_LIFECYCLE_WORKER=3:1:1")
}

func TestAWorkerDoesNotInheritTheVariablesOfTheSupervisorsManager(t *testing.T) {
	t.Parallel()
	got := lineOf[looks](startSupervisor(t, own("look"), stale), "look ")
	require.Equal(t, []string{"LISTEN_ADDRESS=:80"}, got.Env, "the variable belongs to another program")
}

// leaks makes a supervisor inherit descriptors that a careless caller has left open, including a
// directory.
func leaks(t *testing.T) func(*exec.Cmd) {
	dir, err := os.Open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { dir.Close() })
	return func(cmd *exec.Cmd) {
		for range 10 {
			cmd.ExtraFiles = append(cmd.ExtraFiles, dir)
		}
	}
}

// Row E5.
func TestAWorkerOfThisBinaryGetsTheManagerVariablesAndOnlyItsSockets(t *testing.T) {
	t.Parallel()
	o := own("look")
	o.Notify, o.Store, o.Watchdog = "@notify", 7, 3*time.Second
	o.Files = []string{written(t, "first%3A80", "", 0o600), written(t, "second", "", 0o600)}
	s := startSupervisor(t, o, stale, leaks(t))
	pid := s.pid()
	got := lineOf[looks](s, "look ")
	require.Equal(t, []string{
		"FDSTORE=7", "LISTEN_ADDRESS=:80", "LISTEN_FDNAMES=first%3A80:second", "LISTEN_FDS=2", "LISTEN_PID=" + strconv.Itoa(pid),
		"NOTIFY_SOCKET=@notify", "WATCHDOG_PID=" + strconv.Itoa(pid), "WATCHDOG_USEC=3000000",
	}, got.Env)
	require.Equal(t, o.Files, []string{got.Open[3], got.Open[4]})
	require.Regexp(t, `^socket:\[\d+\]$`, got.Open[5], "the control socket")
	require.Empty(t, got.Inherited)

	o.Note = "children"
	require.Regexp(t, `^"0 1 2 3 LISTEN_PID=\d+\\n" <nil>$`, startSupervisor(t, o, leaks(t)).line("children:"), "ls itself has opened descriptor 3")
}

func TestNoWorkerInheritsTheControlSocketOfAnother(t *testing.T) {
	t.Parallel()
	o := own("look")
	o.Before = "together"
	s := startSupervisor(t, o)
	for range 8 + 1 {
		var sockets []string
		for _, path := range lineOf[looks](s, "look ").Open {
			if strings.HasPrefix(path, "socket:") {
				sockets = append(sockets, path)
			}
		}
		require.Len(t, sockets, 1)
	}
}

func TestASocketWithAColonInItsNameIsAnError(t *testing.T) {
	t.Parallel()
	_, err := Start(Spec{Args: []string{"x"}, Sockets: []activation.Socket{{Name: "a:b", File: os.Stdin}}})
	require.EqualError(t, err, `cannot start x: the socket name "a:b" contains a colon`)
}

// deaf starts a supervisor that has some signals blocked and ignores others.
func deaf(t *testing.T, o testOrder) *supervisor {
	t.Helper()
	var before, blocked unix.Sigset_t
	blocked.Val[0] = 1<<(unix.SIGUSR1-1) | 1<<(unix.SIGTERM-1)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.NoError(t, unix.PthreadSigmask(unix.SIG_BLOCK, &blocked, &before))
	defer func() { require.NoError(t, unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)) }()
	return startSupervisor(t, o, func(cmd *exec.Cmd) {
		cmd.Args = slices.Concat([]string{"sh", "-c", `trap "" HUP INT QUIT TSTP TTIN TTOU USR2; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:])
		cmd.Path = "/bin/sh"
	})
}

// requireDeaf requires that the supervisor ignores and blocks these signals. Otherwise the test
// would prove nothing.
func (s *supervisor) requireDeaf() {
	s.t.Helper()
	ignored, blocked, _ := strings.Cut(s.line("ignored and blocked:"), " ")
	require.NotEqual(s.t, noSignals, ignored)
	require.NotEqual(s.t, noSignals, blocked)
}

func TestAWorkerOfThisBinaryStartsWithNoSignalBlockedOrIgnored(t *testing.T) {
	t.Parallel()
	s := deaf(t, own("look"))
	got := lineOf[looks](s, "look ")
	s.requireDeaf()
	require.Equal(t, []string{noSignals, noSignals}, []string{got.Ignored, got.Blocked})
	require.Equal(t, "worker", got.Comm)
	require.Equal(t, `"look"`, got.Note)
}

func TestTheOutputContainsACrashReport(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, own("crash"), func(cmd *exec.Cmd) { cmd.Stderr = nil })
	require.Equal(t, "exit status 2 <nil> os: process already finished", s.line("ended:"))
	require.Equal(t, "crashes on purpose", s.line("panic: "))
	s.line("goroutine 1 [running]:")
}

// Children of the worker may hold the other end open for a moment, and the last output may still be
// in the socket.
func TestWaitReturnsAfterAllOutputEvenIfAChildHoldsTheControlSocket(t *testing.T) {
	t.Parallel()
	ours, theirs, err := ctlsock.Pair()
	require.NoError(t, err)
	defer theirs.Close()
	cmd := exec.Command("true")
	require.NoError(t, cmd.Start())
	p := &Process{PID: cmd.Process.Pid, running: newRunning(ours, &Spec{Args: []string{"true"}})}
	p.process = cmd.Process
	defer p.Close()
	_, err = theirs.WriteString("last words\n")
	require.NoError(t, err)
	go func() {
		for p.Signal(syscall.Signal(0)) == nil { // until Wait has reaped it
			time.Sleep(time.Millisecond)
		}
		p.hear()
	}()
	state, err := p.Wait()
	require.NoError(t, err)
	require.True(t, state.Success())
	require.Equal(t, "last words\n", p.Output())
}

func TestASignalReachesTheWorker(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, own("wait"))
	s.line("waits")
	s.say("term")
	require.Equal(t, "signal: terminated <nil> os: process already finished", s.line("ended:"))
}

func TestStartReturnsWhyAWorkerOfThisBinaryDidNotStart(t *testing.T) {
	t.Parallel()
	_, err := Start(Spec{})
	require.EqualError(t, err, "cannot start a program without a name")
	_, err = Start(Spec{Args: []string{"x"}, Note: func() {}})
	require.ErrorContains(t, err, "cannot start x: json: unsupported type")
	_, err = Start(Spec{Args: []string{"x"}, Dir: "/no/such/directory"})
	require.EqualError(t, err, "cannot start x: stat /no/such/directory: no such file or directory")
	_, err = Start(Spec{Args: []string{"x"}, Dir: os.DevNull})
	require.EqualError(t, err, "cannot start x: chdir /dev/null: not a directory")
	_, err = Start(Spec{Args: []string{"x", strings.Repeat("x", 1<<20)}})
	require.ErrorIs(t, err, syscall.E2BIG)
	require.EqualError(t, err, "cannot start x: fork/exec /proc/self/exe: argument list too long")
}

// Row H3.
func TestAFailedForkIsReported(t *testing.T) {
	t.Parallel()
	o := own("nothing")
	o.Before = "limit"
	path := copyOf(t)
	got := lineOf[failed](startSupervisor(t, o, func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = path, "/"
		if os.Geteuid() == 0 { // the limit does not apply to root
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12347, Gid: 12347}}
		}
	}), "error ")
	require.Equal(t, failed{"cannot start /somewhere/worker: fork/exec /proc/self/exe: resource temporarily unavailable", syscall.EAGAIN, true}, got)
}

// Row H7.
func TestEndedWorkersLeaveNoResources(t *testing.T) {
	t.Parallel()
	o := own("nothing")
	o.Before = "many"
	s := startSupervisor(t, o)
	require.Equal(t, s.line("before:"), s.line("after:"))
}
