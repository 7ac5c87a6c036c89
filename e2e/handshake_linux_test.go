package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// whereabouts is what a process finds out about itself.
type whereabouts struct {
	PID, Session int
	Terminal     string // tty_nr of /proc/self/stat
	Opened       string // the same after a terminal was opened
	Dir          string
	Umask        int
	Descriptors  map[string]string
	Stdin        string // what can be read there
	Writes       []string
	InDaemon     bool
	Args, Env    []string
	Comm, Status string
}

func lookAround() (w whereabouts, err error) {
	w.PID, w.InDaemon, w.Args, w.Env = os.Getpid(), lifecycle.InDaemon(), os.Args, os.Environ()
	w.Umask = syscall.Umask(0)
	syscall.Umask(w.Umask)
	w.Session, err = unix.Getsid(0)
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	note(err)
	w.Dir, err = os.Getwd()
	note(err)
	text, err := os.ReadFile("/proc/self/comm")
	note(err)
	w.Comm = string(text)
	text, err = os.ReadFile("/proc/self/status")
	note(err)
	w.Status = string(text)
	w.Terminal = terminalNumber()
	tty, err := openTerminal()
	note(err)
	w.Opened = terminalNumber()
	for _, f := range tty {
		f.Close()
	}
	text, err = io.ReadAll(os.Stdin)
	note(err)
	w.Stdin = string(text)
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		_, err := fmt.Fprintln(f, "a word to", f.Name())
		w.Writes = append(w.Writes, fmt.Sprint(err))
	}
	w.Descriptors = map[string]string{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	note(err)
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil { // without that of Glob
			w.Descriptors[filepath.Base(fd)] = target
		}
	}
	return w, errors.Join(errs...)
}

// terminalNumber is that of the controlling terminal, "0" if there is none (proc_pid_stat(5)).
func terminalNumber() string {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err.Error()
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))[4]
}

// openTerminal opens a terminal that is nobody's controlling terminal, and does not say that it does not want it for one.
func openTerminal() (files []*os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	files = append(files, os.NewFile(uintptr(fd), "ptmx"))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		return files, err
	}
	slave, err := unix.Open(fmt.Sprintf("/dev/pts/%d", number), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return files, err
	}
	return append(files, os.NewFile(uintptr(slave), "tty")), nil
}

// scout is a program that does something at one point of its course, in the detached process only:
//
//	scout pidfile=PATH log=PATH [at=main|OnStart|fn] [do=WHAT[:ARG]] [key=value …] [VERB]
//
// Without verb it is Run with Detach. Its keys are those of daemon, as far as they are below; impatience is a starttimeout of the launcher alone.
var scout = proctest.Register("scout", func(args []string) int {
	does := map[string]string{}
	var verb []string
	for _, arg := range args {
		if key, value, found := strings.Cut(arg, "="); found {
			does[key] = value
		} else {
			verb = append(verb, arg)
		}
	}
	at := func(where string) func(context.Context) error {
		return func(ctx context.Context) error {
			if does["at"] != where || !lifecycle.InDaemon() {
				return nil
			}
			what, arg, _ := strings.Cut(does["do"], ":")
			return scouted[what](ctx, arg)
		}
	}
	if err := at("main")(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "scout:", err)
		return 5
	}
	opts := []lifecycle.Option{
		lifecycle.Name("scout"), lifecycle.PIDFile(does["pidfile"]), lifecycle.LogFile(does["log"]), lifecycle.WorkDir(does["workdir"]), lifecycle.OnStart(at("OnStart")),
		lifecycle.StopTimeout(100 * time.Millisecond),
	}
	if d, err := time.ParseDuration(does["starttimeout"]); err == nil {
		opts = append(opts, lifecycle.StartTimeout(d))
	}
	var umask int
	if n, _ := fmt.Sscanf(does["umask"], "%o", &umask); n == 1 {
		opts = append(opts, lifecycle.Umask(umask))
	}
	if d, err := time.ParseDuration(does["impatience"]); err == nil && !lifecycle.InDaemon() {
		opts = append(opts, lifecycle.StartTimeout(d))
	}
	if lifecycle.InDaemon() {
		switch does["do"] {
		case "wrong option":
			opts = append(opts, lifecycle.StopTimeout(-1))
		case "other PID file":
			opts = append(opts, lifecycle.PIDFile(does["pidfile"]+".other"))
		}
	}
	fn := func(ctx context.Context) error {
		if err := at("fn")(ctx); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	if len(verb) > 0 {
		return lifecycle.Main(verb, fn, opts...)
	}
	err := lifecycle.Run(fn, append(opts, lifecycle.Detach())...)
	fmt.Printf("Run returned: %v\n", err)
	return lifecycle.ExitCode(err)
})

