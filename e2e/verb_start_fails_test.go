package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

func TestAFailedStartReportsTheReasonAndLeavesNothing(t *testing.T) {
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
			[]string{"start=hang", "starttimeout=2s", "stoptimeout=100ms"},
			1,
			`^daemon: start failed: (OnStart of daemon did not return in 2s; stopped, nothing left|its main did not call Run in 2s; killed)\n$`,
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

// verbCoded is a daemon with one component, db, and no OnReload. Its start fails with a special
// exit code if the file DOWN exists.
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

func TestAFailedStartExitsWithTheCodeOfItsError(t *testing.T) {
	t.Parallel()
	pidfile, down := verbPlace(t), filepath.Join(t.TempDir(), "down")
	proctest.Touch(t, down)
	call := func(verb ...string) proctest.Result {
		return proctest.Call(t, verbCoded, append([]string{"pidfile=" + pidfile, down}, verb...)...)
	}
	require.Equal(t, proctest.Result{Stderr: "coded: start failed: db: no disk\n", Code: 42}, call("start"))
	require.Equal(t, proctest.Result{Stderr: "coded: start failed: db: no disk\n", Code: 42}, call("start", "--oknodo"))
	require.Equal(t, proctest.Result{Stderr: "coded: start failed: db: no disk\n", Code: 42}, call("restart"))
	requireVerbLeftNothing(t, pidfile)

	require.NoError(t, os.Remove(down))
	require.Equal(t, 0, call("start").Code)
	proctest.Touch(t, down)
	got := call("restart")
	require.Equal(t, 42, got.Code)
	require.Regexp(t, `^coded: stopped \(pid \d+, .*\)\ncoded: start failed: db: no disk\n$`, got.Stderr)
	requireVerbLeftNothing(t, pidfile)
}

func TestPsShowsRunAndNotTheVerbOfTheStart(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "ps")
	pid, pidfile := verbStart(t)
	show := func(pid int) string {
		t.Helper()
		out, err := exec.Command("ps", "-ww", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	want := "daemon pidfile=" + pidfile + " run"
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

func TestTheVerbReopenReportsWhetherThereIsALog(t *testing.T) {
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
func TestABrokenStdoutDoesNotChangeTheExitCodeOfAStart(t *testing.T) {
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

// When the start fails, no log is open, and the state file contains an earlier failure.
func TestStatusExplainsAStartThatFailedBeforeItsFilesWereOpen(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"start", "run"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			path := proctest.PIDPath(t)
			require.Equal(t, 1, callVerb(t, path, "start=error", "run").Code)
			require.Equal(t, 1, callVerb(t, path, "log=", "user=no-such-user", verb).Code)
			require.Contains(t, callVerb(t, path, "status").Stdout, `ago: User("no-such-user"): user "no-such-user": `)
			requireNothingLeft(t, path)
		})
	}
}
