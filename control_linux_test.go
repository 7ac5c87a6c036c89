package lifecycle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
)

const (
	nobody            = 65534
	namespaceVariable = "LIFECYCLE_TEST_NAMESPACE"
)

// asNobody is the program daemon, as a user without rights. It becomes that user by itself, for such a user cannot run this test binary.
var asNobody = registerProgram("nobody", func(args []string) int {
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
		fmt.Println(err)
		return 99
	}
	return programs[daemon](args)
})

// needsNobody is needs for a test of another user.
func needsNobody(t *testing.T) {
	t.Helper()
	programsUsed.Store(asNobody, true)
	needs(t, "root")
}

// needsLeave is needs for a command that a container may forbid even to root.
func needsLeave(t *testing.T, command ...string) {
	t.Helper()
	needs(t, command[0])
	out, err := exec.Command(command[0], append(command[1:], "true")...).CombinedOutput()
	if err != nil && !slices.Contains(strings.Fields(os.Getenv("LIFECYCLE_REQUIRE")), command[0]) {
		t.Skipf("this test needs the right to %v: %v: %s", command, err, out)
	}
	require.NoError(t, err, "%v: %s", command, out)
}

// nobodys is a directory that nobody owns, on a way that everybody can go.
func nobodys(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chown(dir, nobody, nobody))
	return dir
}

func TestC2_AHolderThatHasNotWrittenItsPIDYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"status", "reload"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path, gate := pidPath(t), filepath.Join(t.TempDir(), "gate")
			p := start(t, holding, "late:"+gate, path)
			p.await("locked it")
			awaitOpen := opens(t, path)
			v := start(t, daemon, "pidfile="+path, what)
			awaitOpen()
			touch(t, gate)
			require.Equal(t, 0, v.wait(), "%s", v.out)
			if what == "status" {
				require.Equal(t, fmt.Sprintf("daemon: running (pid %d)\n", p.pid()), v.out.String())
				return
			}
			require.Equal(t, -1, p.wait())
			require.Equal(t, syscall.SIGHUP, p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(), "it reached who wrote its PID")
		})
	}
}

// opens watches the file; await waits until somebody opens it.
func opens(t *testing.T, path string) (await func()) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	require.NoError(t, err)
	events := os.NewFile(uintptr(fd), "inotify")
	t.Cleanup(func() { events.Close() })
	_, err = unix.InotifyAddWatch(fd, path, unix.IN_OPEN)
	require.NoError(t, err)
	require.NoError(t, events.SetReadDeadline(time.Now().Add(patienceOfTests)))
	return func() {
		t.Helper()
		_, err := events.Read(make([]byte, 4096))
		require.NoError(t, err)
	}
}

func TestC7_ADaemonOfAnotherUserRunsAndMayNotBeTouched(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	path := filepath.Join(nobodys(t), "daemon.pid")
	require.NoError(t, os.Chown(filepath.Dir(path), 0, 0))
	p := start(t, daemon, "pidfile="+path)
	p.await("msg=ready")
	requireUntouched := untouched(t, path)

	for _, name := range []string{"stop", "reload"} {
		got := callProgram(t, asNobody, "pidfile="+path, name)
		require.Equal(t, 4, got.code, got.stderr)
		require.Contains(t, got.stderr, fmt.Sprintf("pid %d", p.pid()))
		require.Contains(t, got.stderr, "operation not permitted")
	}
	got := callProgram(t, asNobody, "pidfile="+path, "stop", "--oknodo")
	require.Equal(t, 4, got.code, "that one runs is not that none does")
	require.Equal(t, fmt.Sprintf("daemon: running (pid %d)\n", p.pid()), callProgram(t, asNobody, "pidfile="+path, "status").stdout)
	require.NotZero(t, callProgram(t, asNobody, "pidfile="+path, "run").code)
	requireUntouched()
	requireLives(t, p)
}

