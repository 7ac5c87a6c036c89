package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// guard supervises a program:
//
//	guard [key=value …] verb [-- program arguments]
//
// The keys are pidfile, log, supervise, starttimeout, stoptimeout, workdir, user, chroot, and check
// and ready: scripts of sh for OnCheck and ReadyWhen. guard forwards USR2; guardRelease does not.
var guard = proctest.Register("guard", func(args []string) int {
	return runGuard(args, lifecycle.OnSignal(syscall.SIGUSR2, func(ctx context.Context) error { return nil }))
})

// runGuard is the main of the program guard, with more options.
func runGuard(args []string, more ...lifecycle.Option) int {
	var argv []string
	if at := slices.Index(args, "--"); at >= 0 {
		args, argv = args[:at], args[at+1:]
	}
	does := map[string]string{}
	for len(args) > 0 && strings.Contains(args[0], "=") {
		key, value, _ := strings.Cut(args[0], "=")
		does[key], args = value, args[1:]
	}
	opts := append(more,
		lifecycle.Name("guard"), lifecycle.PIDFile(does["pidfile"]), lifecycle.LogFile(does["log"]), lifecycle.WorkDir(does["workdir"]), lifecycle.User(does["user"]), lifecycle.Chroot(does["chroot"]),
		lifecycle.Supervise(parsePolicy(does["supervise"])),
	)
	for key, option := range map[string]func(time.Duration) lifecycle.Option{"starttimeout": lifecycle.StartTimeout, "stoptimeout": lifecycle.StopTimeout} {
		if d, err := time.ParseDuration(does[key]); err == nil {
			opts = append(opts, option(d))
		}
	}
	if argv != nil {
		opts = append(opts, lifecycle.Program(argv...))
	}
	for key, option := range map[string]func(func(context.Context) error) lifecycle.Option{"check": lifecycle.OnCheck, "ready": lifecycle.ReadyWhen} {
		if script := does[key]; script != "" {
			opts = append(opts, option(func(ctx context.Context) error {
				if script == "panic" {
					panic("it is broken")
				}
				out, err := exec.CommandContext(ctx, "sh", "-c", script).CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			}))
		}
	}
	return lifecycle.Main(args, nil, opts...)
}

// guard runs the program guard here, with a shell script as the program.
func (b *background) guard(script string, args ...string) proctest.Result {
	b.t.Helper()
	return proctest.Call(b.t, guard, append(b.args(args...), "--", "sh", "-c", script)...)
}

func TestAnyProgramCanBeSupervised(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	parent := b.readied(b.guard("echo it runs; exec sleep 60", "supervise=min:-1ns,settle:20ms", "start"))
	worker := b.worker(0)
	require.Equal(t, parent, b.status().PID)
	require.NoError(t, syscall.Kill(worker, syscall.SIGSEGV))
	second := b.worker(worker)
	require.Regexp(t, fmt.Sprintf(`^daemon: ready \(pid %d, worker %d\) for \ds, 1 restart \ds ago: signal SIGSEGV\n  log: /.*\n$`, parent, second), b.call("status").Stdout)
	require.Equal(t, 2, strings.Count(b.said(), "it runs\n"))
	require.Contains(t, b.said(), "signal SIGSEGV")
	b.stop()
}

func TestAProgramIsStartedInTheDirectoryOfTheStart(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	dir := t.TempDir()
	cmd := proctest.Command(guard, append(b.args("start"), "--", "sh", "-c", "pwd; exec sleep 60")...)
	cmd.Dir = dir
	b.readied(proctest.CallCommand(t, cmd))
	b.awaitSaid(dir + "\n")
	b.stop()

	other := t.TempDir()
	b.readied(b.guard("pwd; exec sleep 60", "workdir="+other, "start"))
	b.awaitSaid(other + "\n")
	b.stop()
}

// jailWithShell returns a directory that can be a root directory, with sh and a pipe /fifo.
func jailWithShell(t *testing.T) (root string) {
	t.Helper()
	proctest.Needs(t, "ldd")
	root = jail(t)
	sh, err := exec.LookPath("sh")
	require.NoError(t, err)
	libraries, err := exec.Command("ldd", sh).Output()
	require.NoError(t, err)
	copies := map[string]string{sh: "/bin/sh"}
	for _, path := range regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1) {
		copies[path] = path
	}
	for from, to := range copies {
		require.NoError(t, os.MkdirAll(filepath.Dir(root+to), 0o755))
		require.NoError(t, os.WriteFile(root+to, readFile(t, from), 0o755))
	}
	require.NoError(t, syscall.Mkfifo(filepath.Join(root, "fifo"), 0o666))
	return root
}

func TestAProgramIsStartedInItsRootDirectory(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root", "ldd")
	root := jailWithShell(t)
	for dir, want := range map[string]string{"": "/", t.TempDir(): "/", filepath.Join(root, "bin"): "/bin"} {
		for _, sh := range []string{"/bin/sh", "sh"} {
			b := inBackground(t)
			require.NoError(t, os.Chmod(filepath.Dir(b.log), 0o755))
			args := append(b.args("chroot="+root, "user=12345:12345", "workdir="+dir, "start"), "--", sh, "-c", "echo in $PWD; read forever < /fifo")
			b.readied(proctest.Call(t, guard, args...))
			b.awaitSaid("in " + want + "\n")
			b.stop()
		}
	}
}

