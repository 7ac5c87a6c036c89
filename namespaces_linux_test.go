package lifecycle

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Row J1.
func TestAsProcess1TheForegroundIsThatOfAnyOther(t *testing.T) {
	needs(t, "root")
	needsLeave(t, ownPIDs...)
	t.Parallel()
	for what, want := range map[string]struct {
		args []string
		sig  syscall.Signal
		code int
	}{
		"TERM":          {nil, syscall.SIGTERM, 0},
		"INT":           {nil, syscall.SIGINT, 0},
		"a failed stop": {[]string{"stop=error"}, syscall.SIGTERM, 1},
		"a failed body": {[]string{"run=error", "ready=wait"}, 0, 1},
		"a panic":       {[]string{"start=panic"}, 0, 70},
		"an exit":       {[]string{"usr2=exit:37"}, syscall.SIGUSR2, 37},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := pidPath(t)
			p := launch(t, wrapped(ownPIDs, daemon, append(append([]string{"pidfile=" + path}, want.args...), "run")...))
			if want.sig != 0 {
				p.await("msg=ready")
				found := mustFind(t, path)
				require.NoError(t, found.Reload(t.Context()))
				require.NoError(t, found.Signal(want.sig))
			}
			require.Equal(t, want.code, p.wait(), "%s", p.out)
			if what != "an exit" {
				requireNothingLeft(t, path)
			}
		})
	}
}

// Row J1.
func TestProcess1StartsNothingInTheBackground(t *testing.T) {
	needs(t, "root")
	needsLeave(t, ownPIDs...)
	t.Parallel()
	programsUsed.Store(ensuring, true)
	const hint = "this is process 1, and whatever it starts in the background ends with it: live in the foreground, with the verb run\n"
	path := pidPath(t)
	for what, cmd := range map[string]*exec.Cmd{
		"start":        wrapped(ownPIDs, daemon, "pidfile="+path, "start"),
		"restart":      wrapped(ownPIDs, daemon, "pidfile="+path, "restart"),
		"Run detached": wrapped(ownPIDs, daemon, "pidfile="+path, "detach="),
		"Ensure":       wrapped(ownPIDs, ensuring, "once", "pidfile="+path),
	} {
		got := runCommand(t, cmd)
		require.Equal(t, 1, got.code, what)
		require.Contains(t, got.stdout+got.stderr, hint, what)
		requireNothingLeft(t, path)
	}
}

// Whoever started the daemon is gone, and so it is a child of process 1, which is the test here and waits for nobody.
// Row J2.
func TestAZombieOfAProcess1ThatDoesNotReapIsNoDaemon(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	b := inBackground(t)
	for _, how := range []string{"KILL", "stop", "restart"} {
		pid := b.start()
		eventually(t, func() bool { return statusField(t, pid, "PPid") == "1" }, "the end of who started pid %d", pid)
		switch how {
		case "KILL":
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			eventually(t, func() bool { return isOver(pid) }, "the end of pid %d", pid)
			status := b.call("status")
			require.Equal(t, 1, status.code)
			require.Contains(t, status.stdout, fmt.Sprintf("daemon: dead: pid %d left ", pid))
			require.Equal(t, 7, b.call("stop").code)
		case "stop":
			b.stop()
		case "restart":
			got := b.call("restart")
			require.Equal(t, 0, got.code, got.stderr)
			require.Contains(t, got.stderr, fmt.Sprintf("daemon: stopped (pid %d, ", pid))
			b.stop()
		}
		require.Equal(t, "Z (zombie)", statusField(t, pid, "State"), "or this test shows nothing")
	}
}

