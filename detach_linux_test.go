package lifecycle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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
	w.PID, w.InDaemon, w.Args, w.Env = os.Getpid(), InDaemon(), os.Args, os.Environ()
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
var scout = registerProgram("scout", func(args []string) int {
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
			if does["at"] != where || !InDaemon() {
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
	opts := []Option{
		Name("scout"), PIDFile(does["pidfile"]), LogFile(does["log"]), WorkDir(does["workdir"]), OnStart(at("OnStart")),
		StopTimeout(100 * time.Millisecond),
	}
	if d, err := time.ParseDuration(does["starttimeout"]); err == nil {
		opts = append(opts, StartTimeout(d))
	}
	var umask int
	if n, _ := fmt.Sscanf(does["umask"], "%o", &umask); n == 1 {
		opts = append(opts, Umask(umask))
	}
	if d, err := time.ParseDuration(does["impatience"]); err == nil && !InDaemon() {
		opts = append(opts, StartTimeout(d))
	}
	if InDaemon() {
		switch does["do"] {
		case "wrong option":
			opts = append(opts, StopTimeout(-1))
		case "other PID file":
			opts = append(opts, PIDFile(does["pidfile"]+".other"))
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
		return Main(verb, fn, opts...)
	}
	err := Run(fn, append(opts, Detach())...)
	fmt.Printf("Run returned: %v\n", err)
	return ExitCode(err)
})

type scoutsError struct{}

func (scoutsError) Error() string { return "coded on purpose" }
func (scoutsError) ExitCode() int { return 43 }

// scouted is what a scout does.
var scouted = map[string]func(ctx context.Context, arg string) error{
	"":       func(context.Context, string) error { return nil },
	"error":  func(context.Context, string) error { return errors.New("failed on purpose") },
	"with":   func(context.Context, string) error { return WithExitCode(errors.New("coded on purpose"), 42) },
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
		out, err := command("scout", "pidfile="+pidfile, "log="+log, "at=OnStart", "do=look:"+log+".json", "start").CombinedOutput()
		fmt.Printf("%s%v\n", out, err)
		return err
	},
}

// look starts a scout here by that command, which may have been changed, and returns what it finds out about itself at that point.
func (b *background) look(at string, change func(*exec.Cmd), args ...string) whereabouts {
	b.t.Helper()
	report := filepath.Join(b.t.TempDir(), "report")
	cmd := command(scout, b.args(append(args, "at="+at, "do=look:"+report, "start")...)...)
	if change != nil {
		change(cmd)
	}
	b.readied(runCommand(b.t, cmd))
	return readWhereabouts(b.t, report)
}

func readWhereabouts(t *testing.T, path string) (w whereabouts) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &w))
	return w
}

// requireOwnDescriptors requires that it has no descriptors but the standard ones, those of its life and those of the Go runtime.
func (w whereabouts) requireOwnDescriptors(t *testing.T, pidfile, log string) {
	t.Helper()
	if log == "" {
		log = os.DevNull
	}
	seen := map[string]int{}
	for fd, target := range w.Descriptors {
		switch fd {
		case "0":
			require.Equal(t, os.DevNull, target)
			continue
		case "1", "2":
			require.Equal(t, log, target)
			continue
		}
		kind, _, _ := strings.Cut(target, ":[")
		switch {
		case kind == "socket", target == pidfile, target == statePath(pidfile):
		case strings.HasPrefix(target, "anon_inode:"), strings.HasPrefix(target, "/sys/fs/cgroup"): // epoll, eventfd, pidfd; GOMAXPROCS
			continue
		default:
			t.Errorf("descriptor %s is %s", fd, target)
		}
		seen[kind]++
	}
	sockets := 1 // to the launcher, during the start
	if log == os.DevNull {
		sockets = 2 // and where a crash is to be told
	}
	require.Equal(t, map[string]int{"socket": sockets, pidfile: 1, statePath(pidfile): 1}, seen)
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
	eventually(b.t, func() bool { return slices.Equal([]string{b.pidfile, statePath(b.pidfile)}, afterReady(b.t, pid)) },
		"pid %d to have no descriptors but its own", pid)
}

func (w whereabouts) requireNothingOfTheHandshake(t *testing.T) {
	t.Helper()
	for _, variable := range w.Env {
		require.NotContains(t, variable, "_GO_DAEMON")
		require.NotContains(t, variable, "_LIFECYCLE")
	}
}

// Rows E7, E9.
func TestADaemonHasNoTerminalAndCannotGainOne(t *testing.T) {
	t.Parallel()
	// The same open gives a session leader a terminal: else this proves nothing.
	leader := command(terminalOpener)
	leader.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	got := runCommand(t, leader)
	require.Equal(t, 0, got.code, "%s%s", got.stdout, got.stderr)
	require.NotEqual(t, "0\n", got.stdout)

	window, tty := pty(t)
	b := inBackground(t)
	w := b.look("OnStart", func(cmd *exec.Cmd) { inTerminal(cmd, tty) })
	require.NotEqual(t, w.PID, w.Session)
	require.Equal(t, "0", w.Terminal)
	require.Equal(t, "0", w.Opened)
	require.True(t, w.InDaemon)
	require.Empty(t, w.Stdin)
	closeWindow(t, window, tty)
	requireText(t, b.pidfile, fmt.Sprintln(w.PID))
	require.Equal(t, 0, b.call("status", "--ready").code, "the end of the terminal does not reach it")
}

