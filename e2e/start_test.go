package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// background is a place for daemons that a test detaches. They are nobody's children here, so they are known by their PID file, and by it in
// their arguments. At the end of the test they are ended, and nothing may be left of them.
type background struct {
	t            *testing.T
	pidfile, log string
	crashes      bool // on purpose, and the Go runtime says so
}

func inBackground(t *testing.T) *background {
	t.Helper()
	b := &background{t: t, pidfile: proctest.PIDPath(t), log: filepath.Join(t.TempDir(), "daemon.log")}
	t.Cleanup(b.clear)
	return b
}

// args are those of a program that is to live here.
func (b *background) args(args ...string) []string {
	return append([]string{"pidfile=" + b.pidfile, "log=" + b.log}, args...)
}

// call calls the program daemon here.
func (b *background) call(args ...string) proctest.Result {
	b.t.Helper()
	return proctest.Call(b.t, daemon, b.args(args...)...)
}

// start starts the program daemon here and returns its PID.
func (b *background) start(args ...string) (pid int) {
	b.t.Helper()
	return b.readied(b.call(slices.Concat(args, []string{"start"})...))
}

var readyLine = regexp.MustCompile(`^\w+: ready \(pid (\d+), [\d.]+ m?s\)(?:, log (.*))?\n$`)

// readied requires that a start has said nothing but that it was a success, and returns the PID that it told.
func (b *background) readied(got proctest.Result) (pid int) {
	b.t.Helper()
	require.Equal(b.t, 0, got.Code, "%s%s", got.Stdout, got.Stderr)
	said := readyLine.FindStringSubmatch(got.Stderr)
	require.NotNil(b.t, said, "%q", got.Stderr)
	require.Empty(b.t, got.Stdout)
	pid, err := strconv.Atoi(said[1])
	require.NoError(b.t, err)
	return pid
}

// said is what was written to the log.
func (b *background) said() string {
	b.t.Helper()
	text, err := os.ReadFile(b.log)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(b.t, err)
	}
	return string(text)
}

func (b *background) awaitSaid(text string) {
	b.t.Helper()
	proctest.Eventually(b.t, func() bool { return strings.Contains(b.said(), text) }, "%q in the log", text)
}

// stop stops the daemon cleanly and requires that nothing is left.
func (b *background) stop() {
	b.t.Helper()
	got := b.call("stop")
	require.Equal(b.t, 0, got.Code, "%s", got.Stderr)
	b.requireNothingLeft()
}

func (b *background) requireNothingLeft() {
	b.t.Helper()
	requireNothingLeft(b.t, b.pidfile)
	require.Empty(b.t, b.processes(), "processes are left")
}

// processes are those that have our PID file in their arguments, where there is a /proc. A zombie has none.
func (b *background) processes() (pids []int) {
	b.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(b.t, err)
	for _, path := range all {
		text, _ := os.ReadFile(path)
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && strings.Contains(string(text), "pidfile="+b.pidfile+"\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (b *background) clear() {
	if !b.crashes {
		proctest.RequireNoCrash(b.t, b.said())
	}
	if b.t.Failed() {
		b.t.Logf("the log:\n%s", b.said())
	}
	if found, err := lifecycle.Find(b.pidfile); err == nil {
		defer found.Close()
		ctx, cancel := context.WithTimeout(context.Background(), proctest.Patience)
		defer cancel()
		if err := found.Stop(ctx); err != nil {
			b.t.Errorf("the daemon does not stop: %v", err)
		}
	}
	if b.t.Failed() {
		for _, pid := range b.processes() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	b.requireNothingLeft()
}

// quietly is the background where the log is nowhere.
func (b *background) quietly() *background { return &background{t: b.t, pidfile: b.pidfile} }

func TestStartSaysThatItIsReadyAndWhereItsLogIs(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := b.call("start")
	pid := b.readied(got)
	require.Equal(t, b.log, readyLine.FindStringSubmatch(got.Stderr)[2])
	requireRunning(t, b.pidfile, pid)
	proctest.RequireText(t, b.pidfile, fmt.Sprintln(pid))
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid), Code: 1}, b.call("start"))
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid), Code: 1}, b.call("run"))
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid)}, b.call("start", "--oknodo"))
	require.Equal(t, proctest.Result{Stdout: "Run returned: lifecycle: already running (pid " + strconv.Itoa(pid) + "), PID file " + b.pidfile + "\n", Code: 1}, b.call("detach="))
	b.stop()
	for _, line := range []string{"OnStart", "OnStart done", "fn", "OnStop done", "OnExit done"} {
		require.Equal(t, 1, strings.Count("\n"+b.said(), "\n"+line+"\n"), "%s in\n%s", line, b.said())
	}
	require.Contains(t, b.said(), "msg=stopped")
}