type scoutsError struct{}

func (scoutsError) Error() string { return "coded on purpose" }

func (scoutsError) ExitCode() int { return 43 }

// scouted is what a scout does.
var scouted = map[string]func(ctx context.Context, arg string) error{
	"":       func(context.Context, string) error { return nil },
	"error":  func(context.Context, string) error { return errors.New("failed on purpose") },
	"with":   func(context.Context, string) error { return lifecycle.WithExitCode(errors.New("coded on purpose"), 42) },
	"own":    func(context.Context, string) error { return fmt.Errorf("wrapped: %w", scoutsError{}) },
	"hang":   func(context.Context, string) error { select {} },
	"crash":  func(context.Context, string) error { go panic("crashed on purpose"); select {} },
	"exit":   func(_ context.Context, arg string) error { code, _ := strconv.Atoi(arg); os.Exit(code); return nil },
	"kill":   func(context.Context, string) error { syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} },
	"freeze": func(context.Context, string) error { return syscall.Kill(os.Getpid(), syscall.SIGSTOP) },
	"until": func(ctx context.Context, arg string) error {
		return behave("scout", "until:"+arg)(ctx)
	},
	"talk": func(_ context.Context, arg string) error {
		n, _ := strconv.Atoi(arg)
		for i := range n {
			fmt.Fprintln(os.Stderr, "line", i+1)
		}
		os.Exit(3)
		return nil
	},
	"look": func(_ context.Context, arg string) error {
		w, err := lookAround()
		if err != nil {
			return err
		}
		text, err := json.Marshal(w)
		if err != nil {
			return err
		}
		return os.WriteFile(arg, text, 0o644)
	},
	"wrong option": nil, "other PID file": nil,
	// start another daemon, with a log of its own, from within this one
	"start": func(_ context.Context, arg string) error {
		pidfile, log, _ := strings.Cut(arg, ",")
		out, err := proctest.Command("scout", "pidfile="+pidfile, "log="+log, "at=OnStart", "do=look:"+log+".json", "start").CombinedOutput()
		fmt.Printf("%s%v\n", out, err)
		return err
	},
}

// look starts a scout here by that command, which may have been changed, and returns what it finds out about itself at that point.
func (b *background) look(at string, change func(*exec.Cmd), args ...string) whereabouts {
	b.t.Helper()
	report := filepath.Join(b.t.TempDir(), "report")
	cmd := proctest.Command(scout, b.args(append(args, "at="+at, "do=look:"+report, "start")...)...)
	if change != nil {
		change(cmd)
	}
	b.readied(proctest.CallCommand(b.t, cmd))
	return readWhereabouts(b.t, report)
}

func readWhereabouts(t *testing.T, path string) (w whereabouts) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &w))
	return w
}

// afterReady are the descriptors of a daemon that is ready, as seen from outside.
func afterReady(t *testing.T, pid int) (targets []string) {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	require.NoError(t, err)
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		require.NoError(t, err)
		if n, _ := strconv.Atoi(filepath.Base(fd)); n > 2 && !strings.HasPrefix(target, "anon_inode:") && !strings.HasPrefix(target, "/sys/fs/cgroup") {
			targets = append(targets, target)
		}
	}
	slices.Sort(targets)
	return targets
}

func (b *background) requireOnlyItsOwn(pid int) {
	b.t.Helper()
	// The launcher has been told before the socket is closed.
	proctest.Eventually(b.t, func() bool {
		return slices.Equal([]string{b.pidfile, proctest.StatePath(b.pidfile)}, afterReady(b.t, pid))
	},
		"pid %d to have no descriptors but its own", pid)
}

func (w whereabouts) requireNothingOfTheHandshake(t *testing.T) {
	t.Helper()
	for _, variable := range w.Env {
		require.NotContains(t, variable, "_GO_DAEMON")
		require.NotContains(t, variable, "_LIFECYCLE")
	}
}

// isOver says whether the process is gone, or is one that nobody has waited for.
func isOver(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(text, []byte(") Z "))
}

// shifted calls a launcher that puts this shell script into the place of its own file before it starts.
func (b *background) shifted(script string, env ...string) proctest.Result {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "script")
	require.NoError(b.t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	cmd := proctest.Command(shapeShifter, b.args(path)...)
	cmd.Path = copyOfTestBinary(b.t)
	cmd.Env = append(cmd.Env, env...)
	return proctest.CallCommand(b.t, cmd)
}

