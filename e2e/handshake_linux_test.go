package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// The daemon also sends its PID to the launcher, because stage 1 can die before it has sent the
// PID.
func TestTheDeathOfStage1AfterTheForkHasNoEffect(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	b := inBackground(t)
	got := b.shifted(`exec strace -D -o /dev/null -P "$(readlink /proc/$$/fd/1)" -e trace=write -e inject=write:signal=KILL "`+proctest.Binary()+`" "$@"`, time.Minute)
	if got.Code == 0 {
		pid := b.readied(got)
		require.Positive(t, pid)
		proctest.RequireText(t, b.pidfile, fmt.Sprintln(pid))
		return
	}
	b.requireNothingLeft()
}

// shapeShifter is a program that replaces or deletes its own file before it starts. Its argument is
// "replaced", "deleted", or the path of the replacement. Its last argument is its StartTimeout.
var shapeShifter = proctest.Register("shape shifter", func(args []string) int {
	self := proctest.Binary()
	if !lifecycle.InDaemon() {
		text, err := os.ReadFile(self)
		switch {
		case err != nil:
		case args[2] == "replaced":
			err = errors.Join(os.WriteFile(self+".new", text, 0o755), os.Rename(self+".new", self))
		case args[2] == "deleted":
			err = os.Remove(self)
		default:
			err = os.Rename(args[2], self)
		}
		if err != nil {
			fmt.Println(err)
			return 99
		}
	}
	limit, _ := time.ParseDuration(args[3])
	return lifecycle.Main([]string{"start"}, nil, lifecycle.Name("scout"), lifecycle.PIDFile(strings.TrimPrefix(args[0], "pidfile=")), lifecycle.LogFile(strings.TrimPrefix(args[1], "log=")),
		lifecycle.OnReload(started), lifecycle.StartTimeout(limit), lifecycle.StopTimeout(100*time.Millisecond))
})

func copyOfTestBinary(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "program")
	if os.Link(proctest.Binary(), path) != nil {
		// Another process makes the copy. If this process made it, a process that another test starts at
		// the same time would inherit the file open for writing. Executing the copy would then fail with
		// ETXTBSY.
		require.NoError(t, exec.Command("cp", proctest.Binary(), path).Run())
	}
	return path
}

// startHeld starts a launcher and a daemon whose OnStart waits for gate, or does what the argument
// what selects. It returns when OnStart runs.
func (b *background) startHeld(what ...string) (launcher *proctest.Process, pid int, gate string) {
	b.t.Helper()
	gate = filepath.Join(b.t.TempDir(), "gate")
	launcher = proctest.Start(b.t, daemon, b.args(slices.Concat([]string{"start=until:" + gate}, what, []string{"start"})...)...)
	b.awaitSaid("OnStart\n")
	found, err := lifecycle.Find(b.pidfile)
	require.NoError(b.t, err)
	require.NoError(b.t, found.Close())
	return launcher, found.PID, gate
}

// While only the launcher holds the lock, other processes cannot identify the holder.
func TestASecondStartIsRefusedDuringTheFirst(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	first := proctest.Start(t, scout, b.args("at=main", "do=until:"+gate, "start")...)
	b.awaitSaid("scout\n")
	second := proctest.Start(t, daemon, b.args("start")...)
	proctest.Touch(t, gate)
	require.Equal(t, 0, first.Wait(), "%s", first.Out)
	pid := b.readied(proctest.Result{Stderr: first.Out.String()})
	require.Equal(t, 1, second.Wait())
	require.Regexp(t, fmt.Sprintf(`^daemon: already running \(pid %d\)(, not ready yet)?\n$`, pid), second.Out.String())
}

func TestTheLockIsFreeAfterTheDeathOfADaemon(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	for range 3 {
		pid := b.start()
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		proctest.Eventually(t, func() bool { return b.call("status").Code == 1 }, "pid %d to be dead", pid)
	}
	b.start()
}