func TestC7_TheProcessOfAnotherUserInAStaleFileIsNoDaemon(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	bystander, _ := startDaemon(t)
	path := filepath.Join(nobodys(t), "daemon.pid")
	require.NoError(t, os.WriteFile(path, fmt.Appendln(nil, bystander.pid()), 0o644))
	require.NoError(t, os.Chown(path, nobody, nobody))
	requireUntouched := untouched(t, path)
	dead := fmt.Sprintf("daemon: dead: pid %d left %s\n", bystander.pid(), path)
	require.Equal(t, result{dead, "", 1}, callProgram(t, asNobody, "pidfile="+path, "status"))
	require.Equal(t, result{"", notRunning(path), 7}, callProgram(t, asNobody, "pidfile="+path, "stop"))
	requireUntouched()

	p := start(t, asNobody, "pidfile="+path)
	p.await("msg=ready")
	requireLives(t, bystander)
}

// TestC7_AFileThatIsNotRootsNamesOnlyAProcessOfItsOwner has a user who holds a PID file of his own that names a process of root, and
// then waits for root to stop it.
func TestC7_AFileThatIsNotRootsNamesOnlyAProcessOfItsOwner(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	bystander, _ := startDaemon(t)
	path := filepath.Join(nobodys(t), "daemon.pid")
	p := start(t, asNobody, "pidfile="+path)
	p.await("msg=ready")

	trap := filepath.Join(nobodys(t), "trap.pid")
	require.NoError(t, os.WriteFile(trap, fmt.Appendln(nil, bystander.pid()), 0o644))
	require.NoError(t, os.Chown(trap, nobody, nobody))
	f := held(t, trap)
	require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 1 << 62, Len: 1}))
	for _, name := range []string{"stop", "reload"} {
		got := callVerb(t, trap, name)
		require.Equal(t, 1, got.code)
		require.Contains(t, got.stderr, fmt.Sprintf("it belongs to user %d, but process %d is of user 0", nobody, bystander.pid()))
	}
	_, err := Find(trap)
	require.ErrorIs(t, err, ErrUnsafePIDFile)
	requireLives(t, bystander)

	stopped := callVerb(t, path, "stop")
	require.Equal(t, 0, stopped.code, "root stops a daemon of that user: %s", stopped.stderr)
	require.Equal(t, 0, p.wait())
}

func TestC16_AnotherUserIsToldAsMuchAsTheModeAllows(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	for _, tt := range []struct {
		mode fs.FileMode
		code int
	}{{0o644, 0}, {0o600, 4}} {
		path := filepath.Join(nobodys(t), "daemon.pid")
		require.NoError(t, os.Chown(filepath.Dir(path), 0, 0))
		p := start(t, daemon, "pidfile="+path, fmt.Sprintf("mode=%o", tt.mode))
		p.await("msg=ready")
		requireUntouched := untouched(t, path)
		got := callProgram(t, asNobody, "pidfile="+path, "status")
		require.Equal(t, tt.code, got.code)
		if tt.code == 4 {
			require.Contains(t, got.stdout, "daemon: unknown: PID file "+path)
			require.Contains(t, got.stdout, "permission denied")
			require.Equal(t, 4, callProgram(t, asNobody, "pidfile="+path, "stop").code)
			require.Equal(t, 4, callProgram(t, asNobody, "pidfile="+path, "reload").code)
		}
		requireUntouched()

		p.signal(syscall.SIGKILL)
		p.wait()
		requireUntouched()
		want := map[fs.FileMode]int{0o644: 1, 0o600: 4}[tt.mode]
		require.Equal(t, want, callProgram(t, asNobody, "pidfile="+path, "status").code, "it is dead")
		requireUntouched()

		next := start(t, daemon, "pidfile="+path, fmt.Sprintf("mode=%o", tt.mode))
		next.await("msg=ready")
		next.signal(syscall.SIGTERM)
		require.Equal(t, 0, next.wait())
		require.Equal(t, 3, callProgram(t, asNobody, "pidfile="+path, "status").code, "nobody holds it")
	}
}