func TestStartWithoutALogSaysNothingOfIt(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := b.quietly().call("start")
	b.readied(got)
	require.NotContains(t, got.Stderr, "log")
	require.NoFileExists(t, b.log)
	b.stop()
}

// Why a start has failed is told by its launcher, and nothing is left; with a log or without.
func TestAStartThatFailsTellsTheShellWhy(t *testing.T) {
	t.Parallel()
	soon := []string{"starttimeout=300ms", "stoptimeout=300ms"}
	const late = `|its main did not come to Run in 300ms; killed` // on a machine that is busy
	for name, tt := range map[string]struct {
		args []string
		code int
		says string // on its first line, a pattern
		rest string // a part of what follows
	}{
		"an error of OnStart":       {[]string{"start=error"}, 1, "OnStart failed on purpose", ""},
		"a panic in OnStart":        {[]string{"start=panic"}, 70, `panic: OnStart panics on purpose`, "  | goroutine "},
		"Goexit in OnStart":         {[]string{"start=goexit"}, 70, "panic: runtime.Goexit was called", "  | goroutine "},
		"a body that returns":       {[]string{"run=:"}, 1, "ended before it was ready", ""},
		"a body that fails":         {[]string{"run=error"}, 1, "fn failed on purpose", ""},
		"a body that panics":        {[]string{"run=panic"}, 70, "panic: fn panics on purpose", "  | goroutine "},
		"no such directory":         {[]string{"workdir=/no/such/place"}, 1, "working directory: chdir /no/such/place: no such file or directory", ""},
		"OnStart that hangs":        {append(soon, "start=hang"), 1, `OnStart of daemon did not return in 300ms; stopped, nothing left` + late, ""},
		"OnStart that is slow":      {append(soon, "start=wait"), 1, `OnStart of daemon did not return in 300ms(, then returned: context canceled)?; stopped, nothing left` + late, ""},
		"OnStart and its roll-back": {[]string{"start=error", "name=other"}, 1, "OnStart failed on purpose", ""},
	} {
		for where, quiet := range map[string]bool{"with a log": false, "without": true} {
			t.Run(name+" "+where, func(t *testing.T) {
				t.Parallel()
				b := inBackground(t)
				at := b
				if quiet {
					at = b.quietly()
				}
				got := at.call(slices.Concat(tt.args, []string{"start"})...)
				first, rest, _ := strings.Cut(got.Stderr, "\n")
				_, said, _ := strings.Cut(first, ": ")
				require.Regexp(t, "^start failed: ("+tt.says+")$", said)
				require.Equal(t, tt.code, got.Code)
				require.Contains(t, rest, tt.rest)
				require.Equal(t, tt.rest == "", rest == "", "%s", got.Stderr)
				require.Empty(t, got.Stdout)
				b.requireNothingLeft()
			})
		}
	}
}

// E18: it is the daemon that goes there, and it says so before anything has begun.
// Row E18.
func TestAWorkingDirectoryThatIsNoneFailsTheStart(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	file := filepath.Join(t.TempDir(), "file")
	proctest.Touch(t, file)
	got := b.call("workdir="+file, "start")
	require.Equal(t, proctest.Result{Stderr: "daemon: start failed: working directory: chdir " + file + ": not a directory\n", Code: 1}, got)
	require.NotContains(t, b.said(), "OnStart")
	b.requireNothingLeft()
	b.start()
}

func TestNeverReadyWithADaemonThatDied(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	rounds := 30
	if testing.Short() {
		rounds = 10
	}
	for range rounds {
		got := b.call("run=error", "start")
		if got.Code == 0 { // on a machine that is slow, its body can have lived for long enough to be ready
			require.Contains(t, b.said(), "msg=ready")
			proctest.Eventually(t, func() bool { return b.call("status").Code == 3 }, "its end")
			continue
		}
		require.Equal(t, proctest.Result{Stderr: "daemon: start failed: fn failed on purpose\n", Code: 1}, got)
		b.requireNothingLeft()
	}
	b.start()
}

// Run in a main of its own: the launcher goes on when the daemon is ready.
func TestRunDetachedReturnsInTheLauncherWhenTheDaemonIsReady(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := b.call("detach=")
	require.Equal(t, proctest.Result{Stdout: "Run returned: <nil>\n"}, got)
	status := b.call("status")
	require.Equal(t, 0, status.Code)
	require.Contains(t, status.Stdout, "daemon: ready (pid ")
	require.NotContains(t, b.said(), "Run returned")
	b.stop()
	b.awaitSaid("Run returned: <nil>\n") // in the daemon
}

