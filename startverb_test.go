package lifecycle

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
	"time"

	"github.com/stretchr/testify/require"
)

// verbPlace is a place for a PID file. Whatever was started with it, detached or not, is ended with the test.
func verbPlace(t *testing.T) (pidfile string) {
	t.Helper()
	pidfile = pidPath(t)
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
		if p, err := Find(pidfile); err == nil {
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
	require.Equal(t, 0, got.code, got.stderr)
	return verbSays(t, verbReady, got.stderr), pidfile
}

// requireVerbRuns requires that this daemon, and no other process, runs with that PID file.
func requireVerbRuns(t *testing.T, pidfile string, pid int) {
	t.Helper()
	requireRunning(t, pidfile, pid)
	requireText(t, pidfile, fmt.Sprintln(pid))
	requireVerbAlone(t, pidfile, pid)
}

// requireVerbAlone requires that no process but this one is left of those that were started with that PID file, once the stage that started it has ended.
func requireVerbAlone(t *testing.T, pidfile string, pid int) {
	t.Helper()
	eventually(t, func() bool { return slices.Equal([]int{pid}, verbProcesses(t, pidfile)) }, "pid %d to be the only one", pid)
}

func TestStartReturnsWhenTheDaemonIsReady(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	got := callVerb(t, pidfile, "start")
	require.Equal(t, 0, got.code)
	require.Empty(t, got.stdout, "what the daemon writes is not the verb's")
	require.Regexp(t, `^daemon: ready \(pid \d+, \d+(\.\d)? m?s\)\n$`, got.stderr, "there is no log to tell of")
	requireVerbRuns(t, pidfile, verbSays(t, verbReady, got.stderr))

	stopped := callVerb(t, pidfile, "stop")
	require.Equal(t, 0, stopped.code)
	require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, \d+(\.\d)? m?s\)\n$`, verbSays(t, verbReady, got.stderr)), stopped.stderr)
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
		require.Equal(t, 0, got.code)
		require.Regexp(t, `^daemon: ready \(pid \d+, \d+(\.\d)? m?s\), log `+tt.says+`\n$`, got.stderr)
		require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
	}
}

func TestStartWhereOneRunsTouchesNothing(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	requireUntouched := untouched(t, pidfile)
	log := filepath.Join(t.TempDir(), "log")
	require.Equal(t, result{"", alreadyRunning(pid), 1}, callVerb(t, pidfile, "log="+log, "start"))
	require.Equal(t, result{"", alreadyRunning(pid), 0}, callVerb(t, pidfile, "log="+log, "start", "--oknodo"))
	require.NoFileExists(t, log)
	requireUntouched()
	requireVerbRuns(t, pidfile, pid)
}

func TestStartWhereOneRunsInTheForegroundIsRefusedAsWell(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	require.Equal(t, result{"", alreadyRunning(p.pid()), 1}, callVerb(t, pidfile, "start"))
	require.Equal(t, result{"", alreadyRunning(p.pid()), 0}, callVerb(t, pidfile, "start", "--oknodo"))
	requireLives(t, p)
}

func TestStartWhereOneIsNotReadyYetSaysThat(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p := start(t, daemon, "pidfile="+verbPlace(t), "start=until:"+gate)
	pidfile := strings.TrimPrefix(p.cmd.Args[1], "pidfile=")
	p.await("OnStart")
	says := fmt.Sprintf("daemon: already running (pid %d), not ready yet\n", p.pid())
	require.Equal(t, result{"", says, 1}, callVerb(t, pidfile, "start"))
	require.Equal(t, result{"", says, 0}, callVerb(t, pidfile, "start", "--oknodo"))
	touch(t, gate)
	p.await("msg=ready")
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
				require.Equal(t, tt.code, got.code, got.stderr)
				if flags[0] == "restart" {
					require.True(t, strings.HasPrefix(got.stderr, "daemon: check passed\n"), got.stderr)
					got.stderr = strings.TrimPrefix(got.stderr, "daemon: check passed\n")
				}
				require.Regexp(t, tt.says, got.stderr)
				requireVerbLeftNothing(t, pidfile)
			})
		}
	}
}

// verbCoded is a daemon of one component with the name db and no OnReload, the start of which fails where the file at DOWN is, with an exit code of its own.
//
//	verbCoded pidfile=PATH DOWN [verb …]
var verbCoded = registerProgram("coded", func(args []string) int {
	return Main(args[2:], nil, Name("coded"), PIDFile(strings.TrimPrefix(args[0], "pidfile=")), LogFile(""), With(Hooks{
		Name: "db",
		OnStart: func(context.Context) error {
			if _, err := os.Stat(args[1]); err == nil {
				return WithExitCode(errors.New("no disk"), 42)
			}
			return nil
		},
	}))
})

func TestAStartThatFailsReturnsTheCodeThatItsErrorCarries(t *testing.T) {
	t.Parallel()
	pidfile, down := verbPlace(t), filepath.Join(t.TempDir(), "down")
	touch(t, down)
	call := func(verb ...string) result {
		return callProgram(t, verbCoded, append([]string{"pidfile=" + pidfile, down}, verb...)...)
	}
	require.Equal(t, result{"", "coded: start failed: db: no disk\n", 42}, call("start"))
	require.Equal(t, result{"", "coded: start failed: db: no disk\n", 42}, call("start", "--oknodo"))
	require.Equal(t, result{"", "coded: check passed\ncoded: start failed: db: no disk\n", 42}, call("restart"))
	requireVerbLeftNothing(t, pidfile)

	require.NoError(t, os.Remove(down))
	require.Equal(t, 0, call("start").code)
	touch(t, down)
	got := call("restart")
	require.Equal(t, 42, got.code)
	require.Regexp(t, `^coded: check passed\ncoded: stopped \(pid \d+, .*\)\ncoded: start failed: db: no disk\n$`, got.stderr)
	requireVerbLeftNothing(t, pidfile)
}

func TestForceReloadRestartsWhereThereIsNothingToReload(t *testing.T) {
	t.Parallel()
	pidfile, down := verbPlace(t), filepath.Join(t.TempDir(), "down")
	call := func(verb string) result { return callProgram(t, verbCoded, "pidfile="+pidfile, down, verb) }
	ready := `(?m)^coded: ready \(pid (\d+), `

	none := result{"", "coded: not running (nobody holds " + pidfile + ")\n", 0}
	require.Equal(t, none, call("force-reload"), "and nothing was started")
	require.Equal(t, none, call("try-restart"))
	requireVerbLeftNothing(t, pidfile)

	first := verbSays(t, ready, call("start").stderr)
	got := call("force-reload")
	require.Equal(t, 0, got.code, got.stderr)
	second := verbSays(t, ready, got.stderr)
	require.NotEqual(t, first, second)
	requireVerbAlone(t, pidfile, second)
	require.Equal(t, 0, call("stop").code)
}

func TestForceReloadReloadsWhereThereIsSomethingToReload(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	got := callVerb(t, pidfile, "force-reload")
	require.Equal(t, 0, got.code)
	require.Regexp(t, `^daemon: reloaded \(\d+(\.\d)? m?s\)\n$`, got.stderr)
	requireVerbRuns(t, pidfile, pid)

	require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
	require.Equal(t, result{"", notRunning(pidfile), 7}, callVerb(t, pidfile, "force-reload"))
}

func TestRestartPutsANewProcessInThePlaceOfTheOld(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	for _, verb := range []string{"restart", "try-restart"} {
		got := callVerb(t, pidfile, verb)
		require.Equal(t, 0, got.code)
		require.Equal(t, "OnCheck\nOnCheck done\n", got.stdout, "the check runs in the process of the verb")
		require.Regexp(t, fmt.Sprintf(`^daemon: check passed\ndaemon: stopped \(pid %d, .*\)\ndaemon: ready \(pid \d+, .*\)\n$`, pid), got.stderr)
		next := verbSays(t, verbReady, got.stderr)
		require.NotEqual(t, pid, next)
		requireVerbRuns(t, pidfile, next)
		pid = next
	}
	require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
	requireVerbLeftNothing(t, pidfile)
}

func TestRestartTakesOneOutOfTheForeground(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	p := start(t, daemon, "pidfile="+pidfile)
	p.await("msg=ready")
	got := callVerb(t, pidfile, "restart")
	require.Equal(t, 0, got.code)
	require.Equal(t, p.pid(), verbSays(t, verbStopped, got.stderr))
	require.Equal(t, 0, p.wait())
	requireVerbRuns(t, pidfile, verbSays(t, verbReady, got.stderr))
}

func TestRestartStopsNothingWhereTheCheckFails(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	requireUntouched := untouched(t, pidfile)
	for what, says := range map[string]string{"error": "OnCheck failed on purpose", "panic": "panic: OnCheck panics on purpose"} {
		for _, verb := range []string{"restart", "try-restart"} {
			got := callVerb(t, pidfile, "check="+what, verb)
			require.Equal(t, 6, got.code)
			require.Contains(t, got.stderr, "daemon: check failed: "+says+"\n")
			require.NotContains(t, got.stderr, "daemon: stopped")
		}
	}
	requireUntouched()
	requireLives(t, p)
}

// Row C15.
func TestRestartWhereNoneRunsStartsOne(t *testing.T) {
	t.Parallel()
	t.Run("no file", func(t *testing.T) {
		t.Parallel()
		pidfile := verbPlace(t)
		got := callVerb(t, pidfile, "restart")
		require.Equal(t, 0, got.code)
		require.Regexp(t, `^daemon: check passed\ndaemon: ready \(pid \d+, .*\)\n$`, got.stderr)
		requireVerbRuns(t, pidfile, verbSays(t, verbReady, got.stderr))
	})
	t.Run("a dead one has left its file", func(t *testing.T) {
		t.Parallel()
		pid, pidfile := verbStart(t)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		eventually(t, func() bool { return callVerb(t, pidfile, "status").code == 1 }, "the end of pid %d", pid)
		require.Equal(t, result{"", notRunning(pidfile), 0}, callVerb(t, pidfile, "try-restart"))
		require.Empty(t, verbProcesses(t, pidfile))
		got := callVerb(t, pidfile, "restart")
		require.Equal(t, 0, got.code)
		requireVerbRuns(t, pidfile, verbSays(t, verbReady, got.stderr))
	})
	t.Run("the check fails", func(t *testing.T) {
		t.Parallel()
		pidfile := verbPlace(t)
		require.Equal(t, 6, callVerb(t, pidfile, "check=error", "restart").code)
		requireVerbLeftNothing(t, pidfile)
	})
}

func TestTryRestartWhereNoneRunsStartsNothing(t *testing.T) {
	t.Parallel()
	pidfile := verbPlace(t)
	require.Equal(t, result{"", notRunning(pidfile), 0}, callVerb(t, pidfile, "check=error", "try-restart"), "not even the check")
	requireVerbLeftNothing(t, pidfile)
}

func TestARestartWhoseStartFailsSaysSoAndLeavesNothing(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	got := callVerb(t, pidfile, "start=error", "restart")
	require.Equal(t, 1, got.code)
	require.Regexp(t, fmt.Sprintf(`^daemon: check passed\ndaemon: stopped \(pid %d, .*\)\ndaemon: start failed: OnStart failed on purpose\n$`, pid), got.stderr)
	requireVerbLeftNothing(t, pidfile)
}

func TestARestartOfOneThatIsStartingIsToldToBothWhoStartedIt(t *testing.T) {
	t.Parallel()
	pidfile, log := verbPlace(t), filepath.Join(t.TempDir(), "log")
	first := start(t, daemon, "pidfile="+pidfile, "log="+log, "start=wait", "start")
	eventually(t, func() bool { text, _ := os.ReadFile(log); return strings.Contains(string(text), "OnStart\n") }, "OnStart")
	got := callVerb(t, pidfile, "restart")
	require.Equal(t, 0, got.code, got.stderr)
	require.Equal(t, 1, first.wait())
	require.Regexp(t, `^daemon: start failed: stopped before it was ready: stopped by signal: terminated\n$`, first.out.String())
	requireVerbRuns(t, pidfile, verbSays(t, verbReady, got.stderr))
}

// Row A7.
func TestOfTwoRestartsAtTheSameTimeEachSaysWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	old, pidfile := verbStart(t)
	for range 4 {
		var both []*process
		for range 2 {
			both = append(both, start(t, daemon, "pidfile="+pidfile, "restart"))
		}
		var said [2]string
		codes := []int{both[0].wait(), both[1].wait()}
		for i, p := range both {
			said[i] = p.out.String()
		}
		all := said[0] + said[1]
		running := mustFind(t, pidfile).PID
		requireVerbRuns(t, pidfile, running)
		require.NotEqual(t, old, running, all)
		require.Contains(t, codes, 0, all)
		for i, code := range codes {
			other := said[1-i]
			switch {
			case code == 0:
				mine := verbSays(t, verbReady, said[i])
				require.True(t, mine == running || verbSays(t, verbStopped, other) == mine, all)
			case strings.Contains(said[i], "already running"):
				require.Equal(t, 1, code)
				require.Equal(t, verbSays(t, verbReady, other), verbSays(t, `(?m)^daemon: already running \(pid (\d+)\)`, said[i]), all)
			default: // the other one has stopped what this one had begun to start
				require.Equal(t, 1, code)
				require.Regexp(t, `(?m)^daemon: start failed: (ended before it was ready|.*stopped by signal: terminated|died before it was ready \(signal SIGTERM\))`, said[i])
				require.NotEqual(t, old, verbSays(t, verbStopped, other), all)
			}
		}
		old = running
	}
}

func TestPsShowsWhatRunsAndNotWhichVerbStartedIt(t *testing.T) {
	t.Parallel()
	needs(t, "ps")
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
		require.Equal(t, 0, got.code)
		require.Equal(t, want, show(verbSays(t, verbReady, got.stderr)))
	}
	require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
	got := callVerb(t, pidfile, "start", "--oknodo")
	require.Equal(t, 0, got.code)
	require.Equal(t, want, show(verbSays(t, verbReady, got.stderr)))
}

func TestTheVerbReopenSaysWhetherThereIsOne(t *testing.T) {
	t.Parallel()
	for log, says := range map[string]string{
		logPlace(t): "log reopened (pid %d)",
		"":          "nothing to reopen: pid %d has no log file of its own",
	} {
		pid, pidfile := verbStart(t, "log="+log)
		require.Equal(t, result{"", "daemon: " + fmt.Sprintf(says, pid) + "\n", 0}, callVerb(t, pidfile, "reopen"))
		requireVerbRuns(t, pidfile, pid)
		require.Equal(t, 0, callVerb(t, pidfile, "stop").code)
	}
	pidfile := verbPlace(t)
	require.Equal(t, result{"", notRunning(pidfile), 7}, callVerb(t, pidfile, "reopen"))
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

// Row C22.
func TestWhatFollowsAVerbIsAFlagOfItsOwnOrTheUsage(t *testing.T) {
	t.Parallel()
	pid, pidfile := verbStart(t)
	requireUntouched := untouched(t, pidfile)
	for _, args := range [][]string{
		{"start", "now"},
		{"start", "--oknodo", "now"},
		{"start", "--foreground"},
		{"restart", "now"},
		{"restart", "--oknodo"},
		{"try-restart", "--oknodo"},
		{"force-reload", "now"},
		{"reopen", "log"},
		{"reopen", "--oknodo"},
		{"tryrestart"},
		{"Restart"},
	} {
		got := callVerb(t, pidfile, args...)
		require.Equal(t, 2, got.code, "%q", args)
		require.Empty(t, got.stdout, "%q: no hook was called", args)
		for _, v := range verbs() {
			require.Contains(t, got.stderr, "\n  "+v.name+" ", "%q", args)
		}
	}
	requireUntouched()
	requireVerbRuns(t, pidfile, pid)
}

// verbStuck is a daemon that hangs in its stop for good: its log takes no word of the OnStop that it has to abandon.
var verbStuck = registerProgram("stuck", func(args []string) int {
	return Main(args[2:], nil, Name("stuck"), PIDFile(strings.TrimPrefix(args[0], "pidfile=")), LogFile(args[1]), StopTimeout(50*time.Millisecond),
		Logger(slog.New(verbStuckLog{slog.NewTextHandler(os.Stderr, nil)})),
		With(Hooks{Name: "http", OnStart: started, OnStop: behave("OnStop", "hang")}))
})

type verbStuckLog struct{ slog.Handler }

func (h verbStuckLog) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "abandoned") {
		select {}
	}
	return h.Handler.Handle(ctx, r)
}

func TestStopKillsWhoOverrunsItsTimeAndNamesTheHookThatHangs(t *testing.T) {
	t.Parallel()
	pidfile, log := verbPlace(t), filepath.Join(t.TempDir(), "log")
	for _, verb := range []string{"stop", "restart"} {
		got := callProgram(t, verbStuck, "pidfile="+pidfile, log, "start")
		require.Equal(t, 0, got.code, got.stderr)
		pid := verbSays(t, `(?m)^stuck: ready \(pid (\d+), `, got.stderr)
		got = callProgram(t, verbStuck, "pidfile="+pidfile, log, verb)
		require.Equal(t, 0, got.code, got.stderr)
		require.Regexp(t, fmt.Sprintf(`(?m)^stuck: killed \(pid %d\): OnStop of http still running after 2\.\d s, stack in %s$`, pid, log), got.stderr)
		if verb == "stop" {
			requireVerbLeftNothing(t, pidfile)
			continue
		}
		requireVerbAlone(t, pidfile, verbSays(t, `(?m)^stuck: ready \(pid (\d+), `, got.stderr))
	}
}

func TestAStackIsToldWithoutWhatATerminalWouldObey(t *testing.T) {
	t.Parallel()
	l, err := newLife(nil, []Option{Name("app"), quiet, Embedded()})
	require.NoError(t, err)
	var said lines
	failed := newFailure(&HookError{"db", "OnStart", &PanicError{"boom", []byte("goroutine 1:\n\t/src/\x1b[2J.go:7\n")}}, nil)
	program{life: l, stderr: &said}.sayFailedStart(failed.Err())
	require.Equal(t, "app: start failed: db: panic: boom\n  | goroutine 1:\n  | \t/src/\uFFFD[2J.go:7\n", said.String())
}
