package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/safefile"
)

// faultyState does the same as faulty, for the state file.
func faultyState(t *testing.T, fault, pidfile string, args ...string) (cmd *exec.Cmd, requireFault func()) {
	t.Helper()
	return faulty(t, fault, proctest.StatePath(pidfile), append([]string{"pidfile=" + pidfile}, args...)...)
}

// A daemon makes the state file before it writes its PID, and removes it before the PID file.
// Therefore the state file always belongs to the holder of the PID file.
func TestTheStateFileIsCreatedBeforeThePIDAndRemovedBeforeThePIDFile(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for run, reason := range map[string]string{"run=:": "the end", "start=error": "a failed start"} {
		pidfile := proctest.PIDPath(t)
		trace := filepath.Join(t.TempDir(), "trace")
		got := proctest.CallCommand(t, proctest.Wrapped([]string{
			"strace", "-f", "-y", "-I1", "-o", trace, "-P", pidfile, "-P", proctest.StatePath(pidfile),
			"-e", "trace=flock,openat,pwrite64,unlinkat",
		}, daemon, "pidfile="+pidfile, run))
		require.NotContains(t, got.Stderr, "level=WARN")
		text, err := os.ReadFile(trace)
		require.NoError(t, err)
		calls := slices.Collect(strings.Lines(string(text)))
		at := -1
		for _, next := range []struct{ call, on, how string }{
			{"flock(", pidfile, "LOCK_EX"},
			{"openat(", proctest.StatePath(pidfile), "O_RDWR|O_CREAT|O_EXCL|O_NONBLOCK|O_NOFOLLOW|O_CLOEXEC"},
			{"pwrite64(", proctest.StatePath(pidfile), ", 4096, 0"},
			{"pwrite64(", pidfile, ""},
			{"unlinkat(", proctest.StatePath(pidfile), ""},
			{"unlinkat(", pidfile, ""},
		} {
			if reason == "a failed start" && next.call == "unlinkat(" && next.on != pidfile {
				continue // it stays
			}
			at++
			for at < len(calls) && !(strings.Contains(calls[at], next.call) && strings.Contains(calls[at], next.on)) {
				at++
			}
			require.Less(t, at, len(calls), "%s: no %s of %s where it should be:\n%s", reason, next.call, next.on, text)
			require.Contains(t, calls[at], next.how)
		}
		for _, call := range calls {
			if strings.Contains(call, "pwrite64(") && strings.Contains(call, proctest.StatePath(pidfile)) {
				require.Contains(t, call, ", 4096, 0", "the daemon writes the state in place, with one call")
			}
		}
		requireNothingLeft(t, pidfile)
	}
}

func TestAFailedWriteOfTheStateIsLoggedOnceAndTheDaemonRuns(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for fault, why := range map[string]string{
		"pwrite64:error=ENOSPC": "no space left on device",
		"pwrite64:error=EIO":    "input/output error",
		"pwrite64:retval=100":   "short write",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			pidfile := proctest.PIDPath(t)
			cmd, requireFault := faultyState(t, fault, pidfile)
			p := proctest.Launch(t, cmd)
			p.Await("msg=ready")
			requireFault()
			requireLivesWithoutState(t, p, pidfile, "cannot write the state file, so status and reload report less", why)
			requireNothingLeft(t, pidfile)
		})
	}
}

func TestADaemonRunsIfItCannotCreateItsStateFile(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for fault, why := range map[string]string{
		"openat:error=ENOSPC": "no space left on device",
		"openat:error=EACCES": "permission denied",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			pidfile := proctest.PIDPath(t)
			cmd, requireFault := faultyState(t, fault, pidfile)
			p := proctest.Launch(t, cmd)
			p.Await("msg=ready")
			requireFault()
			requireLivesWithoutState(t, p, pidfile, "cannot create the state file, so status and reload report less", why)
			requireNothingLeft(t, pidfile)
		})
	}
}

func TestTheNextWriteRepairsAFailedWrite(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	// The first write of each thread fails.
	cmd, requireFault := faultyState(t, "pwrite64:error=EIO:when=1", pidfile)
	p := proctest.Launch(t, cmd)
	p.Await("msg=ready")
	requireFault()
	for n := 1; callVerb(t, pidfile, "status", "--ready").Code != 0; n++ {
		require.Less(t, n, 100)
		p.Signal(syscall.SIGHUP)
		p.Await("msg=reloaded", n)
	}
	requireReady(t, p.PID(), callVerb(t, pidfile, "status"))
	require.NotZero(t, p.Out.Count("cannot write the state file"), "%s", p.Out)
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	requireNothingLeft(t, pidfile)
}

func TestAStateFileThatCannotBeRemovedIsEmptied(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	cmd, requireFault := faultyState(t, "unlinkat:error=EBUSY", pidfile)
	p := proctest.Launch(t, cmd)
	p.Await("msg=ready")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	requireFault()
	require.Equal(t, 1, p.Out.Count("cannot remove the state file, so it was emptied"), "%s", p.Out)
	require.NoFileExists(t, pidfile)
	proctest.RequireText(t, proctest.StatePath(pidfile), "")
	requireStarts(t, pidfile)
	requireNothingLeft(t, pidfile)
}

// startPausingAtState starts a daemon that is paused after its first call of that system call on
// its state file. resume continues the daemon.
func startPausingAtState(t *testing.T, call, pidfile string) (p *proctest.Process, resume func()) {
	t.Helper()
	cmd, awaitPause := faultyState(t, call+":signal=STOP:when=1", pidfile)
	sh, err := exec.LookPath("sh")
	require.NoError(t, err)
	// With this umask, a new file needs fchmod.
	cmd.Path, cmd.Args = sh, append([]string{"sh", "-c", `umask 077; exec "$@"`, "sh"}, cmd.Args...)
	p = proctest.Launch(t, cmd)
	awaitPause()
	return p, func() {
		t.Helper()
		tracer, err := strconv.Atoi(statusField(t, p.PID(), "TracerPid"))
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(tracer, syscall.SIGTERM)) // strace detaches
		proctest.Eventually(t, func() bool { return statusField(t, p.PID(), "TracerPid") == "0" }, "the end of strace")
		p.Signal(syscall.SIGCONT)
	}
}