// Row E2.
func TestAnOrphanOfADetachedDaemonDoesNotHoldTheLock(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	proctest.Use(idle)
	got := proctest.Call(t, emigrant, b.args()...)
	require.Equal(t, proctest.Result{Stdout: "Run returned: <nil>\n"}, got)
	heir := heirIn(t, b.said())
	found, err := lifecycle.Find(b.pidfile)
	require.NoError(t, err)
	defer found.Close()
	require.NoError(t, found.Kill(t.Context()))
	require.False(t, proctest.IsOver(heir.Pid))
	b.start()
	require.False(t, proctest.IsOver(heir.Pid))
	require.NoError(t, heir.Kill())
}

// emigrant is a program that leaves a process behind. That process has the standard descriptors of
// the program.
var emigrant = proctest.Register("emigrant", func(args []string) int {
	err := lifecycle.Run(nil, lifecycle.Detach(), lifecycle.Name("emigrant"), lifecycle.PIDFile(strings.TrimPrefix(args[0], "pidfile=")), lifecycle.LogFile(strings.TrimPrefix(args[1], "log=")),
		lifecycle.OnStart(func(context.Context) error {
			cmd := proctest.Command("idle")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			err := cmd.Start()
			fmt.Println("heir:", cmd.Process.Pid)
			return err
		}))
	fmt.Printf("Run returned: %v\n", err)
	return lifecycle.ExitCode(err)
})

// In these cases the start fails in a way that only the launcher can report.
func TestTheLauncherReportsWhatTheDaemonCannotReport(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, args string
		code       int
		says       string // the beginning
		words      string // these follow if there is a log
		quiet      bool   // these follow even without a log
	}{
		{"WithExitCode", "at=OnStart do=with", 42, "coded on purpose\n", "", true},
		{"ExitCode of its own", "at=OnStart do=own", 43, "wrapped: coded on purpose\n", "", true},
		{"a body with an exit code", "at=fn do=with", 42, "coded on purpose\n", "", true},
		{"a crash", "at=OnStart do=crash", 1, "died before it was ready (exit 2)", "; its last words:\n  | panic: crashed on purpose\n", true},
		{"a crash in main", "at=main do=crash", 1, "died before it was ready (exit 2)", "; its last words:\n  | panic: crashed on purpose\n", false},
		{"an exit", "at=OnStart do=exit:3", 1, "died before it was ready (exit 3)", "\n", false},
		{"an exit with 0", "at=OnStart do=exit:0", 1, "died before it was ready (exit 0)", "\n", false},
		{"an exit in main", "at=main do=exit:3", 1, "died before it was ready (exit 3)", "\n", false},
		{"a main that returns", "at=main do=error", 1, "died before it was ready (exit 5)", "; its last words:\n  | scout: failed on purpose\n", false},
		{"a kill", "at=OnStart do=kill", 1, "died before it was ready (signal SIGKILL)", "\n", false},
		{"a kill in main", "at=main do=kill", 1, "died before it was ready (signal SIGKILL)", "\n", false},
		{"few words", "at=OnStart do=talk:2", 1, "died before it was ready (exit 3)", "; its last words:\n  | line 1\n  | line 2\n", false},
		{"many words", "at=OnStart do=talk:25", 1, "died before it was ready (exit 3)", "; its last words:\n  | line 6\n  | line 7\n", false},
		{"a main that hangs", "at=main do=hang starttimeout=1s", 1, "its main did not call Run in 1s; killed\n", "", true},
		{"a frozen main", "at=main do=freeze starttimeout=1s", 1, "its main did not call Run in 1s; killed\n", "", true},
		{"a frozen daemon", "at=OnStart do=freeze starttimeout=1s", 1, "it neither became ready nor ended in ", "", true},
		{
			"a wrong option", "do=wrong_option", 1, "died before it was ready (exit 1)",
			"; its last words:\n  | scout: wrong option: StopTimeout(-1ns): must not be negative\n", false,
		},
		{"another PID file", "do=other_PID_file", 1, "the launcher uses the PID file ", "", true},
	} {
		for where, quiet := range map[string]bool{"with a log": false, "without": true} {
			t.Run(tt.name+" "+where, func(t *testing.T) {
				t.Parallel()
				b := inBackground(t)
				at := b
				if quiet {
					at = b.quietly()
				}
				before := "what was there before\n" + strings.Repeat("panic: long ago, on purpose\n", 30)
				if !quiet {
					require.NoError(t, os.WriteFile(b.log, []byte(before), 0o640))
				}
				args := strings.Fields(tt.args)
				for i := range args {
					args[i] = strings.ReplaceAll(args[i], "_", " ")
				}
				got := proctest.Call(t, scout, at.args(append(args, "start")...)...)
				require.Equal(t, tt.code, got.Code, "%s", got.Stderr)
				want := "scout: start failed: " + tt.says
				if !quiet || tt.quiet {
					want += tt.words
				}
				require.True(t, strings.HasPrefix(got.Stderr, want), "got  %q\nwant %q", got.Stderr, want)
				stands := strings.Contains(tt.name, "frozen") || strings.Contains(tt.name, "hangs")
				require.Equal(t, !quiet, strings.HasSuffix(got.Stderr, "\n  log: "+b.log+"\n"), got.Stderr)
				got = withoutLog(got)
				require.Equal(t, stands, strings.HasSuffix(got.Stderr, "; killed\n"), got.Stderr)
				require.LessOrEqual(t, strings.Count(got.Stderr, "\n"), 21)
				require.NotContains(t, got.Stderr, "long ago")
				require.Empty(t, got.Stdout)
				b.requireNothingLeft()
			})
		}
	}
}