// Rows J3, J11.
func TestAContainerThatIsRestartedTakesTheFileOfItsOwnPIDOver(t *testing.T) {
	needs(t, "root")
	needsLeave(t, ownPIDs...)
	t.Parallel()
	path := pidPath(t)
	for range 3 {
		p := launch(t, wrapped(ownPIDs, daemon, "pidfile="+path, "run"))
		p.await("msg=ready")
		requireText(t, path, "1\n")
		p.signal(syscall.SIGKILL) // and with it everything inside
		p.wait()
		eventually(t, func() bool { return isFree(t, path) }, "the lock")
		inside := runCommand(t, wrapped(ownPIDs, daemon, "pidfile="+path, "status")) // it has that PID itself
		require.Equal(t, 1, inside.code)
		require.Contains(t, inside.stdout, "daemon: dead: pid 1 left "+path)
		require.Equal(t, 7, callVerb(t, path, "stop").code, "and not process 1 of this namespace")
	}
	requireStarts(t, path)
}

// Row J4.
func TestVerbsReachIntoAPIDNamespaceButNotOutOfIt(t *testing.T) {
	needs(t, "root")
	needsLeave(t, ownPIDs...)
	t.Parallel()
	const elsewhere = "held by a daemon in another PID namespace\n"
	p, path := startDaemon(t)
	for verb, want := range map[string]result{
		"status":      {"daemon: running (in another PID namespace)\n", "", 0},
		"run":         {"", "daemon: already running (pid not known here)\n", 1},
		"stop":        {"", "daemon: stop: PID file " + path + ": " + elsewhere, 1},
		"reload":      {"", "daemon: reload: PID file " + path + ": " + elsewhere, 1},
		"reopen":      {"", "daemon: reopen: PID file " + path + ": " + elsewhere, 1},
		"restart":     {"", "daemon: restart: PID file " + path + ": " + elsewhere, 1},
		"try-restart": {"", "daemon: try-restart: PID file " + path + ": " + elsewhere, 1},
	} {
		require.Equal(t, want, runCommand(t, wrapped(ownPIDs, daemon, "pidfile="+path, verb)), verb)
	}
	requireLives(t, p)

	inner := launch(t, wrapped(ownPIDs, daemon, "pidfile="+path))
	inner.await("msg=ready")
	pid := strconv.Itoa(mustFind(t, path).PID)
	require.Contains(t, callVerb(t, path, "status").stdout, "daemon: ready (pid "+pid+") ")
	for _, verb := range []string{"reload", "reopen"} {
		require.Equal(t, 0, callVerb(t, path, verb).code, verb)
	}
	inner.await("msg=reloaded")
	b := &background{t: t, pidfile: path, log: logPlace(t)}
	restarted := b.call("restart")
	require.Equal(t, 0, restarted.code, restarted.stderr)
	require.Contains(t, restarted.stderr, "daemon: stopped (pid "+pid+", ")
	require.Equal(t, 0, inner.wait())
	b.stop()
}

// everyVerb is a life from outside, as a script: each verb with its exit code, and what it says.
const everyVerb = `for verb in start status reload reopen restart status stop status; do "$0" "$@" $verb 2>&1; echo "$verb: $?"; done`

// requireEveryVerb requires of what everyVerb has said that all is as ever.
func requireEveryVerb(t *testing.T, got result) {
	t.Helper()
	require.Equal(t, []string{
		"start: 0", "status: 0", "reload: 0", "reopen: 0", "restart: 0", "status: 0", "stop: 0", "status: 3",
	}, regexp.MustCompile(`(?m)^[a-z]+: \d+$`).FindAllString(got.stdout, -1), "%s%s", got.stdout, got.stderr)
}

// inShell is the program daemon under a shell script, which is under the wrapper.
func inShell(wrapper []string, script, program string, args ...string) *exec.Cmd {
	return wrapped(append(slices.Clone(wrapper), "sh", "-c", script), program, args...)
}

// everybodysBinary is the test binary where other users can execute it.
func everybodysBinary(t *testing.T) (path string) {
	t.Helper()
	path = copyOfTestBinary(t)
	for dir := filepath.Dir(path); dir != filepath.Dir(os.TempDir()); dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	return path
}

// ownProc is a PID namespace in which a shell is process 1, and has done that to /proc.
func ownProc(do string) []string {
	return []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", do + ` || exit 99; "$@"; exit $?`, "sh"}
}