func TestAProgramThatCannotBeStartedFailsTheStart(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	script := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o755))
	for argv0, want := range map[string]string{
		"lifecycle-no-such-program": `start failed: program lifecycle-no-such-program: executable file not found in $PATH`,
		"/no/such/program":          "start failed: program /no/such/program: stat: no such file or directory",
		script:                      "start failed: cannot start " + script + ": ",
	} {
		got := proctest.Call(t, guard, append(b.args("start"), "--", argv0)...)
		require.Equal(t, 1, got.Code, "%s", got.Stderr)
		require.Contains(t, got.Stderr, want)
		b.requireNothingLeft()
	}
	got := b.guard("echo its last words; exit 7", "supervise=settle:1h", "start")
	require.Equal(t, proctest.Result{Stderr: "guard: start failed: died before it was ready (exit 7); its last words:\n  | its last words\n", Code: 1}, withoutLog(got))
	b.requireNothingLeft()
}

func TestTheErrorOfAProgramThatForksIntoTheBackgroundGivesAdvice(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := b.guard("setsid sleep 60 & exit 0", "supervise=settle:1h", "start")
	require.Equal(t, 1, got.Code)
	require.Contains(t, got.Stderr, "must stay in the foreground")
	b.requireNothingLeft()
}

// squid writes its errors to a log of its own, and leaves a helper.
func TestAProgramThatFailsAndLeavesAChildReportsOnlyItsOwnOutput(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	for words, want := range map[string]string{"": "", "echo the port is in use; ": "; its last words:\n  | the port is in use"} {
		got := withoutLog(b.guard("sleep 60 & "+words+"exit 7", "supervise=settle:1h", "start"))
		require.Equal(t, proctest.Result{Stderr: "guard: start failed: died before it was ready (exit 7)" + want + "\n", Code: 1}, got)
		require.Contains(t, b.said(), "ending a process that the worker left behind")
		b.requireNothingLeft()
	}
}

func TestProcessesThatAStoppedProgramLeavesAreEnded(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	p := proctest.Start(t, guard, "pidfile="+pidfile, "run", "--", "sh", "-c", "trap 'exit 0' TERM; sleep 60 & echo waits; wait")
	p.Await("waits")
	p.Await("INFO ready")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait(), "%s", p.Out)
	requireNothingLeft(t, pidfile)
}

func TestAProgramThatIgnoresTERMIsKilled(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.readied(b.guard("trap 'echo asked' TERM; while :; do sleep 0.01; done", "stoptimeout=50ms", "start"))
	worker := b.worker(0)
	got := b.call("stop")
	require.Equal(t, 1, got.Code, "%s", got.Stderr)
	require.Contains(t, got.Stderr, fmt.Sprintf("but it failed: the stop took too long: the worker (pid %d) was killed", worker))
	require.Contains(t, b.said(), "asked\n")
	require.Contains(t, b.said(), fmt.Sprintf("the worker (pid %d) was killed", worker))
	b.requireNothingLeft()
}

// notifies returns a script that sends notifications (sd_notify) with socat or python3, whichever
// is installed.
func notifies(t *testing.T) (say string) {
	t.Helper()
	proctest.Needs(t, "python3")
	path := filepath.Join(t.TempDir(), "say.py")
	require.NoError(t, os.WriteFile(path, []byte(`
import os, signal, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = os.environ["NOTIFY_SOCKET"]
s.connect("\0" + address[1:] if address[0] == "@" else address)
say = lambda text: s.send(text.encode())
def reload(*_):
    say("RELOADING=1\nMONOTONIC_USEC=%d" % (time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6))
    say("READY=1" if sys.argv[1] == "takes" else "READY=1\nX_LIFECYCLE_ERROR=line 7 is bad")
signal.signal(signal.SIGHUP, reload)
say("STATUS=warming up")
while sys.argv[1] != "takes" and not os.path.exists(sys.argv[1]):
    time.sleep(0.001)
say("READY=1\nSTATUS=serves")
while True:
    time.sleep(60)
`), 0o644))
	return path
}

func TestAProgramThatUsesNotifyIsReadyWhenItSendsREADY(t *testing.T) {
	t.Parallel()
	say := notifies(t)
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	launcher := proctest.Start(t, guard, append(b.args("supervise=settle:10s", "start"), "--", "python3", say, gate)...)
	s := b.told("it to say what it does", func(s lifecycle.Status) bool { return s.Text == "warming up" })
	require.Equal(t, lifecycle.Starting, s.Phase)
	proctest.Touch(t, gate)
	require.Equal(t, 0, launcher.Wait())
	b.told("it to say what it does", func(s lifecycle.Status) bool { return s.Text == "serves" && s.Phase == lifecycle.Ready })
	got := proctest.Call(t, guard, b.args("reload")...)
	require.Equal(t, proctest.Result{Stderr: "guard: reload rejected, old configuration kept: line 7 is bad\n", Code: 1}, got)
	b.stop()

	b.readied(proctest.Call(t, guard, append(b.args("supervise=settle:10s", "start"), "--", "python3", say, "takes")...))
	require.Equal(t, 0, proctest.Call(t, guard, b.args("reload")...).Code)
	b.stop()

	got = proctest.Call(t, guard, append(b.args("starttimeout=2s", "supervise=settle:10s", "start"), "--", "python3", say, "/no/such/gate")...)
	require.Equal(t, proctest.Result{Stderr: "guard: start failed: not ready after 2s; stopped, nothing left\n", Code: 1}, withoutLog(got))
	b.requireNothingLeft()
}