// The launcher knows the PID from the daemon as well: stage 1 can die before it has told it.
func TestTheDeathOfStage1MakesNoDifferenceOnceItHasStartedTheDaemon(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	b := inBackground(t)
	got := b.shifted(`exec strace -D -o /dev/null -e trace=write -e inject=write:signal=KILL:when=1 "` + proctest.Binary() + `" "$@"`)
	if got.Code == 0 {
		pid := b.readied(got)
		require.Positive(t, pid)
		proctest.RequireText(t, b.pidfile, fmt.Sprintln(pid))
		return
	}
	b.requireNothingLeft()
}

// shapeShifter replaces or deletes its own file before it starts: replaced, deleted, or the path of what takes its place.
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
	return lifecycle.Main([]string{"start"}, nil, lifecycle.Name("scout"), lifecycle.PIDFile(strings.TrimPrefix(args[0], "pidfile=")), lifecycle.LogFile(strings.TrimPrefix(args[1], "log=")),
		lifecycle.OnReload(started), lifecycle.StartTimeout(time.Second), lifecycle.StopTimeout(100*time.Millisecond))
})

func copyOfTestBinary(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "program")
	if os.Link(proctest.Binary(), path) != nil {
		// Not by this process: what another test starts meanwhile would have it open for writing, and then it is busy.
		require.NoError(t, exec.Command("cp", proctest.Binary(), path).Run())
	}
	return path
}

// startHeld starts the launcher of a daemon whose OnStart waits for gate, or does what it is told, and returns both when it does.
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

// While the launcher alone holds the lock, it has no name yet.
func TestASecondStartIsRefusedWhileTheFirstLoads(t *testing.T) {
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

func TestAfterTheDeathOfADaemonItsLockIsFree(t *testing.T) {
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
func TestWhatADetachedDaemonLeavesBehindDoesNotHoldTheLock(t *testing.T) {
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
	require.False(t, isOver(heir.Pid))
	b.start()
	require.False(t, isOver(heir.Pid))
	require.NoError(t, heir.Kill())
}

// emigrant leaves a process behind that has its standard descriptors.
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

// The ends of a start of which only the launcher can tell.
func TestTheLauncherTellsOfWhatTheDaemonCannot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, args string
		code       int
		says       string // the beginning
		words      string // follow, if there is a log
		quiet      bool   // they follow also where there is none
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
		{"a main that hangs", "at=main do=hang starttimeout=200ms", 1, "its main did not come to Run in 200ms; killed\n", "", true},
		{"a frozen main", "at=main do=freeze starttimeout=200ms", 1, "its main did not come to Run in 200ms; killed\n", "", true},
		{"a frozen daemon", "at=OnStart do=freeze starttimeout=200ms", 1, "it neither became ready nor ended in ", "", true},
		{
			"a wrong option", "do=wrong_option", 1, "died before it was ready (exit 1)",
			"; its last words:\n  | scout: wrong option: StopTimeout(-1ns): must be positive; StopDelay(0s): must be shorter than StopTimeout, -1ns, of which it is a part\n", false,
		},
		{"another PID file", "do=other_PID_file", 1, "the launcher has locked the PID file ", "", true},
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
				require.Equal(t, stands, strings.HasSuffix(got.Stderr, "; killed\n"), got.Stderr)
				require.LessOrEqual(t, strings.Count(got.Stderr, "\n"), 21)
				require.NotContains(t, got.Stderr, "long ago")
				require.Empty(t, got.Stdout)
				b.requireNothingLeft()
			})
		}
	}
}

// E4: whoever reads what start writes gets to the end of it when start has returned, though the daemon lives.
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
			require.False(t, isOver(pid))
		})
	}
}

// defaulted has the default PID file and log of its name.
var defaulted = proctest.Register("defaulted", func(args []string) int {
	return lifecycle.Main(args[1:], nil, lifecycle.Name(args[0]), lifecycle.OnStart(started))
})

// systemd takes a daemon whose parent is another process for one that is not its own, and stops it with KILL (K7).
// Row K7.
func TestStageOneIsGoneWhenTheStartReturns(t *testing.T) {
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
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // proc_pid_stat(5): state, ppid, pgrp, session
	require.NotEqual(t, fields[3], fields[1], "its parent is the leader of its session, which is stage 1")
	require.Equal(t, 0, p.Wait())
	b.stop()
}
