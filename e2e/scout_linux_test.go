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

// whereabouts is what a process reports about itself.
type whereabouts struct {
	PID, Session int
	Terminal     string // tty_nr in /proc/self/stat
	Opened       string // tty_nr after a terminal was opened
	Dir          string
	Umask        int
	Descriptors  map[string]string
	Stdin        string // the content that the process reads there
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
		if target, err := os.Readlink(fd); err == nil { // without the descriptor of Glob
			w.Descriptors[filepath.Base(fd)] = target
		}
	}
	return w, errors.Join(errs...)
}

// terminalNumber returns the number of the controlling terminal, "0" if there is none
// (proc_pid_stat(5)).
func terminalNumber() string {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err.Error()
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))[4]
}

// openTerminal opens a terminal that is not the controlling terminal of any process, without
// O_NOCTTY.
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

// scout is a program that performs an action at one point of its life, only in the daemon:
//
//	scout pidfile=PATH log=PATH [at=main|OnStart|fn] [do=WHAT[:ARG]] [key=value …] [VERB]
//
// Without a verb it calls Run with Detach. It has some of the keys of the program daemon; see
// below. The key impatience is a starttimeout of the launcher only.
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

// scouted are the actions of a scout.
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
	// start starts another daemon, with its own log, from within this daemon.
	"start": func(_ context.Context, arg string) error {
		pidfile, log, _ := strings.Cut(arg, ",")
		out, err := proctest.Command("scout", "pidfile="+pidfile, "log="+log, "at=OnStart", "do=look:"+log+".json", "start").CombinedOutput()
		fmt.Printf("%s%v\n", out, err)
		return err
	},
}

// look starts a scout here. change may modify the command. look returns the scout's report about
// itself at that point of its life.
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

// afterReady returns the descriptors of a ready daemon, as seen from outside.
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
	// The daemon notifies the launcher before it closes the socket.
	proctest.Eventually(b.t, func() bool {
		return slices.Equal([]string{originFile, b.pidfile, proctest.StatePath(b.pidfile)}, afterReady(b.t, pid))
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

// shifted runs a launcher that replaces its own file by this shell script before it starts.
func (b *background) shifted(script string, limit time.Duration, env ...string) proctest.Result {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "script")
	require.NoError(b.t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	cmd := proctest.Command(shapeShifter, b.args(path, limit.String())...)
	cmd.Path = copyOfTestBinary(b.t)
	cmd.Env = append(cmd.Env, env...)
	return proctest.CallCommand(b.t, cmd)
}