func TestRunDetachedReturnsWhatTheStartCameTo(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	require.Equal(t, proctest.Result{Stdout: "Run returned: lifecycle: OnStart of daemon: OnStart failed on purpose\n", Code: 1}, b.call("detach=", "start=error"))
	b.requireNothingLeft()
	got := b.call("detach=", "start=panic")
	require.Equal(t, proctest.Result{Stdout: "Run returned: lifecycle: OnStart of daemon: panic: OnStart panics on purpose\n", Code: 70}, got)
	b.requireNothingLeft()
}

func TestArgsAreWhatTheDaemonIsStartedWith(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := proctest.Call(t, argsGiver, b.args("from the shell")...)
	require.Equal(t, proctest.Result{Stdout: "InDaemon: false [from the shell]\nRun returned: <nil>\nInDaemon: false\n"}, got)
	b.awaitSaid("InDaemon: true [from the launcher  ]\n")
	b.stop()
	b.awaitSaid("Run returned: <nil>\nInDaemon: true\n")
}

// argsGiver gives its daemon other arguments than it has itself.
var argsGiver = proctest.Register("args giver", func(args []string) int {
	pidfile, log := strings.TrimPrefix(args[0], "pidfile="), strings.TrimPrefix(args[1], "log=")
	words := args[2:]
	say := func() { fmt.Println("InDaemon:", lifecycle.InDaemon(), words) }
	opts := []lifecycle.Option{lifecycle.PIDFile(pidfile), lifecycle.LogFile(log), lifecycle.Detach(), lifecycle.Args(args[0], args[1], "from the launcher", " ")}
	if !lifecycle.InDaemon() {
		say()
	}
	err := lifecycle.Run(nil, append(opts, lifecycle.OnStart(func(context.Context) error { say(); return nil }))...)
	fmt.Printf("Run returned: %v\nInDaemon: %v\n", err, lifecycle.InDaemon())
	return lifecycle.ExitCode(err)
})

// What would start the test binary again is refused in a test, before anything is made.
func TestUnderGoTestNothingIsDetached(t *testing.T) {
	pidfile, log := proctest.PIDPath(t), filepath.Join(t.TempDir(), "log")
	fn := func(context.Context) error { t.Error("it was called"); return nil }
	for option, o := range map[string]lifecycle.Option{"Detach": lifecycle.Detach(), "LogFile": lifecycle.LogFile(log), "ErrorLogFile": lifecycle.ErrorLogFile(log)} {
		want := "lifecycle: wrong option: " + option + ": under go test it would start the test binary again; " +
			"use Embedded or package lifecycletest, or build the program"
		require.EqualError(t, lifecycle.Run(fn, lifecycle.PIDFile(pidfile), o), want)
	}
	for option, o := range map[string]lifecycle.Option{"User": lifecycle.User("nobody"), "Chroot": lifecycle.Chroot("/")} {
		require.ErrorContains(t, lifecycle.Run(fn, lifecycle.PIDFile(pidfile), o), "lifecycle: wrong option: "+option+": under go test it would change ")
	}
	require.False(t, lifecycle.InDaemon())
	for _, verb := range []string{"start", "restart"} {
		require.Equal(t, 1, lifecycle.Main([]string{verb}, fn, lifecycle.PIDFile(pidfile), lifecycle.LogFile("")), verb)
	}
	requireNothingLeft(t, pidfile)
	require.NoFileExists(t, log)
}

func TestAnEmbeddedLifeIsNotDetached(t *testing.T) {
	t.Parallel()
	var said proctest.Lines
	log := filepath.Join(t.TempDir(), "log")
	called := false
	err := lifecycle.Run(func(context.Context) error { called = true; return nil }, lifecycle.Embedded(), lifecycle.Logger(slog.New(slog.NewTextHandler(&said, nil))),
		lifecycle.Detach(), lifecycle.LogFile(log), lifecycle.ErrorLogFile(log), lifecycle.WorkDir("/no/such/place"), lifecycle.Umask(0), lifecycle.Args("x"),
		lifecycle.User("no-such-user"), lifecycle.Chroot("/no/such/place"))
	require.NoError(t, err)
	require.True(t, called)
	require.Equal(t, 1, said.Count(`msg="an embedded life ignores options that need a process" options="Detach, LogFile, ErrorLogFile, WorkDir, Umask, Args, User, Chroot"`), "%s", &said)
	require.NoFileExists(t, log)
}