func TestC10_StopWorksWithoutPidfd(t *testing.T) {
	needsLeave(t, "strace", "-o", os.DevNull)
	t.Parallel()
	for _, errno := range []string{"ENOSYS", "EPERM", "EINVAL"} {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			p, path := startDaemon(t)
			trace := filepath.Join(t.TempDir(), "trace")
			strace := []string{
				"strace", "-f", "-I1", "-o", trace, "-e", "trace=pidfd_open,kill",
				"-e", "inject=pidfd_open:error=" + errno,
			}
			stopped := runCommand(t, wrapped(strace, daemon, "pidfile="+path, "stop"))
			require.Equal(t, 0, stopped.code, stopped.stderr)
			require.Contains(t, stopped.stderr, fmt.Sprintf("daemon: stopped (pid %d, ", p.pid()))
			require.Equal(t, 0, p.wait())
			require.NoFileExists(t, path)

			calls, err := os.ReadFile(trace)
			require.NoError(t, err)
			require.Contains(t, string(calls), "(INJECTED)")
			require.Contains(t, string(calls), fmt.Sprintf("kill(%d, SIGTERM)", p.pid()))
		})
	}
}

// TestC10_StopSignalsThroughThePidfd is also why stop returns at once: it waits for the same descriptor and asks for nothing
// again and again.
func TestC10_StopSignalsThroughThePidfd(t *testing.T) {
	needsLeave(t, "strace", "-o", os.DevNull)
	t.Parallel()
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Skip("this kernel, or a filter, has no pidfd_open:", err)
	}
	require.NoError(t, unix.Close(fd))

	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startDaemon(t, "stop=until:"+gate)
	trace := filepath.Join(t.TempDir(), "trace")
	stop := launch(t, wrapped([]string{
		"strace", "-f", "-I1", "-o", trace,
		"-e", "trace=pidfd_open,pidfd_send_signal,kill,openat,?poll,ppoll",
	}, daemon, "pidfile="+path, "stop"))
	p.await("OnStop")
	for range 20 { // it has time enough to ask again and again
		require.Equal(t, 0, callVerb(t, path, "status").code)
	}
	touch(t, gate)
	require.Equal(t, 0, stop.wait(), "%s", stop.out)
	text, err := os.ReadFile(trace)
	require.NoError(t, err)
	calls := string(text)
	require.Contains(t, calls, fmt.Sprintf("pidfd_open(%d, ", p.pid()))
	require.Contains(t, calls, ", SIGTERM, NULL, 0)")
	require.NotContains(t, calls, " kill(")
	for _, asking := range []string{path, "poll("} {
		require.Less(t, strings.Count(calls, asking), 20, "%s is asked a few times, however long the stop takes:\n%s", asking, calls)
	}
}

// inNamespace runs the test again in a PID namespace, where it can say which PID is next, and tells whether it is there.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceVariable) != "" {
		return true
	}
	needs(t, "root")
	unshare := []string{"unshare", "-pf", "--mount-proc", "--kill-child"}
	needsLeave(t, unshare...)
	cmd := exec.Command(unshare[0], append(unshare[1:], testBinary(), "-test.v", "-test.count=1", "-test.timeout=60s", "-test.run=^"+t.Name()+"$")...)
	cmd.Env = append(os.Environ(), namespaceVariable+"=1", "GORACE=atexit_sleep_ms=0")
	got := runCommand(t, cmd)
	require.Equal(t, 0, got.code, "%s%s", got.stdout, got.stderr)
	require.Contains(t, got.stdout, "--- PASS: "+t.Name())
	return false
}

// startAs starts a program under a PID that is free. It tries again when a thread of the test took it.
func startAs(t *testing.T, pid int, program string, args ...string) *process {
	t.Helper()
	var p *process
	eventually(t, func() bool {
		require.NoError(t, os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0))
		p = start(t, program, args...)
		if p.pid() == pid {
			return true
		}
		p.signal(syscall.SIGKILL)
		p.wait()
		return false
	}, "PID %d to be given out again", pid)
	return p
}