var terminalOpener = registerProgram("terminal opener", func([]string) int {
	_, err := openTerminal()
	fmt.Println(terminalNumber())
	return ExitCode(err)
})

// Rows E1, E3, E12.
func TestADaemonHasNothingOfWhoStartedIt(t *testing.T) {
	t.Parallel()
	r, wr, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer wr.Close()
	for name, quiet := range map[string]bool{"with a log": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			b := inBackground(t)
			at := b
			if quiet {
				at = b.quietly()
			}
			w := at.look("OnStart", func(cmd *exec.Cmd) {
				cmd.ExtraFiles = []*os.File{r, wr, r, wr, r, wr, r} // from 3 to 9
				cmd.Env = append(cmd.Env, "_GO_DAEMON=1", "_LIFECYCLE_STAGE=x")
			})
			w.requireOwnDescriptors(t, b.pidfile, at.log)
			w.requireNothingOfTheHandshake(t)
			require.Equal(t, []string{"<nil>", "<nil>"}, w.Writes)
			name := filepath.Base(testBinary())
			require.Equal(t, name[:min(len(name), 15)]+"\n", w.Comm)
			require.Equal(t, "scout", w.Args[0])
			require.Equal(t, "start", w.Args[len(w.Args)-1])
			b.requireOnlyItsOwn(w.PID)
			if !quiet {
				require.Contains(t, b.said(), "a word to /dev/stdout\n")
				require.Contains(t, b.said(), "a word to /dev/stderr\n")
			}
		})
	}
}

// What a daemon starts has no more than what it is given.
// Rows E1, E12.
func TestWhatADaemonStartsHasNothingOfTheHandshake(t *testing.T) {
	t.Parallel()
	for name, wrapper := range map[string][]string{
		"plain":   {"env"},
		"nohup":   {"nohup"},
		"trap":    {"sh", "-c", `trap "" HUP TERM INT CHLD PIPE USR1 USR2 QUIT ALRM TSTP TTIN TTOU; exec "$0" "$@"`},
		"fd 9":    {"sh", "-c", `exec 9>/dev/null; exec "$0" "$@"`},
		"closed":  {"sh", "-c", `exec "$0" "$@" <&- >&- 2>&-`},
		"deaf":    nil,
		"blocked": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			args := b.args("start=children", "start")
			var cmd *exec.Cmd
			switch name {
			case "deaf", "blocked":
				cmd = command(deafened, append([]string{name, testBinary()}, args...)...)
			default:
				cmd = wrapped(wrapper, daemon, args...)
			}
			got := runCommand(t, cmd)
			require.Equal(t, 0, got.code, "%s", got.stderr)
			b.awaitSaid("msg=ready")
			said := b.said()
			require.Contains(t, said, "descriptors: 0 1 2 3\n", "3 is the folder that ls reads")
			// What no program can ignore or block through the C library stays with whoever did it without: 32 and 33.
			for _, field := range []string{"SigIgn", "SigBlk"} {
				has := signalsOf(t, said, field)
				for sig := syscall.Signal(1); sig <= 64; sig++ {
					if sig != 32 && sig != 33 {
						require.False(t, has(sig), "%s has %v", field, sig)
					}
				}
			}
			require.NotContains(t, said, "_GO_DAEMON")
			require.NotContains(t, said, "_LIFECYCLE")
		})
	}
}

// deafened ignores and blocks, or only blocks, all signals, and executes the program daemon.
var deafened = registerProgram("deafened", func(args []string) int {
	var all []os.Signal
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		all = append(all, sig)
	}
	if args[0] == "deaf" {
		signal.Ignore(all...)
	}
	set := unix.Sigset_t{}
	set.Val[0] = ^uint64(0)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
		fmt.Println(err)
		return 1
	}
	os.Setenv(programVariable, daemon)
	fmt.Println(syscall.Exec(args[1], append([]string{daemon}, args[2:]...), os.Environ()))
	return 1
})

// Row E6.
func TestWithClosedStandardDescriptorsADaemonHasItsOwn(t *testing.T) {
	t.Parallel()
	for _, closed := range []string{"<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"} {
		t.Run(closed, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			report := filepath.Join(t.TempDir(), "report")
			cmd := wrapped([]string{"sh", "-c", `exec "$0" "$@" ` + closed}, scout, b.args("at=OnStart", "do=look:"+report, "start")...)
			require.Equal(t, 0, runCommand(t, cmd).code)
			w := readWhereabouts(t, report)
			w.requireOwnDescriptors(t, b.pidfile, b.log)
			require.Equal(t, []string{"<nil>", "<nil>"}, w.Writes)
			b.requireOnlyItsOwn(w.PID)
		})
	}
}