// Row J5.
func TestWhereProcHidesTheOthersTheVerbsReachOnesOwn(t *testing.T) {
	needs(t, "root", "setpriv")
	hiding := append(ownProc("mount -o remount,hidepid=2 /proc"), "setpriv", "--reuid="+strconv.Itoa(nobody), "--regid="+strconv.Itoa(nobody), "--clear-groups")
	needsLeave(t, hiding...)
	t.Parallel()
	dir := nobodys(t)
	pidfile := filepath.Join(dir, "daemon.pid")
	cmd := inShell(hiding, everyVerb, daemon, "pidfile="+pidfile, "log="+filepath.Join(dir, "log"))
	cmd.Args[slices.Index(cmd.Args, testBinary())] = everybodysBinary(t)
	requireEveryVerb(t, runCommand(t, cmd))
	require.NoFileExists(t, pidfile)
}

// withoutProc is a mount namespace in which nothing tells of processes.
var withoutProc = []string{"unshare", "--mount", "sh", "-c", `umount -l /proc && exec "$0" "$@"`}

// Row J6.
func TestWithoutProcADaemonCannotBeDetachedAndNoneIsStoppedForThat(t *testing.T) {
	needs(t, "root")
	needsLeave(t, withoutProc...)
	t.Parallel()
	const hint = "daemon: start failed: this program cannot find itself to be started again; is /proc mounted? readlink /proc/self/exe: no such file or directory\n"
	b := inBackground(t)
	inside := func(args ...string) result { return runCommand(t, wrapped(withoutProc, daemon, b.args(args...)...)) }
	started := inside("start")
	require.Equal(t, 1, started.code)
	require.True(t, strings.HasSuffix(started.stderr, hint), started.stderr) // the race detector has something to say before
	b.requireNothingLeft()
	pid := b.start()
	require.True(t, strings.HasSuffix(inside("restart").stderr, hint))
	for _, verb := range []string{"status", "reload", "reopen"} {
		got := inside(verb)
		require.Equal(t, 0, got.code, "%s: %s%s", verb, got.stdout, got.stderr)
	}
	requireRunning(t, b.pidfile, pid)
	require.Equal(t, 0, inside("stop").code)
	b.requireNothingLeft()
}

// withFaults runs a program with faults in its system calls and those of all that it starts, such as "close_range:error=ENOSYS". The tracer (-D) ends with
// the last of them, and keeps no pipe open.
func withFaults(t *testing.T, faults []string, program string, args ...string) (got result, trace string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "trace")
	strace := []string{"strace", "-D", "-f", "-I1", "-o", path}
	for _, fault := range faults {
		strace = append(strace, "-e", "inject="+fault)
	}
	cmd := wrapped(strace, program, args...)
	var files [2]*os.File
	for i, name := range []string{"stdout", "stderr"} {
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		defer f.Close()
		files[i] = f
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	code := launch(t, cmd).wait()
	return result{string(readFile(t, files[0].Name())), string(readFile(t, files[1].Name())), code}, string(readFile(t, path))
}

// Rows C10, J9.
func TestWithoutPidfdAndCloseRangeEveryVerbWorks(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for _, errno := range []string{"ENOSYS", "EPERM"} {
		for _, calls := range []string{"pidfd_open close_range", "pidfd_send_signal", "pidfd_open pidfd_send_signal close_range waitid"} {
			t.Run(errno+" "+calls, func(t *testing.T) {
				t.Parallel()
				b := inBackground(t)
				var faults []string
				for call := range strings.FieldsSeq(calls) {
					faults = append(faults, call+":error="+errno)
				}
				for _, verb := range []string{"start", "status", "reload", "reopen", "restart", "status", "stop"} {
					got, trace := withFaults(t, faults, daemon, b.args(verb)...)
					require.Equal(t, 0, got.code, "%s: %s%s", verb, got.stdout, got.stderr)
					require.Contains(t, trace, "(INJECTED)", verb)
					if verb == "status" {
						require.Contains(t, got.stdout, "daemon: ready (pid ")
					}
				}
				b.requireNothingLeft()
			})
		}
	}
}