func TestC8_AZombieWhoseHeirHoldsTheFileIsNoDaemon(t *testing.T) {
	t.Parallel()
	path := pidPath(t)
	programsUsed.Store(idle, true)
	cmd := command(holding, "leaving", path)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start()) // nobody waits for it before the end
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	said, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	heir := heirIn(t, said)

	found, err := Find(path)
	require.NoError(t, err)
	defer found.Close()
	require.NoError(t, cmd.Process.Kill())
	require.NoError(t, found.pin.Wait(t.Context()))
	_, err = Find(path)
	require.ErrorContains(t, err, "has ended, but what it started still holds the lock")
	require.NoError(t, heir.Kill())
}

func TestC8_AStrangerWhoGotThePIDOfADeadDaemonIsLeftAlone(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	p, path := startDaemon(t)
	p.signal(syscall.SIGKILL)
	p.wait()
	requireText(t, path, fmt.Sprintln(p.pid()))

	other := pidPath(t)
	stranger := startAs(t, p.pid(), daemon, "pidfile="+other)
	stranger.await("msg=ready")
	requireUntouched := untouched(t, path)
	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "stop"))
	require.Equal(t, result{"", notRunning(path), 7}, callVerb(t, path, "reload"))
	require.Equal(t, 1, callVerb(t, path, "status").code)
	requireUntouched()

	next := start(t, daemon, "pidfile="+path)
	next.await("msg=ready")
	require.Equal(t, 0, callVerb(t, path, "stop").code)
	require.Equal(t, 0, next.wait())
	requireLives(t, stranger)
}

func TestC9_APIDThatWasGivenOutAgainIsNotSignalled(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	p, path := startDaemon(t)
	found, err := Find(path)
	require.NoError(t, err)
	defer found.Close()
	p.signal(syscall.SIGKILL)
	p.wait()

	// The next daemon has the same PID and the same PID file: only the pidfd tells the two apart.
	next := startAs(t, p.pid(), daemon, "pidfile="+path)
	next.await("msg=ready")
	require.NoError(t, found.verify(), "by lock and number it is the same")
	require.ErrorIs(t, found.Signal(syscall.SIGTERM), ErrNotRunning)
	requireLives(t, next)
}

// From here on, it is the signals that need Linux.

// signalsOf is a set of signals in /proc/PID/status.
func signalsOf(t *testing.T, status, field string) (has func(syscall.Signal) bool) {
	t.Helper()
	_, text, found := strings.Cut(status, "\n"+field+":")
	require.True(t, found, "%s in:\n%s", field, status)
	text, _, _ = strings.Cut(text, "\n")
	set, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
	require.NoError(t, err)
	return func(sig syscall.Signal) bool { return set&(1<<(sig-1)) != 0 }
}

// awaitDelivery waits until the kernel has handed over the signals that were sent to the process.
func awaitDelivery(t *testing.T, p *process) {
	t.Helper()
	eventually(t, func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
		return err != nil || strings.Contains(string(status), "\nShdPnd:\t0000000000000000\n")
	}, "pid %d to get its signals", p.pid())
}

var ourSignals = []syscall.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGCHLD,
}