// Row E19.
func TestTheUmaskIsTheOneOfTheOptionOrTheDefault(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		callers, args string
		want          int
	}{
		{"000", "", 0o022},
		{"777", "", 0o022},
		{"077", "umask=0", 0},
		{"000", "umask=077", 0o077},
		{"777", "umask=027", 0o027},
	} {
		t.Run(tt.callers+tt.args, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			w := b.look("OnStart", func(cmd *exec.Cmd) {
				cmd.Args = append([]string{"sh", "-c", "umask " + tt.callers + `; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
				path, err := exec.LookPath("sh")
				require.NoError(t, err)
				cmd.Path = path
			}, strings.Fields(tt.args)...)
			require.Equal(t, tt.want, w.Umask)
			for path, mode := range map[string]os.FileMode{b.pidfile: 0o644, statePath(b.pidfile): 0o644, b.log: 0o640} {
				info, err := os.Stat(path)
				require.NoError(t, err)
				require.Equal(t, mode, info.Mode(), path)
			}
		})
	}
}

func TestMainSeesTheDirectoryOfTheStartAndTheLifeItsOwn(t *testing.T) {
	t.Parallel()
	from, work := t.TempDir(), t.TempDir()
	for _, tt := range []struct{ at, option, want string }{
		{"main", "", from},
		{"main", "workdir=" + work, from},
		{"OnStart", "", "/"},
		{"OnStart", "workdir=" + work, work},
		{"OnStart", "workdir=.", from},
	} {
		b := inBackground(t)
		w := b.look(tt.at, func(cmd *exec.Cmd) { cmd.Dir = from }, strings.Fields(tt.option)...)
		require.Equal(t, tt.want, w.Dir, "%+v", tt)
	}
}

func TestRelativePathsAreThoseOfTheDirectoryOfTheStart(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	dir := filepath.Dir(b.pidfile)
	cmd := command(daemon, "pidfile=daemon.pid", "log="+filepath.Join("..", filepath.Base(filepath.Dir(b.log)), "daemon.log"), "start")
	cmd.Dir = dir
	got := runCommand(t, cmd)
	pid := b.readied(got)
	require.Contains(t, got.stderr, "log "+b.log+"\n")
	requireRunning(t, b.pidfile, pid)
	require.Contains(t, b.said(), "OnStart")
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	eventually(t, func() bool { _, err := Find(b.pidfile); return errors.Is(err, ErrNotRunning) }, "the end of it")
	eventually(t, func() bool { return isOver(pid) }, "the end of pid %d", pid)
}

// isOver says whether the process is gone, or is one that nobody has waited for.
func isOver(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(text, []byte(") Z "))
}

// E16: the program may change on disk under a launcher.
// Row E16.
func TestTheProgramOfALauncherIsReplacedOrDeleted(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"replaced", "deleted"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			binary := copyOfTestBinary(t)
			cmd := command(shapeShifter, b.args(how)...)
			cmd.Path = binary
			got := runCommand(t, cmd)
			if how == "deleted" {
				require.Equal(t, 1, got.code)
				require.Equal(t, "scout: start failed: cannot start shape shifter: fork/exec "+binary+": no such file or directory\n", got.stderr)
				b.requireNothingLeft()
				return
			}
			pid := b.readied(got)
			exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			require.NoError(t, err)
			require.Equal(t, binary, exe, "the new one")
			require.NoError(t, os.Remove(binary))
			require.Equal(t, 0, b.call("reload").code, "it does not need its file")
		})
	}
}

// shifted calls a launcher that puts this shell script into the place of its own file before it starts.
func (b *background) shifted(script string, env ...string) result {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "script")
	require.NoError(b.t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	cmd := command(shapeShifter, b.args(path)...)
	cmd.Path = copyOfTestBinary(b.t)
	cmd.Env = append(cmd.Env, env...)
	return runCommand(b.t, cmd)
}

// A new version may be something else altogether.
// Row E16.
func TestAProgramThatIsReplacedByOneThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ script, says string }{
		"it ends":  {"exit 3", `died before it was ready \(exit 3\)`},
		"it talks": {"read x; echo a word; echo another >&2; exit 3", `died before it was ready \(exit 3\); its last words:\n  \| a word\n  \| another`},
		"it hangs": {"exec sleep 29", `its main did not come to Run in 1s; stopped, nothing left`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			got := b.shifted(tt.script)
			require.Equal(t, 1, got.code)
			require.Regexp(t, "^scout: start failed: ("+tt.says+")\n$", got.stderr)
			b.requireNothingLeft()
		})
	}
}

// go-daemon writes the environment to a pipe, which has room for 64 KiB.
// Row E13.
func TestAHugeEnvironmentDoesNotKeepAStartFromBeingTimedOut(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := b.shifted("exec sleep 2", "HUGE="+strings.Repeat("x", 100<<10))
	require.Equal(t, result{"", "scout: start failed: its main did not come to Run in 1s; stopped, nothing left\n", 1}, got)
}

// The launcher knows the PID from the daemon as well: stage 1 can die before it has told it.
func TestTheDeathOfStage1MakesNoDifferenceOnceItHasStartedTheDaemon(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	b := inBackground(t)
	got := b.shifted(`exec strace -D -o /dev/null -e trace=write -e inject=write:signal=KILL:when=1 "` + testBinary() + `" "$@"`)
	if got.code == 0 {
		pid := b.readied(got)
		require.Positive(t, pid)
		requireText(t, b.pidfile, fmt.Sprintln(pid))
		return
	}
	b.requireNothingLeft()
}

// shapeShifter replaces or deletes its own file before it starts: replaced, deleted, or the path of what takes its place.
var shapeShifter = registerProgram("shape shifter", func(args []string) int {
	self := testBinary()
	if !InDaemon() {
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
	return Main([]string{"start"}, nil, Name("scout"), PIDFile(strings.TrimPrefix(args[0], "pidfile=")), LogFile(strings.TrimPrefix(args[1], "log=")),
		OnReload(started), StartTimeout(time.Second), StopTimeout(100*time.Millisecond))
})

func copyOfTestBinary(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "program")
	if os.Link(testBinary(), path) != nil {
		// Not by this process: what another test starts meanwhile would have it open for writing, and then it is busy.
		require.NoError(t, exec.Command("cp", testBinary(), path).Run())
	}
	return path
}

// startHeld starts the launcher of a daemon whose OnStart waits for gate, or does what it is told, and returns both when it does.
func (b *background) startHeld(what ...string) (launcher *process, pid int, gate string) {
	b.t.Helper()
	gate = filepath.Join(b.t.TempDir(), "gate")
	launcher = start(b.t, daemon, b.args(slices.Concat([]string{"start=until:" + gate}, what, []string{"start"})...)...)
	b.awaitSaid("OnStart\n")
	found, err := Find(b.pidfile)
	require.NoError(b.t, err)
	require.NoError(b.t, found.Close())
	return launcher, found.PID, gate
}

func TestTheLockGoesFromTheLauncherToTheDaemonWithoutAGap(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	launcher, pid, gate := b.startHeld()
	require.NotEqual(t, launcher.pid(), pid)
	for _, verb := range []string{"start", "run"} {
		require.Equal(t, result{"", fmt.Sprintf("daemon: already running (pid %d), not ready yet\n", pid), 1}, b.call(verb))
	}
	h := mustLook(t, b.pidfile)
	require.Equal(t, holder{Held: true, Daemon: true, Known: true, PID: pid, Number: pid, Owner: os.Geteuid()}, h, "by the name, which the kernel vouches for")
	touch(t, gate)
	require.Equal(t, 0, launcher.wait())
	require.Equal(t, pid, b.readied(result{"", launcher.out.String(), 0}))
	require.Equal(t, h, mustLook(t, b.pidfile))
}

// While the launcher alone holds the lock, it has no name yet.
func TestASecondStartIsRefusedWhileTheFirstLoads(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	first := start(t, scout, b.args("at=main", "do=until:"+gate, "start")...)
	b.awaitSaid("scout\n")
	second := start(t, daemon, b.args("start")...)
	touch(t, gate)
	require.Equal(t, 0, first.wait(), "%s", first.out)
	pid := b.readied(result{"", first.out.String(), 0})
	require.Equal(t, 1, second.wait())
	require.Regexp(t, fmt.Sprintf(`^daemon: already running \(pid %d\)(, not ready yet)?\n$`, pid), second.out.String())
}

func TestAfterTheDeathOfADaemonItsLockIsFree(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	for range 3 {
		pid := b.start()
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		eventually(t, func() bool { return b.call("status").code == 1 }, "pid %d to be dead", pid)
	}
	b.start()
}

// Row E2.
func TestWhatADetachedDaemonLeavesBehindDoesNotHoldTheLock(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	programsUsed.Store(idle, true)
	got := callProgram(t, emigrant, b.args()...)
	require.Equal(t, result{"Run returned: <nil>\n", "", 0}, got)
	heir := heirIn(t, b.said())
	found, err := Find(b.pidfile)
	require.NoError(t, err)
	defer found.Close()
	require.NoError(t, found.Kill(t.Context()))
	require.False(t, isOver(heir.Pid))
	b.start()
	require.False(t, isOver(heir.Pid))
	require.NoError(t, heir.Kill())
}

// emigrant leaves a process behind that has its standard descriptors.
var emigrant = registerProgram("emigrant", func(args []string) int {
	err := Run(nil, Detach(), Name("emigrant"), PIDFile(strings.TrimPrefix(args[0], "pidfile=")), LogFile(strings.TrimPrefix(args[1], "log=")),
		OnStart(func(context.Context) error {
			cmd := command("idle")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			err := cmd.Start()
			fmt.Println("heir:", cmd.Process.Pid)
			return err
		}))
	fmt.Printf("Run returned: %v\n", err)
	return ExitCode(err)
})

// What becomes of a start whose launcher does not wait for its end.
func TestAnInterruptedStartIsUndone(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGKILL} {
		for what, does := range map[string]string{"heeds": "start=wait", "does not": "start=hang"} {
			t.Run(fmt.Sprint(sig, " ", what), func(t *testing.T) {
				t.Parallel()
				b := inBackground(t)
				launcher, pid, _ := b.startHeld(does, "stoptimeout=200ms")
				launcher.signal(sig)
				code := launcher.wait()
				if sig == syscall.SIGKILL {
					require.Equal(t, -1, code)
					eventually(t, func() bool { return isOver(pid) }, "the end of pid %d", pid)
				} else {
					require.Equal(t, 1, code, "%s", launcher.out)
					require.Contains(t, launcher.out.String(), "daemon: start failed: stopped by signal: "+sig.String()+"\n")
					require.True(t, isOver(pid), "it has waited for the end")
				}
				b.requireNothingLeft()
				b.start()
			})
		}
	}
}

// The second time somebody does not want to wait for what the first time has begun to undo.
func TestWhoInsistsOnTheEndOfAStartHasItKilled(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		b := inBackground(t)
		launcher, pid, _ := b.startHeld("start=hang", "stoptimeout=1h")
		launcher.signal(sig)
		b.awaitSaid("msg=stopping")
		launcher.signal(syscall.SIGHUP) // means nothing now
		launcher.insist()
		require.Equal(t, 1, launcher.wait(), "%s", launcher.out)
		require.Equal(t, "daemon: start failed: stopped by signal: "+sig.String()+"; killed\n", launcher.out.String())
		require.True(t, isOver(pid))
		b.requireNothingLeft()
	}
}

// A launcher that is interrupted before the detached process has come to Run ends that itself.
func TestAnInterruptedStartBeforeRunIsUndone(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		b := inBackground(t)
		launcher := start(t, scout, b.args("at=main", "do=until:/no/such/gate", "start")...)
		b.awaitSaid("scout\n")
		launcher.signal(sig)
		require.Equal(t, 1, launcher.wait(), "%s", launcher.out)
		require.Equal(t, "scout: start failed: stopped by signal: "+sig.String()+"\n", launcher.out.String())
		b.requireNothingLeft()
	}
}

// Stage 1 stands still between the start of the daemon and the word that it has been started, which is the second that it writes, so the launcher
// does not know its PID.
func TestAStartThatIsInterruptedBeforeStage1HasToldThePIDIsUndone(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	b := inBackground(t)
	path := filepath.Join(t.TempDir(), "script")
	script := "#!/bin/sh\n" + programVariable + `=scout exec strace -D -o /dev/null -e trace=write -e inject=write:delay_enter=3000000:when=2+ "` +
		testBinary() + `" "$@" at=main do=until:/no/such/gate` + "\n"
	require.NoError(t, os.WriteFile(path, []byte(script), 0o755))
	cmd := command(shapeShifter, b.args(path)...)
	cmd.Path = copyOfTestBinary(t)
	launcher := launch(t, cmd)
	b.awaitSaid("scout\n")
	launcher.signal(syscall.SIGTERM)
	require.Equal(t, 1, launcher.wait(), "%s", launcher.out)
	require.Equal(t, "scout: start failed: stopped by signal: terminated\n", launcher.out.String())
	b.requireNothingLeft()
}

// suspend stops the launcher with STOP, and returns when it stands still.
func (p *process) suspend() (resume func()) {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	eventually(p.t, func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid()))
		return err == nil && bytes.Contains(text, []byte(") T "))
	}, "pid %d to stand still", p.pid())
	return func() { p.t.Helper(); p.signal(syscall.SIGCONT) }
}

func TestADaemonIsNotReadyBeforeItsSuspendedLauncherHasHeardIt(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	launcher, pid, gate := b.startHeld()
	resume := launcher.suspend()
	touch(t, gate)
	b.awaitSaid("fn\n")
	require.Equal(t, 150, b.call("status", "--ready").code)
	require.Equal(t, Starting, stateOf(t, b.pidfile).Phase)
	resume()
	require.Equal(t, 0, launcher.wait())
	require.Equal(t, pid, b.readied(result{"", launcher.out.String(), 0}))
	require.Equal(t, 0, b.call("status", "--ready").code)
}

// When it goes on, its time is over, and it has not read yet what the daemon has told it in time.
func TestALauncherThatWasSuspendedReadsWhatItWasToldBeforeItCallsTheDaemonLate(t *testing.T) {
	t.Parallel()
	for impatience := 300 * time.Millisecond; ; impatience *= 2 {
		b := inBackground(t)
		gate, begun := filepath.Join(t.TempDir(), "gate"), time.Now()
		launcher := start(t, scout, b.args("at=main", "do=until:"+gate, "impatience="+impatience.String(), "start")...)
		eventually(t, func() bool { return b.said() != "" || time.Since(begun) > impatience }, "main")
		if b.said() == "" {
			continue // on a machine that is busy it is late anyway
		}
		resume := launcher.suspend()
		if time.Since(begun) > impatience {
			resume()
			launcher.wait()
			continue
		}
		time.Sleep(time.Until(begun.Add(impatience)))
		touch(t, gate)
		eventually(t, func() bool { text, _ := os.ReadFile(b.pidfile); return len(text) > 0 }, "the daemon to say who it is")
		resume()
		require.Equal(t, 0, launcher.wait(), "%s", launcher.out)
		pid := b.readied(result{"", launcher.out.String(), 0})
		requireRunning(t, b.pidfile, pid)
		return
	}
}

func TestALauncherThatIsSuspendedForTooLongHasTheStartUndone(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	launcher, pid, gate := b.startHeld("starttimeout=2s")
	resume := launcher.suspend()
	touch(t, gate)
	eventually(t, func() bool { return isOver(pid) }, "the end of pid %d", pid)
	require.Contains(t, b.said(), "OnExit done\n", "it has undone what it had begun")
	resume()
	require.Equal(t, 1, launcher.wait())
	require.Regexp(t, `^daemon: start failed: (stopped before it was ready: the launcher is gone, so nobody waits for this start\n|.*in 2s)`, launcher.out.String(),
		"on a machine that is busy the time may be over before the gate is open")
	b.requireNothingLeft()
}

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
				got := callProgram(t, scout, at.args(append(args, "start")...)...)
				require.Equal(t, tt.code, got.code, "%s", got.stderr)
				want := "scout: start failed: " + tt.says
				if !quiet || tt.quiet {
					want += tt.words
				}
				require.True(t, strings.HasPrefix(got.stderr, want), "got  %q\nwant %q", got.stderr, want)
				stands := strings.Contains(tt.name, "frozen") || strings.Contains(tt.name, "hangs")
				require.Equal(t, stands, strings.HasSuffix(got.stderr, "; killed\n"), got.stderr)
				require.LessOrEqual(t, strings.Count(got.stderr, "\n"), 21)
				require.NotContains(t, got.stderr, "long ago")
				require.Empty(t, got.stdout)
				b.requireNothingLeft()
			})
		}
	}
}

