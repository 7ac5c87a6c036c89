package e2e

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

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// Row J4.
func TestVerbsWorkIntoAPIDNamespaceButNotOutOfIt(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, ownPIDs...)
	t.Parallel()
	const elsewhere = "held by a daemon in another PID namespace\n"
	p, path := startDaemon(t)
	for verb, want := range map[string]proctest.Result{
		"status":      {Stdout: "daemon: running (in another PID namespace)\n"},
		"run":         {Stderr: "daemon: already running (pid unknown)\n", Code: 1},
		"stop":        {Stderr: "daemon: stop: PID file " + path + ": " + elsewhere, Code: 1},
		"reload":      {Stderr: "daemon: reload: PID file " + path + ": " + elsewhere, Code: 1},
		"reopen":      {Stderr: "daemon: reopen: PID file " + path + ": " + elsewhere, Code: 1},
		"restart":     {Stderr: "daemon: restart: PID file " + path + ": " + elsewhere, Code: 1},
		"try-restart": {Stderr: "daemon: try-restart: PID file " + path + ": " + elsewhere, Code: 1},
	} {
		require.Equal(t, want, proctest.CallCommand(t, proctest.Wrapped(ownPIDs, daemon, "pidfile="+path, verb)), verb)
	}
	requireLives(t, p)

	inner := proctest.Launch(t, proctest.Wrapped(ownPIDs, daemon, "pidfile="+path))
	inner.Await("msg=ready")
	pid := strconv.Itoa(mustFind(t, path).PID)
	require.Contains(t, callVerb(t, path, "status").Stdout, "daemon: ready (pid "+pid+") ")
	for _, verb := range []string{"reload", "reopen"} {
		require.Equal(t, 0, callVerb(t, path, verb).Code, verb)
	}
	inner.Await("msg=reloaded")
	b := &background{t: t, pidfile: path, log: logPlace(t)}
	restarted := b.call("restart")
	require.Equal(t, 3, restarted.Code, restarted.Stderr)
	require.Contains(t, restarted.Stderr, "pid "+pid+" is process 1 of its container")
	stopped := b.call("stop")
	require.Equal(t, 0, stopped.Code, stopped.Stderr)
	require.Contains(t, stopped.Stderr, "daemon: stopped (pid "+pid+", ")
	require.Equal(t, 0, inner.Wait())
}

// everyVerb is a script that runs each verb and prints its exit code and output.
const everyVerb = `for verb in start status reload reopen restart status stop status; do "$0" "$@" $verb 2>&1; echo "$verb: $?"; done`

// requireEveryVerb requires that the output of everyVerb is the usual one.
func requireEveryVerb(t *testing.T, got proctest.Result) {
	t.Helper()
	require.Equal(t, []string{
		"start: 0", "status: 0", "reload: 0", "reopen: 0", "restart: 0", "status: 0", "stop: 0", "status: 3",
	}, regexp.MustCompile(`(?m)^[a-z]+: \d+$`).FindAllString(got.Stdout, -1), "%s%s", got.Stdout, got.Stderr)
}

// inShell runs the program daemon in a shell script, which runs under the wrapper.
func inShell(wrapper []string, script, program string, args ...string) *exec.Cmd {
	return proctest.Wrapped(append(slices.Clone(wrapper), "sh", "-c", script), program, args...)
}

// everybodysBinary returns a copy of the test binary that other users can execute.
func everybodysBinary(t *testing.T) (path string) {
	t.Helper()
	path = copyOfTestBinary(t)
	for dir := filepath.Dir(path); dir != filepath.Dir(os.TempDir()); dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	return path
}

// ownProc returns a wrapper that makes a PID namespace. A shell is process 1 of the namespace, and
// runs the command do, which mounts /proc.
func ownProc(do string) []string {
	return []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", do + ` || exit 99; "$@"; exit $?`, "sh"}
}

