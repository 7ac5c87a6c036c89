package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
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

// mutes run the program daemon so that nobody reads what it writes, and return its exit code.
var mutes = map[string]func(t *testing.T, args ...string) (exitCode int){
	"a broken pipe": func(t *testing.T, args ...string) int {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, r.Close())
		defer w.Close()
		cmd := proctest.Command(daemon, args...)
		cmd.Stdout, cmd.Stderr = w, w
		return proctest.Launch(t, cmd).Wait()
	},
	"all closed": func(t *testing.T, args ...string) int {
		return proctest.Launch(t, proctest.Wrapped([]string{"sh", "-c", `exec "$0" "$@" <&- >&- 2>&-`}, daemon, args...)).Wait()
	},
}

// verbPlace is a place for a PID file. Whatever was started with it, detached or not, is ended with the test.
func verbPlace(t *testing.T) (pidfile string) {
	t.Helper()
	pidfile = proctest.PIDPath(t)
	t.Cleanup(func() {
		for _, pid := range verbProcesses(t, pidfile) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return pidfile
}

// verbProcesses are the processes that have this PID file among their arguments; where that cannot be seen, the one that holds it.
func verbProcesses(t *testing.T, pidfile string) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if _, seen := os.Stat("/proc/self/cmdline"); err != nil || seen != nil {
		if p, err := lifecycle.Find(pidfile); err == nil {
			defer p.Close()
			pids = append(pids, p.PID)
		}
		return pids
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		args, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline")) // a zombie has none
		if slices.ContainsFunc(bytes.Split(args, []byte{0}), func(arg []byte) bool { return string(arg) == "pidfile="+pidfile }) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// requireVerbLeftNothing requires that no process is left that was started with this PID file, and no file beside it.
func requireVerbLeftNothing(t *testing.T, pidfile string) {
	t.Helper()
	require.Empty(t, verbProcesses(t, pidfile))
	requireNothingLeft(t, pidfile)
}

// verbSays is what a verb says of a PID.
func verbSays(t *testing.T, pattern, text string) (pid int) {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	require.NotNil(t, match, "%q is not in %q", pattern, text)
	pid, err := strconv.Atoi(match[1])
	require.NoError(t, err)
	require.Positive(t, pid, text) // to signal 0 would be to signal ourselves
	return pid
}

const (
	verbReady   = `(?m)^daemon: ready \(pid (\d+), \d+(?:\.\d)? m?s\)`
	verbStopped = `(?m)^daemon: stopped \(pid (\d+), \d+(?:\.\d)? m?s\)$`
)

// verbStart starts the program daemon in the background.
func verbStart(t *testing.T, args ...string) (pid int, pidfile string) {
	t.Helper()
	pidfile = verbPlace(t)
	got := callVerb(t, pidfile, append(args, "start")...)
	require.Equal(t, 0, got.Code, got.Stderr)
	return verbSays(t, verbReady, got.Stderr), pidfile
}

// requireVerbRuns requires that this daemon, and no other process, runs with that PID file.
func requireVerbRuns(t *testing.T, pidfile string, pid int) {
	t.Helper()
	requireRunning(t, pidfile, pid)
	proctest.RequireText(t, pidfile, fmt.Sprintln(pid))
	requireVerbAlone(t, pidfile, pid)
}

// requireVerbAlone requires that no process but this one is left of those that were started with that PID file, once the stage that started it has ended.
func requireVerbAlone(t *testing.T, pidfile string, pid int) {
	t.Helper()
	proctest.Eventually(t, func() bool { return slices.Equal([]int{pid}, verbProcesses(t, pidfile)) }, "pid %d to be the only one", pid)
}

func TestStartReturnsWhenTheDaemonIsReady(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	got := callVerb(t, pidfile, "start")
	require.Equal(t, 0, got.Code)
	require.Empty(t, got.Stdout, "what the daemon writes is not the verb's")
	require.Regexp(t, `^daemon: ready \(pid \d+, \d+(\.\d)? m?s\)\n$`, got.Stderr, "there is no log to tell of")
	requireVerbRuns(t, pidfile, verbSays(t, verbReady, got.Stderr))

	stopped := callVerb(t, pidfile, "stop")
	require.Equal(t, 0, stopped.Code)
	require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, \d+(\.\d)? m?s\)\n$`, verbSays(t, verbReady, got.Stderr)), stopped.Stderr)
	requireVerbLeftNothing(t, pidfile)
}

func TestStartSaysWhereTheLogIs(t *testing.T) {
	t.Parallel()
	logs := t.TempDir()
	out, errs := filepath.Join(logs, "out"), filepath.Join(logs, "err")
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"log=" + out}, out},
		{[]string{"log=" + out, "errorlog=" + errs}, out},
		{[]string{"errorlog=" + errs}, errs},
	} {
		pidfile := verbPlace(t)
		got := callVerb(t, pidfile, append(tt.args, "start")...)
		require.Equal(t, 0, got.Code)
		require.Regexp(t, `^daemon: ready \(pid \d+, \d+(\.\d)? m?s\), log `+tt.says+`\n$`, got.Stderr)
		require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	}
}

func TestStartWhereOneRunsTouchesNothing(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	requireUntouched := untouched(t, pidfile)
	log := filepath.Join(t.TempDir(), "log")
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid), Code: 1}, callVerb(t, pidfile, "log="+log, "start"))
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid)}, callVerb(t, pidfile, "log="+log, "start", "--oknodo"))
	require.NoFileExists(t, log)
	requireUntouched()
	requireVerbRuns(t, pidfile, pid)
}

func TestStartWhereOneRunsInTheForegroundIsRefusedAsWell(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(p.PID()), Code: 1}, callVerb(t, pidfile, "start"))
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(p.PID())}, callVerb(t, pidfile, "start", "--oknodo"))
	requireLives(t, p)
}

func TestStartWhereOneIsNotReadyYetSaysThat(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p := proctest.Start(t, daemon, "pidfile="+verbPlace(t), "start=until:"+gate)
	pidfile := strings.TrimPrefix(p.Cmd.Args[1], "pidfile=")
	p.Await("OnStart")
	says := fmt.Sprintf("daemon: already running (pid %d), not ready yet\n", p.PID())
	require.Equal(t, proctest.Result{Stderr: says, Code: 1}, callVerb(t, pidfile, "start"))
	require.Equal(t, proctest.Result{Stderr: says}, callVerb(t, pidfile, "start", "--oknodo"))
	proctest.Touch(t, gate)
	p.Await("msg=ready")
	requireLives(t, p)
}

func TestAStartThatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	t.Parallel()
	for how, tt := range map[string]struct {
		args []string
		code int
		says string
	}{
		"OnStart fails":  {[]string{"start=error"}, 1, `^daemon: start failed: OnStart failed on purpose\n$`},
		"OnStart panics": {[]string{"start=panic"}, 70, `^daemon: start failed: panic: OnStart panics on purpose\n(  \| .*\n)+$`},
		"OnStart exits":  {[]string{"start=exit:3"}, 1, `^daemon: start failed: died before it was ready \(exit 3\)\n$`},
		"OnStart hangs": {
			[]string{"start=hang", "starttimeout=300ms", "stoptimeout=100ms"},
			1,
			`^daemon: start failed: (OnStart of daemon did not return in 300ms; stopped, nothing left|its main did not come to Run in 300ms; killed)\n$`,
		},
		"no such directory": {[]string{"workdir=/no/such/directory"}, 1, `^daemon: start failed: working directory: chdir /no/such/directory: no such file or directory\n$`},
	} {
		for _, flags := range [][]string{{"start"}, {"start", "--oknodo"}, {"restart"}} {
			t.Run(how+" "+strings.Join(flags, " "), func(t *testing.T) {
				t.Parallel()
				pidfile := verbPlace(t)
				got := callVerb(t, pidfile, slices.Concat(tt.args, flags)...)
				require.Equal(t, tt.code, got.Code, got.Stderr)
				if flags[0] == "restart" {
					require.True(t, strings.HasPrefix(got.Stderr, "daemon: check passed\n"), got.Stderr)
					got.Stderr = strings.TrimPrefix(got.Stderr, "daemon: check passed\n")
				}
				require.Regexp(t, tt.says, got.Stderr)
				requireVerbLeftNothing(t, pidfile)
			})
		}
	}
}

// verbCoded is a daemon of one component with the name db and no OnReload, the start of which fails where the file at DOWN is, with an exit code of its own.
//
//	verbCoded pidfile=PATH DOWN [verb …]
var verbCoded = proctest.Register("coded", func(args []string) int {
	return lifecycle.Main(args[2:], nil, lifecycle.Name("coded"), lifecycle.PIDFile(strings.TrimPrefix(args[0], "pidfile=")), lifecycle.LogFile(""), lifecycle.With(lifecycle.Hooks{
		Name: "db",
		OnStart: func(context.Context) error {
			if _, err := os.Stat(args[1]); err == nil {
				return lifecycle.WithExitCode(errors.New("no disk"), 42)
			}
			return nil
		},
	}))
})

func TestAStartThatFailsReturnsTheCodeThatItsErrorCarries(t *testing.T) {
	t.Parallel()
	pidfile, down := verbPlace(t), filepath.Join(t.TempDir(), "down")
	proctest.Touch(t, down)
	call := func(verb ...string) proctest.Result {
		return proctest.Call(t, verbCoded, append([]string{"pidfile=" + pidfile, down}, verb...)...)
	}
	require.Equal(t, proctest.Result{Stderr: "coded: start failed: db: no disk\n", Code: 42}, call("start"))
	require.Equal(t, proctest.Result{Stderr: "coded: start failed: db: no disk\n", Code: 42}, call("start", "--oknodo"))
	require.Equal(t, proctest.Result{Stderr: "coded: check passed\ncoded: start failed: db: no disk\n", Code: 42}, call("restart"))
	requireVerbLeftNothing(t, pidfile)

	require.NoError(t, os.Remove(down))
	require.Equal(t, 0, call("start").Code)
	proctest.Touch(t, down)
	got := call("restart")
	require.Equal(t, 42, got.Code)
	require.Regexp(t, `^coded: check passed\ncoded: stopped \(pid \d+, .*\)\ncoded: start failed: db: no disk\n$`, got.Stderr)
	requireVerbLeftNothing(t, pidfile)
}

func TestPsShowsWhatRunsAndNotWhichVerbStartedIt(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "ps")
	pid, pidfile := verbStart(t)
	show := func(pid int) string {
		t.Helper()
		out, err := exec.Command("ps", "-ww", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	want := "daemon pidfile=" + pidfile + " start"
	require.Equal(t, want, show(pid))
	for _, verb := range []string{"restart", "try-restart"} {
		got := callVerb(t, pidfile, verb)
		require.Equal(t, 0, got.Code)
		require.Equal(t, want, show(verbSays(t, verbReady, got.Stderr)))
	}
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	got := callVerb(t, pidfile, "start", "--oknodo")
	require.Equal(t, 0, got.Code)
	require.Equal(t, want, show(verbSays(t, verbReady, got.Stderr)))
}

func TestTheVerbReopenSaysWhetherThereIsOne(t *testing.T) {
	t.Parallel()
	for log, says := range map[string]string{
		logPlace(t): "log reopened (pid %d)",
		"":          "nothing to reopen: pid %d has no log file of its own",
	} {
		pid, pidfile := verbStart(t, "log="+log)
		require.Equal(t, proctest.Result{Stderr: "daemon: " + fmt.Sprintf(says, pid) + "\n"}, callVerb(t, pidfile, "reopen"))
		requireVerbRuns(t, pidfile, pid)
		require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	}
	pidfile := verbPlace(t)
	require.Equal(t, proctest.Result{Stderr: notRunning(pidfile), Code: 7}, callVerb(t, pidfile, "reopen"))
}

// Row C21.
func TestWithNobodyWhoReadsTheVerbsThatStartHaveTheSameExitCode(t *testing.T) {
	t.Parallel()
	for how, run := range mutes {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			none, path, dir := verbPlace(t), verbPlace(t), t.TempDir()
			log := filepath.Join(dir, "log")
			for _, tt := range []struct {
				want int
				args []string
			}{
				{2, []string{"pidfile=" + none, "start", "now"}},
				{1, []string{"pidfile=" + none, "start=error", "start"}},
				{70, []string{"pidfile=" + none, "start=panic", "start"}},
				{6, []string{"pidfile=" + none, "check=error", "restart"}},
				{0, []string{"pidfile=" + none, "try-restart"}},
				{7, []string{"pidfile=" + none, "force-reload"}},
				{7, []string{"pidfile=" + none, "reopen"}},
				{1, []string{"pidfile=" + none, "log=" + dir, "start"}},
				{0, []string{"pidfile=" + path, "log=" + log, "start"}},
				{1, []string{"pidfile=" + path, "start"}},
				{0, []string{"pidfile=" + path, "start", "--oknodo"}},
				{6, []string{"pidfile=" + path, "check=error", "restart"}},
				{0, []string{"pidfile=" + path, "log=" + log, "restart"}},
				{0, []string{"pidfile=" + path, "log=" + log, "try-restart"}},
				{0, []string{"pidfile=" + path, "force-reload"}},
				{0, []string{"pidfile=" + path, "reopen"}},
				{0, []string{"pidfile=" + path, "status", "--ready"}},
				{0, []string{"pidfile=" + path, "stop"}},
			} {
				require.Equal(t, tt.want, run(t, tt.args...), "%v", tt.args)
			}
			requireVerbLeftNothing(t, none)
			requireVerbLeftNothing(t, path)
		})
	}
}

func (h verbStuckLog) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "abandoned") {
		select {}
	}
	return h.Handler.Handle(ctx, r)
}