// When start has returned, a reader of its output reads EOF, although the daemon lives.
// Rows E3, E4.
func TestACommandSubstitutionAndAPipelineEndWhenTheDaemonIsReady(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"substitution": `out=$("$0" "$@" 2>&1); echo "$? [$out]"`,
		"pipeline":     `"$0" "$@" 2>&1 | { out=$(cat); echo "0 [$out]"; }`,
		"setsid":       `out=$(setsid -w "$0" "$@" 2>&1); echo "$? [$out]"`,
		"background":   `out=$("$0" "$@" 2>&1 & wait $!); echo "$? [$out]"`,
		"fd 9":         `out=$("$0" "$@" 9>&1 2>&1); echo "$? [$out]"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "setsid" {
				proctest.Needs(t, "setsid")
			}
			b := inBackground(t)
			got := proctest.CallCommand(t, proctest.Wrapped([]string{"sh", "-c", script}, daemon, b.args("start")...))
			require.Equal(t, 0, got.Code, "%s", got.Stderr)
			said, found := strings.CutPrefix(got.Stdout, "0 [")
			require.True(t, found, "%q", got.Stdout)
			pid := b.readied(proctest.Result{Stderr: strings.Replace(said, "]\n", "\n", 1)})
			require.False(t, proctest.IsOver(pid))
		})
	}
}

// defaulted uses the default PID file and log of its name.
var defaulted = proctest.Register("defaulted", func(args []string) int {
	return lifecycle.Main(args[1:], nil, lifecycle.Name(args[0]), lifecycle.OnStart(started))
})

// systemd stops a daemon with KILL if the parent of the daemon is a process other than systemd.
// Row K7.
func TestStage1HasEndedWhenTheStartReturns(t *testing.T) {
	t.Parallel()
	needsStrace(t)
	b := inBackground(t)
	strace := []string{"strace", "-D", "-f", "-I1", "-o", os.DevNull, "-e", "trace=exit_group", "-e", "inject=exit_group:delay_enter=200000"}
	p := proctest.Launch(t, proctest.Wrapped(strace, daemon, b.args("start")...))
	p.Await("ready (pid ")
	daemons := b.processes()
	text, err := os.ReadFile(b.pidfile)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.Contains(t, daemons, pid)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	// See proc_pid_stat(5): state, ppid, pgrp, session.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	require.NotEqual(t, fields[3], fields[1], "the parent of the daemon is still stage 1")
	require.Equal(t, 0, p.Wait())
	b.stop()
}