// Row J5.
func TestVerbsReachTheUsersOwnDaemonIfProcHidesOtherProcesses(t *testing.T) {
	proctest.Needs(t, "root", "setpriv")
	hiding := append(ownProc("mount -o remount,hidepid=2 /proc"), "setpriv", "--reuid="+strconv.Itoa(nobody), "--regid="+strconv.Itoa(nobody), "--clear-groups")
	proctest.NeedsCommand(t, hiding...)
	t.Parallel()
	dir := nobodys(t)
	pidfile := filepath.Join(dir, "daemon.pid")
	cmd := inShell(hiding, everyVerb, daemon, "pidfile="+pidfile, "log="+filepath.Join(dir, "log"))
	cmd.Args[slices.Index(cmd.Args, proctest.Binary())] = everybodysBinary(t)
	requireEveryVerb(t, proctest.CallCommand(t, cmd))
	require.NoFileExists(t, pidfile)
}

// withoutProc makes a mount namespace without /proc.
var withoutProc = []string{"unshare", "--mount", "sh", "-c", `umount -l /proc && exec "$0" "$@"`}

// Row J6.
func TestADaemonCannotBeDetachedWithoutProcAndARestartStopsNone(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, withoutProc...)
	t.Parallel()
	const hint = "daemon: start failed: cannot find the executable of this process (is /proc mounted?): readlink /proc/self/exe: no such file or directory\n"
	b := inBackground(t)
	inside := func(args ...string) proctest.Result {
		return proctest.CallCommand(t, proctest.Wrapped(withoutProc, daemon, b.args(args...)...))
	}
	started := inside("start")
	require.Equal(t, 1, started.Code)
	// The race detector may print text before the hint.
	require.True(t, strings.HasSuffix(started.Stderr, hint), started.Stderr)
	b.requireNothingLeft()
	pid := b.start()
	require.True(t, strings.HasSuffix(inside("restart").Stderr, hint))
	for _, verb := range []string{"status", "reload", "reopen"} {
		got := inside(verb)
		require.Equal(t, 0, got.Code, "%s: %s%s", verb, got.Stdout, got.Stderr)
	}
	requireRunning(t, b.pidfile, pid)
	require.Equal(t, 0, inside("stop").Code)
	b.requireNothingLeft()
}

// withFaults runs a program and its descendants with faults in system calls, such as
// "close_range:error=ENOSYS". The tracer is a grandchild (-D), ends with the last process, and
// keeps no pipe open.
func withFaults(t *testing.T, faults []string, program string, args ...string) (got proctest.Result, trace string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "trace")
	strace := []string{"strace", "-D", "-f", "-I1", "-o", path}
	for _, fault := range faults {
		strace = append(strace, "-e", "inject="+fault)
	}
	cmd := proctest.Wrapped(strace, program, args...)
	var files [2]*os.File
	for i, name := range []string{"stdout", "stderr"} {
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		defer f.Close()
		files[i] = f
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	code := proctest.Launch(t, cmd).Wait()
	return proctest.Result{Stdout: string(readFile(t, files[0].Name())), Stderr: string(readFile(t, files[1].Name())), Code: code}, string(readFile(t, path))
}

// Rows C10, J9.
func TestEveryVerbWorksWithoutPidfdAndCloseRange(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for _, errno := range []string{"ENOSYS", "EPERM"} {
		for _, calls := range proctest.Few(1, []string{
			"pidfd_open close_range", "pidfd_open pidfd_send_signal close_range waitid", "pidfd_send_signal",
		}) {
			t.Run(errno+" "+calls, func(t *testing.T) {
				t.Parallel()
				b := inBackground(t)
				var faults []string
				for call := range strings.FieldsSeq(calls) {
					faults = append(faults, call+":error="+errno)
				}
				for _, verb := range []string{"start", "status", "reload", "reopen", "restart", "status", "stop"} {
					got, trace := withFaults(t, faults, daemon, b.args(verb)...)
					require.Equal(t, 0, got.Code, "%s: %s%s", verb, got.Stdout, got.Stderr)
					require.Contains(t, trace, "(INJECTED)", verb)
					if verb == "status" {
						require.Contains(t, got.Stdout, "daemon: ready (pid ")
					}
				}
				b.requireNothingLeft()
			})
		}
	}
}