// A start takes the lock before it makes its own state file.
func TestTheStateOfThePreviousDaemonIsNotReportedForTheNext(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for call, why := range map[string]func(before, next int) string{
		// It has not removed the old file.
		"pread64": func(before, _ int) string { return fmt.Sprintf("the record belongs to pid %d, not to pid 0", before) },
		// It has removed the old file.
		"unlinkat": func(int, int) string { return "no such file or directory" },
		// It has made its own file.
		"fchmod": func(int, int) string { return "the record is damaged" },
		// It has not written its PID.
		"pwrite64": func(_, next int) string { return fmt.Sprintf("the record belongs to pid %d, not to pid 0", next) },
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			before, pidfile := startDaemon(t)
			before.Signal(syscall.SIGKILL)
			before.Wait()
			next, resume := startPausingAtState(t, call, pidfile)
			requireUntold(t, next.PID(), pidfile, why(before.PID(), next.PID()))
			resume()
			next.Await("msg=ready")
			requireReady(t, next.PID(), callVerb(t, pidfile, "status"))
		})
	}
}

func TestProgramsOfTheDaemonDoNotInheritTheStateFile(t *testing.T) {
	t.Parallel()
	p, child, pidfile := startForker(t)
	openIn := func(pid int) (paths []string) {
		t.Helper()
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		require.NoError(t, err)
		require.NotEmpty(t, links)
		for _, link := range links {
			path, _ := os.Readlink(link) // "" if it is closed by now
			paths = append(paths, path)
		}
		return paths
	}
	require.Contains(t, openIn(p.PID()), proctest.StatePath(pidfile))
	require.NotContains(t, openIn(child.Pid), proctest.StatePath(pidfile))
}

func TestAStateFileOfAnotherUserIsNeitherReplacedNorRead(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky))
	pidfile := filepath.Join(dir, "daemon.pid")
	writeState(t, pidfile, fullStatus())
	require.NoError(t, os.Chown(proctest.StatePath(pidfile), nobody, nobody))
	p := proctest.Start(t, daemon, "pidfile="+pidfile)
	p.Await("msg=ready")
	forged := fullStatus()
	forged.PID, forged.Phase = p.PID(), lifecycle.Stopping
	f, err := os.OpenFile(proctest.StatePath(pidfile), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, safefile.WriteOnce(f, recordOf(t, forged)))

	requireUnchanged := unchanged(t, proctest.StatePath(pidfile), pidfile)
	requireUntold(t, p.PID(), pidfile, fmt.Sprintf("it belongs to user %d, and the PID file to user 0", nobody))
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	require.Equal(t, 0, p.Wait())
	require.Equal(t, 1, p.Out.Count("cannot create the state file, so status and reload report less"), "%s", p.Out)
	require.Equal(t, 1, p.Out.Count(fmt.Sprintf("it belongs to user %d, not to user 0", nobody)), "%s", p.Out)
	requireUnchanged()
}

func TestStatusReportsARunningDaemonToAUserWhoMayNotReadItsState(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	pidfile := filepath.Join(nobodys(t), "daemon.pid")
	require.NoError(t, os.Chown(filepath.Dir(pidfile), 0, 0))
	p := proctest.Start(t, daemon, "pidfile="+pidfile)
	p.Await("msg=ready")
	require.NoError(t, os.Chmod(proctest.StatePath(pidfile), 0o600))
	want := fmt.Sprintf("daemon: running (pid %d); cannot read its state: state file %s: open: permission denied\n",
		p.PID(), proctest.StatePath(pidfile))
	require.Equal(t, proctest.Result{Stdout: want}, proctest.Call(t, asNobody, "pidfile="+pidfile, "status"))
	require.Equal(t, proctest.Result{Stdout: want, Code: 150}, proctest.Call(t, asNobody, "pidfile="+pidfile, "status", "--ready"))
	requireReady(t, p.PID(), callVerb(t, pidfile, "status"))
}

// leaver is a daemon that gives up its rights in OnStart, and with "chroot" also the access to its
// files.
var leaver = proctest.Register("leaver", func(args []string) int {
	return lifecycle.ExitCode(lifecycle.Run(nil, lifecycle.Name("leaver"), lifecycle.PIDFile(args[0]), lifecycle.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		lifecycle.OnStart(func(ctx context.Context) error {
			var err error
			if args[1] == "chroot" {
				err = errors.Join(syscall.Chroot(args[2]), os.Chdir("/"))
			}
			err = errors.Join(err, syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody))
			lifecycle.From(ctx).SetStatus("far away")
			return err
		})))
})

func TestTheStateIsWrittenFromAChrootAndByAnotherUser(t *testing.T) {
	proctest.Use(leaver)
	proctest.Needs(t, "root")
	t.Parallel()
	for _, how := range []string{"setuid", "chroot"} {
		pidfile := proctest.PIDPath(t)
		p := proctest.Start(t, leaver, pidfile, how, t.TempDir())
		p.Await("msg=ready")
		s := stateOf(t, pidfile)
		require.Equal(t, lifecycle.Ready, s.Phase)
		require.Equal(t, "far away", s.Text)
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait())
		require.Equal(t, 3, callVerb(t, pidfile, "status").Code)
		requireStarts(t, pidfile)
		requireNothingLeft(t, pidfile)
	}
}