// E11: a mark in the environment is none unless a launcher sits behind it.
// Row E11.
func TestAStrayMarkIsAsIfItWereNotThere(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{
		"go-daemon":          {"_GO_DAEMON=1"},
		"half":               {"_LIFECYCLE_STAGE=1:"},
		"no mark":            {"_LIFECYCLE_STAGE=x"},
		"of another socket":  {"_LIFECYCLE_STAGE=1:1:1"},
		"of another daemon":  {"_LIFECYCLE_STAGE=2:8:12345", "_GO_DAEMON=1"},
		"of another version": {"_LIFECYCLE_STAGE=3:8:12345", "_GO_DAEMON=2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			w := b.look("OnStart", func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, env...) })
			w.requireNothingOfTheHandshake(t)
			b.requireOnlyItsOwn(w.PID)
			b.stop()
			// And in the foreground.
			cmd := command(daemon, b.args("run")...)
			cmd.Env = append(cmd.Env, env...)
			p := launch(t, cmd)
			p.await("msg=ready")
			requireRunning(t, b.pidfile, p.pid())
			p.signal(syscall.SIGTERM)
			require.Equal(t, 0, p.wait())
		})
	}
}

// socketMarks are the marks of that socket for both stages.
func socketMarks(t *testing.T, f *os.File) (marks []string) {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(int(f.Fd()), &st))
	for stage := 1; stage <= 2; stage++ {
		marks = append(marks, fmt.Sprintf("_LIFECYCLE_STAGE=%d:%d:%d", stage, st.Dev, st.Ino))
	}
	return marks
}