// Root of a user namespace may have no rights over other users.
// Row J8.
func TestRootOfAUserNamespaceCannotSignalADaemonOfAnotherUser(t *testing.T) {
	proctest.Needs(t, "root")
	proctest.NeedsCommand(t, "unshare", "--user")
	t.Parallel()
	binary := everybodysBinary(t)
	p, path := startDaemon(t)
	for dir := filepath.Dir(path); dir != filepath.Dir(os.TempDir()); dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	requireUntouched := proctest.Untouched(t, path)
	for _, verb := range []string{"status", "stop", "reload", "reopen", "restart", "try-restart", "start", "run"} {
		cmd := proctest.Command(daemon, "pidfile="+path, verb)
		cmd.Path = binary
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Credential: &syscall.Credential{NoSetGroups: true},
		}
		got := proctest.CallCommand(t, cmd)
		switch verb {
		case "status":
			requireReady(t, p.PID(), got)
			continue
		case "start", "run":
			require.Equal(t, proctest.Result{Stderr: fmt.Sprintf("daemon: already running (pid %d)\n", p.PID()), Code: 1}, got)
			continue
		}
		if strings.Contains(verb, "restart") { // the daemon is in the foreground
			require.Equal(t, 3, got.Code, "%s: %s", verb, got.Stderr)
			continue
		}
		require.Equal(t, 4, got.Code, "%s: %s", verb, got.Stderr)
		require.Regexp(t, "(operation not permitted|permission denied .as user 0.)\"?\n$", got.Stderr, verb)
	}
	requireUntouched()
	requireLives(t, p)
}

// Row J10.
func TestTheClocksOfATimeNamespaceWork(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	for _, offset := range []string{"-1", "100000000"} {
		clocks := []string{"unshare", "--time", "--fork", "--boottime", offset, "--monotonic", offset}
		proctest.NeedsCommand(t, clocks...)
		b := inBackground(t)
		requireEveryVerb(t, proctest.CallCommand(t, inShell(clocks, everyVerb, daemon, b.args("stoptimeout=2s")...)))
		b.requireNothingLeft()
	}
}

// Row J7.
func TestADaemonOnAReadOnlyRootNeedsOnlyTheDirectoryOfItsFiles(t *testing.T) {
	proctest.Needs(t, "root")
	readOnlyRoot := []string{"unshare", "--mount", "sh", "-c", `mount -o remount,ro,bind / && exec "$@"`, "sh"}
	proctest.NeedsCommand(t, readOnlyRoot...)
	t.Parallel()
	dir := t.TempDir()
	script := "mount -t tmpfs -o mode=0755 tmpfs " + dir + " && test ! -w / || exit 99\n" + everyVerb
	requireEveryVerb(t, proctest.CallCommand(t, inShell(readOnlyRoot, script, daemon, "pidfile="+filepath.Join(dir, "daemon.pid"), "log="+filepath.Join(dir, "log"))))
}

// The time of day is only displayed. This test writes a time in the past or the future into the
// state file, as if the clock had been set, because a test cannot fake the clock of a Go program.
// Rows H10, J10.
func TestAWrongTimeOfDayDoesNotChangeAnyWait(t *testing.T) {
	t.Parallel()
	for what, years := range map[string]int{"the past": -30, "the future": 30} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			pid := b.start("reload=error")
			require.Equal(t, 1, b.call("reload").Code)
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
			require.Equal(t, 0, status.Code)
			require.Contains(t, status.Stdout, fmt.Sprintf("daemon: ready (pid %d) for ", pid))
			require.Equal(t, 0, b.call("status", "--ready").Code)
			require.ErrorIs(t, found.Reload(t.Context()), lifecycle.ErrReload, "the verdict of this reload and not of the earlier one")
			require.Equal(t, 2, stateOf(t, b.pidfile).Reloads)
			shift()
			b.stop()
		})
	}
}