func TestF1_F2_WhatTheDaemonStartsGetsDefaultSignals(t *testing.T) {
	t.Parallel()
	for name, wrapper := range map[string][]string{
		"plain": {"env"},
		"nohup": {"nohup"},
		"trap":  {"sh", "-c", `trap "" HUP TERM INT CHLD PIPE USR1 USR2; exec "$0" "$@"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := launch(t, wrapped(wrapper, daemon, "pidfile="+pidPath(t), "start=children"))
			p.await("msg=ready")
			ignored := signalsOf(t, p.out.String(), "SigIgn")
			for _, sig := range ourSignals {
				require.False(t, ignored(sig), "%v is ignored in a child", sig)
			}
			p.signal(syscall.SIGHUP)
			p.await("msg=reloaded")
			p.signal(syscall.SIGTERM)
			require.Equal(t, 0, p.wait())
		})
	}
}

// blocking executes what its arguments say with our signals blocked.
var blocking = registerProgram("blocking", func(args []string) int {
	runtime.LockOSThread()
	var set unix.Sigset_t
	for _, sig := range ourSignals {
		set.Val[0] |= 1 << (sig - 1)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(syscall.Exec(args[0], args, append(os.Environ(), programVariable+"="+daemon)))
	return 1
})

func TestF3_BlockedSignalsArrive(t *testing.T) {
	t.Parallel()
	cat, err := exec.LookPath("cat")
	require.NoError(t, err)
	blocked := signalsOf(t, callProgram(t, blocking, cat, "/proc/self/status").stdout, "SigBlk")
	for _, sig := range ourSignals {
		require.True(t, blocked(sig), "the helper does not block %v", sig)
	}

	for _, stop := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := start(t, blocking, testBinary(), "pidfile="+pidPath(t))
		p.await("msg=ready")
		p.signal(syscall.SIGHUP)
		p.await("msg=reloaded")
		p.signal(syscall.SIGUSR1)
		p.await("nothing to reopen")
		p.signal(syscall.SIGUSR2)
		p.await("OnSignal done")
		p.signal(stop)
		require.Equal(t, 0, p.wait())
		require.Equal(t, 1, linesOf(p, "OnExit done"))
	}
}

func TestF5_HUPsDuringOnStartMakeAReloadOnceReady(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p := start(t, daemon, "pidfile="+pidPath(t), "start=until:"+gate)
	p.await("OnStart")
	for range 5 {
		p.signal(syscall.SIGHUP)
		awaitDelivery(t, p)
	}
	touch(t, gate)
	p.await("msg=reloaded")
	require.Less(t, p.out.index("msg=ready"), p.out.index("\nOnReload\n"))
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	requireOnce(t, linesOf(p, "OnReload"))
}

// requireOnce allows one reload too many: the last HUP that the kernel has handed over can still be on its way through the
// process when the gate opens. That it is exactly one stands in the tests that run on a fake clock.
func requireOnce(t *testing.T, reloads int) {
	t.Helper()
	require.GreaterOrEqual(t, reloads, 1)
	require.LessOrEqual(t, reloads, 2)
}

func TestF6_HUPsDuringOnStopMakeNoReload(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, path := startDaemon(t, "stop=until:"+gate)
	p.signal(syscall.SIGTERM)
	p.await("OnStop")
	for range 5 {
		p.signal(syscall.SIGHUP)
		p.signal(syscall.SIGUSR1)
		p.signal(syscall.SIGUSR2)
		awaitDelivery(t, p)
	}
	touch(t, gate)
	require.Equal(t, 0, p.wait())
	require.Zero(t, linesOf(p, "OnReload"))
	require.Zero(t, linesOf(p, "OnSignal"))
	require.Equal(t, 1, linesOf(p, "OnStop done"))
	require.NoFileExists(t, path)
}

func TestF9_HUPsDuringAReloadMakeOneMore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config, gate := filepath.Join(dir, "config"), filepath.Join(dir, "gate")
	require.NoError(t, os.WriteFile(config, []byte("old"), 0o644))
	p, _ := startDaemon(t, "check=cat:"+config, "reload=until:"+gate)
	p.signal(syscall.SIGHUP)
	p.await("OnReload")
	flood(t, p, syscall.SIGHUP, 5_000)
	require.NoError(t, os.WriteFile(config, []byte("new"), 0o644))
	flood(t, p, syscall.SIGHUP, 5_000)
	awaitDelivery(t, p)
	touch(t, gate)
	p.await("msg=reloaded", 2)
	p.signal(syscall.SIGINT)
	require.Equal(t, 0, p.wait())
	require.Equal(t, 1, linesOf(p, "OnCheck says: old"))
	requireOnce(t, linesOf(p, "OnCheck says: new"))
}

func TestF14_AStoppedDaemonGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t)
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTSTP} {
		p.signal(sig)
		if sig == syscall.SIGSTOP {
			eventually(t, func() bool {
				stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid()))
				require.NoError(t, err)
				return strings.Contains(string(stat), ") T ")
			}, "pid %d to be stopped", p.pid())
			require.Equal(t, 0, callVerb(t, path, "status").code, "it is still there")
		}
		p.signal(syscall.SIGCONT)
	}
	requireLives(t, p)
}

// pty opens a pseudo terminal: the end that stands for the window, and the one for programs.
func pty(t *testing.T) (window, tty *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	window = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { window.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { tty.Close() })
	return window, tty
}

// inTerminal makes cmd the foreground of that terminal when it is launched. It reads from it; what it writes goes where it went.
func inTerminal(cmd *exec.Cmd, tty *os.File) *exec.Cmd {
	cmd.Stdin = tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	return cmd
}

// closeWindow is what makes the terminal hang up.
func closeWindow(t *testing.T, window, tty *os.File) {
	t.Helper()
	require.NoError(t, tty.Close())
	require.NoError(t, window.Close())
}

func TestE8_TheEndOfItsTerminalStopsADaemonInTheForeground(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	path := pidPath(t)
	p := launch(t, inTerminal(command(daemon, "pidfile="+path), tty))
	p.await("msg=ready")
	p.signal(syscall.SIGHUP)
	p.await("msg=reloaded") // somebody sent it, and the terminal is there

	closeWindow(t, window, tty)
	require.Equal(t, 0, p.wait())
	p.await("stopped by signal: hangup")
	require.Equal(t, 1, linesOf(p, "OnReload"))
	require.Equal(t, 1, linesOf(p, "OnStop done"))
	require.Equal(t, 1, linesOf(p, "OnExit done"))
	require.NoFileExists(t, path)
}

func TestE8_ADaemonThatWritesToATerminalSurvivesItsEndLongEnoughToStop(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	path, left := pidPath(t), filepath.Join(t.TempDir(), "left")
	cmd := inTerminal(command(scribe, path, left), tty)
	cmd.Stdout, cmd.Stderr = tty, tty
	p := launch(t, cmd)
	eventually(t, func() bool { _, err := os.Stat(left + ".started"); return err == nil }, "the start")
	closeWindow(t, window, tty)
	require.Equal(t, 0, p.wait())
	require.FileExists(t, left+".stopped")
	require.NoFileExists(t, path)
}

// scribe leaves files behind, for what it prints is lost.
var scribe = registerProgram("scribe", func(args []string) int {
	leave := func(what string) func(context.Context) error {
		return func(context.Context) error {
			fmt.Println(what)
			return os.WriteFile(args[1]+what, nil, 0o644)
		}
	}
	return Main([]string{"run"}, nil, PIDFile(args[0]), OnStart(leave(".started")), OnExit(leave(".stopped")))
})

func TestF1_UnderNohupTheEndOfTheTerminalIsAReload(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	p := launch(t, inTerminal(wrapped([]string{"nohup"}, daemon, "pidfile="+pidPath(t)), tty))
	p.await("msg=ready")
	closeWindow(t, window, tty)
	p.await("msg=reloaded")
	requireStops(t, p)
}

// requireStops stops the daemon and requires that its hooks are balanced.
func requireStops(t *testing.T, p *process) {
	t.Helper()
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	requireBalanced(t, p)
}

func TestF15_CtrlCStopsADaemonInTheForegroundAndSaysWhatAnotherWouldDo(t *testing.T) {
	t.Parallel()
	window, tty := pty(t)
	gate := filepath.Join(t.TempDir(), "gate")
	cmd := inTerminal(command(daemon, "pidfile="+pidPath(t), "stop=until:"+gate, "run"), tty)
	cmd.Stderr = tty
	p := launch(t, cmd)
	var screen lines
	go io.Copy(&screen, window)
	eventually(t, func() bool { return screen.count("msg=ready") == 1 }, "a ready daemon on the screen")
	_, err := window.Write([]byte{'C' & 0x1f})
	require.NoError(t, err)
	eventually(t, func() bool { return screen.count("daemon: stopping; Ctrl-C again to quit at once\r\n") == 1 },
		"the daemon to say what it does")
	touch(t, gate)
	require.Equal(t, 0, p.wait())
	require.Equal(t, 1, linesOf(p, "OnExit done"))
}

func TestF15_ATERMOrAnINTWithoutATerminalSaysNothingOfCtrlC(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p, _ := startDaemon(t, "run")
		p.signal(sig)
		require.Equal(t, 0, p.wait())
		require.Zero(t, p.out.count("Ctrl-C"))
	}
}