// Row E11.
func TestAGenuineMarkWithoutALauncherEndsTheProcess(t *testing.T) {
	t.Parallel()
	for stage := range 2 {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
		defer theirs.Close()
		require.NoError(t, ours.Close())
		pidfile := pidPath(t)
		cmd := command(daemon, "pidfile="+pidfile, "start")
		cmd.Stdout = theirs
		cmd.Env = append(cmd.Env, "_GO_DAEMON=1", socketMarks(t, theirs)[stage])
		cmd.Stdin = strings.NewReader("{}")
		require.NotEqual(t, 0, launch(t, cmd).wait(), "it can say so to nobody")
		requireNothingLeft(t, pidfile)
	}
}

func TestADaemonStartsADaemon(t *testing.T) {
	t.Parallel()
	outer, inner := inBackground(t), inBackground(t)
	got := callProgram(t, scout, outer.args("at=OnStart", "do=start:"+inner.pidfile+","+inner.log, "start")...)
	pid := outer.readied(got)
	w := readWhereabouts(t, inner.log+".json")
	w.requireOwnDescriptors(t, inner.pidfile, inner.log)
	w.requireNothingOfTheHandshake(t)
	require.True(t, w.InDaemon)
	require.NotEqual(t, w.PID, w.Session)
	requireText(t, inner.pidfile, fmt.Sprintln(w.PID))
	require.NoError(t, os.Remove(inner.log+".json"))

	found, err := Find(outer.pidfile)
	require.NoError(t, err)
	defer found.Close()
	require.Equal(t, pid, found.PID)
	require.NoError(t, found.Stop(t.Context()))
	outer.requireNothingLeft()
	require.False(t, isOver(w.PID), "the inner one lives on")
	inner.requireOnlyItsOwn(w.PID)
	require.Equal(t, 0, inner.call("stop").code)
	inner.requireNothingLeft()
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
				needs(t, "setsid")
			}
			b := inBackground(t)
			got := runCommand(t, wrapped([]string{"sh", "-c", script}, daemon, b.args("start")...))
			require.Equal(t, 0, got.code, "%s", got.stderr)
			said, found := strings.CutPrefix(got.stdout, "0 [")
			require.True(t, found, "%q", got.stdout)
			pid := b.readied(result{"", strings.Replace(said, "]\n", "\n", 1), 0})
			require.False(t, isOver(pid))
		})
	}
}