// In a user namespace root may be a user without rights over anybody else.
// Row J8.
func TestRootOfAUserNamespaceMayNotTouchTheDaemonOfAnother(t *testing.T) {
	needs(t, "root")
	needsLeave(t, "unshare", "--user")
	t.Parallel()
	binary := everybodysBinary(t)
	p, path := startDaemon(t)
	for dir := filepath.Dir(path); dir != filepath.Dir(os.TempDir()); dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	requireUntouched := untouched(t, path)
	for _, verb := range []string{"status", "stop", "reload", "reopen", "restart", "try-restart", "start", "run"} {
		cmd := command(daemon, "pidfile="+path, verb)
		cmd.Path = binary
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Credential: &syscall.Credential{NoSetGroups: true},
		}
		got := runCommand(t, cmd)
		if verb == "status" {
			requireReady(t, p.pid(), got)
			continue
		}
		require.Equal(t, 4, got.code, "%s: %s", verb, got.stderr)
		require.Regexp(t, "(operation not permitted|permission denied .as user 0.)\n$", got.stderr, verb)
	}
	requireUntouched()
	requireLives(t, p)
}

// Row J10.
func TestTheClocksOfATimeNamespaceAreAsGoodAsAny(t *testing.T) {
	needs(t, "root")
	t.Parallel()
	for _, offset := range []string{"-1", "100000000"} {
		clocks := []string{"unshare", "--time", "--fork", "--boottime", offset, "--monotonic", offset}
		needsLeave(t, clocks...)
		b := inBackground(t)
		requireEveryVerb(t, runCommand(t, inShell(clocks, everyVerb, daemon, b.args("stoptimeout=2s")...)))
		b.requireNothingLeft()
	}
}

// Row J7.
func TestOnAReadOnlyRootItNeedsNoMoreThanTheDirectoryOfItsFiles(t *testing.T) {
	needs(t, "root")
	readOnlyRoot := []string{"unshare", "--mount", "sh", "-c", `mount -o remount,ro,bind / && exec "$@"`, "sh"}
	needsLeave(t, readOnlyRoot...)
	t.Parallel()
	dir := t.TempDir()
	script := "mount -t tmpfs -o mode=0755 tmpfs " + dir + " && test ! -w / || exit 99\n" + everyVerb
	requireEveryVerb(t, runCommand(t, inShell(readOnlyRoot, script, daemon, "pidfile="+filepath.Join(dir, "daemon.pid"), "log="+filepath.Join(dir, "log"))))
}

// The time of day is only shown. Go programs do not ask the kernel for it in a way that could be faked here, so it is the state file that comes from the
// past or the future, as it does when the clock has been set since.
// Rows H10, J10.
func TestATimeOfDayThatIsYearsOffChangesNothingThatIsWaitedFor(t *testing.T) {
	t.Parallel()
	for what, years := range map[string]int{"the past": -30, "the future": 30} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			pid := b.start("reload=error")
			require.Equal(t, 1, b.call("reload").code)
			shift := func() {
				s := stateOf(t, b.pidfile)
				for _, at := range []*time.Time{&s.Since, &s.Started, &s.Ready, &s.LastReload.At} {
					*at = at.AddDate(years, 0, 0)
				}
				writeState(t, b.pidfile, s)
			}
			shift()
			found := mustFind(t, b.pidfile)
			require.NoError(t, found.WaitReady(t.Context()))
			status := b.call("status")
			require.Equal(t, 0, status.code)
			require.Contains(t, status.stdout, fmt.Sprintf("daemon: ready (pid %d) for ", pid))
			require.Equal(t, 0, b.call("status", "--ready").code)
			require.ErrorIs(t, found.Reload(t.Context()), ErrReload, "the verdict of this reload and not of the one before")
			require.Equal(t, 2, stateOf(t, b.pidfile).Reloads)
			shift()
			b.stop()
		})
	}
}