// Row E13.
func TestAHugeEnvironmentReachesTheDaemon(t *testing.T) {
	t.Parallel()
	var huge []string
	for i := range 4 {
		huge = append(huge, fmt.Sprintf("HUGE%d=%s", i, strings.Repeat("x", 50<<10)))
	}
	b := inBackground(t)
	w := b.look("OnStart", func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, huge...) })
	require.Subset(t, w.Env, huge)
}

// One variable has at most 128 KiB (execve(2)).
// Row E13.
func TestAnEnvironmentThatIsTooLargeFailsTheStartWithItsName(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := callProgram(t, bloated, b.args()...)
	require.Equal(t, result{"", "scout: start failed: cannot start bloated: fork/exec " + testBinary() + ": argument list too long\n", 1}, got)
}

var bloated = registerProgram("bloated", func(args []string) int {
	os.Setenv("HUGE", strings.Repeat("x", 200<<10))
	return Main([]string{"start"}, nil, Name("scout"), PIDFile(strings.TrimPrefix(args[0], "pidfile=")), LogFile(strings.TrimPrefix(args[1], "log=")))
})

// Row E14.
func TestAStrangeEnvironmentReachesTheDaemonUnchanged(t *testing.T) {
	t.Parallel()
	strange := []string{"=x", "NOTHING", "EMPTY=", "BYTES=\xff\xfe", "LINES=a\nb"}
	b := inBackground(t)
	cmd := command(junk, b.args()...)
	pid := b.readied(runCommand(t, cmd))
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	require.NoError(t, err)
	got := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	require.Equal(t, strange, got[:len(strange)], "in its order")
}

// junk executes the program daemon with variables that a shell does not make.
var junk = registerProgram("junk", func(args []string) int {
	env := append([]string{"=x", "NOTHING", "EMPTY=", "BYTES=\xff\xfe", "LINES=a\nb"}, programVariable+"="+daemon, "GORACE=atexit_sleep_ms=0")
	fmt.Println(syscall.Exec(testBinary(), append(append([]string{daemon}, args...), "start"), env))
	return 1
})

// Row E16.
func TestAProgramThatIsFoundByPATHOrInADirectoryThatIsGone(t *testing.T) {
	t.Parallel()
	dir := filepath.Dir(copyOfTestBinary(t))
	for name, script := range map[string]string{
		"relative":     `cd "` + dir + `"; exec ./program "$@"`,
		"by PATH":      `PATH="` + dir + `:$PATH"; exec program "$@"`,
		"in a new cwd": `mkdir "` + dir + `/gone"; cd "` + dir + `/gone"; rmdir "` + dir + `/gone"; exec "` + dir + `/program" "$@"`,
	} {
		t.Run(name, func(t *testing.T) {
			b := inBackground(t)
			pid := b.readied(runCommand(t, wrapped([]string{"sh", "-c", script}, daemon, b.args("start")...)))
			for _, dir := range []string{"cwd", "root"} {
				at, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, dir))
				require.NoError(t, err)
				require.Equal(t, "/", at)
			}
		})
	}
}

// Row E17.
func TestAProgramThatCannotBeExecutedFailsTheStart(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	binary := copyOfTestBinary(t)
	cmd := command(unexecutable, b.args()...)
	cmd.Path = binary
	got := runCommand(t, cmd)
	require.Equal(t, 4, got.code, "%s", got.stderr)
	require.Equal(t, "scout: start failed: cannot start unexecutable: fork/exec "+binary+": permission denied\n", got.stderr)
	b.requireNothingLeft()
}

// unexecutable makes a file that cannot be executed of its own.
var unexecutable = registerProgram("unexecutable", func(args []string) int {
	self := testBinary()
	text, err := os.ReadFile(self)
	if err == nil {
		err = os.Remove(self) // it may be a link
	}
	if err == nil {
		err = os.WriteFile(self, text[:1<<10], 0o644)
	}
	if err != nil {
		fmt.Println(err)
		return 99
	}
	return Main([]string{"start"}, nil, Name("scout"), PIDFile(strings.TrimPrefix(args[0], "pidfile=")), LogFile(strings.TrimPrefix(args[1], "log=")))
})

func TestAnUnprivilegedUserDetachesWithTheDefaults(t *testing.T) {
	programsUsed.Store(defaulted, true)
	needsNobody(t)
	t.Parallel()
	name := ownName("defaulted")
	binary := filepath.Join(nobodys(t), "program") // such a user cannot execute the test binary where it is
	require.NoError(t, os.Rename(copyOfTestBinary(t), binary))
	call := func(verb string) result {
		cmd := command(defaulted, name, verb)
		cmd.Path = binary
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: service, Gid: service}}
		cmd.Env = []string{programVariable + "=" + defaulted, "GORACE=atexit_sleep_ms=0"} // no HOME, no TERM, no PATH
		cmd.Dir = "/"
		return runCommand(t, cmd)
	}
	dir := fmt.Sprintf("/tmp/%s-%d", name, service) // for who is in no database
	t.Cleanup(func() {
		call("stop")
		require.NoError(t, os.RemoveAll(dir))
	})
	got := call("start")
	require.Equal(t, 0, got.code, "%s", got.stderr)
	said := regexp.MustCompile(`^(\S+): ready \(pid (\d+), \d+ ms\), log (.*)\n$`).FindStringSubmatch(got.stderr)
	require.NotNil(t, said, "%s", got.stderr)
	require.Equal(t, []string{name, filepath.Join(dir, name+".log")}, []string{said[1], said[3]})
	info, err := os.Stat(said[3])
	require.NoError(t, err)
	require.EqualValues(t, 0o640, info.Mode())
	require.EqualValues(t, service, info.Sys().(*syscall.Stat_t).Uid)
	requireText(t, filepath.Join(dir, name+".pid"), said[2]+"\n")
	require.Equal(t, 1, call("start").code)
	require.Equal(t, 0, call("status").code)
	require.Equal(t, 0, call("stop").code)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "the log")
}

// defaulted has the default PID file and log of its name.
var defaulted = registerProgram("defaulted", func(args []string) int {
	return Main(args[1:], nil, Name(args[0]), OnStart(started))
})

// What `go run` has built may be gone when it has returned.
// Row E16.
func TestADaemonOutlivesItsGoRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	agentctl := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("go", append([]string{"run", "./_example/agentctl", "-dir", dir}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	t.Cleanup(func() {
		if found, err := Find(filepath.Join(dir, "agentd.pid")); err == nil {
			defer found.Close()
			require.NoError(t, found.Kill(context.Background()))
		}
	})
	agentctl("set", "colour", "red")
	found := mustFind(t, filepath.Join(dir, "agentd.pid"))
	require.Equal(t, "red\n", agentctl("get", "colour"))
	require.NoError(t, found.Stop(t.Context()))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "the log: %v", left)
}

// A start under nohup(1) is not undone by the hang-up that nohup is to keep away.
func TestAHangUpDoesNotUndoAStartUnderNohup(t *testing.T) {
	needs(t, "nohup")
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	launcher := launch(t, wrapped([]string{"nohup"}, daemon, b.args("start=until:"+gate, "start")...))
	b.awaitSaid("OnStart\n")
	launcher.signal(syscall.SIGHUP)
	awaitDelivery(t, launcher)
	touch(t, gate)
	require.Equal(t, 0, launcher.wait(), "%s", launcher.out)
}

// A start that is interrupted while it comes to its end has failed, and then nothing is left, or not, and then the daemon lives.
func TestAStartThatIsInterruptedAtItsEndTellsTheTruth(t *testing.T) {
	t.Parallel()
	rounds := 8
	if testing.Short() {
		rounds = 4
	}
	b := inBackground(t)
	for round := range rounds {
		launcher, pid, gate := b.startHeld()
		touch(t, gate)
		time.Sleep(time.Duration(round) * 150 * time.Microsecond) // into the handshake; nothing is right or wrong because of it
		_ = launcher.cmd.Process.Signal(syscall.SIGTERM)          // it may have ended
		launcher.wait()
		require.NoError(t, os.Truncate(b.log, 0))
		if launcher.out.count("ready (pid ") == 0 {
			if launcher.cmd.ProcessState.ExitCode() == -1 { // after the verdict, TERM is nobody's any more
				require.Equal(t, 0, b.call("stop").code)
			}
			b.requireNothingLeft()
			continue
		}
		require.False(t, isOver(pid))
		require.Equal(t, 0, b.call("status", "--ready").code, "it was said to be ready")
		b.stop()
	}
}

// systemd takes a daemon whose parent is another process for one that is not its own, and stops it with KILL (K7).
// Row K7.
func TestStageOneIsGoneWhenTheStartReturns(t *testing.T) {
	t.Parallel()
	needsStrace(t)
	b := inBackground(t)
	strace := []string{"strace", "-D", "-f", "-I1", "-o", os.DevNull, "-e", "trace=exit_group", "-e", "inject=exit_group:delay_enter=200000"}
	p := launch(t, wrapped(strace, daemon, b.args("start")...))
	p.await("ready (pid ")
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
	require.Equal(t, 0, p.wait())
	b.stop()
}
