package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// requireOwnDescriptors requires that the process has only three kinds of descriptors: the standard
// descriptors, the descriptors of its life, and the descriptors of the Go runtime.
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
		case kind == "socket", target == pidfile, target == proctest.StatePath(pidfile), target == originFile:
		// These are epoll, eventfd and pidfd, and the files from which Go computes GOMAXPROCS.
		case strings.HasPrefix(target, "anon_inode:"), strings.HasPrefix(target, "/sys/fs/cgroup"):
			continue
		default:
			t.Errorf("descriptor %s is %s", fd, target)
		}
		seen[kind]++
	}
	sockets := 1 // to the launcher, during the start
	if log == os.DevNull {
		sockets = 2 // one more, for crash reports
	}
	require.Equal(t, map[string]int{"socket": sockets, pidfile: 1, proctest.StatePath(pidfile): 1, originFile: 1}, seen)
}

// Rows E7, E9.
func TestADaemonHasNoTerminalAndCannotAcquireOne(t *testing.T) {
	t.Parallel()
	// The same open must give a terminal to a session leader. Otherwise the test would prove nothing.
	leader := proctest.Command(terminalOpener)
	leader.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	got := proctest.CallCommand(t, leader)
	require.Equal(t, 0, got.Code, "%s%s", got.Stdout, got.Stderr)
	require.NotEqual(t, "0\n", got.Stdout)

	window, tty := pty(t)
	b := inBackground(t)
	w := b.look("OnStart", func(cmd *exec.Cmd) { inTerminal(cmd, tty) })
	require.NotEqual(t, w.PID, w.Session)
	require.Equal(t, "0", w.Terminal)
	require.Equal(t, "0", w.Opened)
	require.True(t, w.InDaemon)
	require.Empty(t, w.Stdin)
	closeWindow(t, window, tty)
	proctest.RequireText(t, b.pidfile, fmt.Sprintln(w.PID))
	require.Equal(t, 0, b.call("status", "--ready").Code, "the end of the terminal does not reach the daemon")
}

var terminalOpener = proctest.Register("terminal opener", func([]string) int {
	_, err := openTerminal()
	fmt.Println(terminalNumber())
	return lifecycle.ExitCode(err)
})

// Rows E1, E3, E12.
func TestADaemonInheritsNothingFromItsCaller(t *testing.T) {
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
			name := filepath.Base(proctest.Binary())
			require.Equal(t, name[:min(len(name), 15)]+"\n", w.Comm)
			require.Equal(t, "scout", w.Args[0])
			require.Equal(t, "run", w.Args[len(w.Args)-1])
			b.requireOnlyItsOwn(w.PID)
			if !quiet {
				require.Contains(t, b.said(), "a word to /dev/stdout\n")
				require.Contains(t, b.said(), "a word to /dev/stderr\n")
			}
		})
	}
}

// A process that a daemon starts inherits only the descriptors that the daemon passes.
// Rows E1, E12.
func TestProgramsOfTheDaemonInheritNothingOfTheHandshake(t *testing.T) {
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
				cmd = proctest.Command(deafened, append([]string{name, proctest.Binary()}, args...)...)
			default:
				cmd = proctest.Wrapped(wrapper, daemon, args...)
			}
			got := proctest.CallCommand(t, cmd)
			require.Equal(t, 0, got.Code, "%s", got.Stderr)
			b.awaitSaid("msg=ready")
			said := b.said()
			require.Contains(t, said, "descriptors: 0 1 2 3\n", "descriptor 3 is the directory that ls reads")
			// The test excludes signals 32 and 33, because the C library does not let a program ignore or
			// block them.
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

// deafened blocks all signals, and also ignores them if requested. Then it executes the program
// daemon.
var deafened = proctest.Register("deafened", func(args []string) int {
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
	os.Setenv(proctest.Variable, daemon)
	fmt.Println(syscall.Exec(args[1], append([]string{daemon}, args[2:]...), os.Environ()))
	return 1
})

// Row E6.
func TestADaemonOpensStandardDescriptorsThatTheCallerClosed(t *testing.T) {
	t.Parallel()
	for _, closed := range []string{"<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"} {
		t.Run(closed, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			report := filepath.Join(t.TempDir(), "report")
			cmd := proctest.Wrapped([]string{"sh", "-c", `exec "$0" "$@" ` + closed}, scout, b.args("at=OnStart", "do=look:"+report, "start")...)
			require.Equal(t, 0, proctest.CallCommand(t, cmd).Code)
			w := readWhereabouts(t, report)
			w.requireOwnDescriptors(t, b.pidfile, b.log)
			require.Equal(t, []string{"<nil>", "<nil>"}, w.Writes)
			b.requireOnlyItsOwn(w.PID)
		})
	}
}

// Row E19.
func TestTheUmaskIsTheOptionOrTheDefault(t *testing.T) {
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
			for path, mode := range map[string]os.FileMode{b.pidfile: 0o644, proctest.StatePath(b.pidfile): 0o644, b.log: 0o640} {
				info, err := os.Stat(path)
				require.NoError(t, err)
				require.Equal(t, mode, info.Mode(), path)
			}
		})
	}
}

func TestADaemonStartsADaemon(t *testing.T) {
	t.Parallel()
	outer, inner := inBackground(t), inBackground(t)
	got := proctest.Call(t, scout, outer.args("at=OnStart", "do=start:"+inner.pidfile+","+inner.log, "start")...)
	pid := outer.readied(got)
	w := readWhereabouts(t, inner.log+".json")
	w.requireOwnDescriptors(t, inner.pidfile, inner.log)
	w.requireNothingOfTheHandshake(t)
	require.True(t, w.InDaemon)
	require.NotEqual(t, w.PID, w.Session)
	proctest.RequireText(t, inner.pidfile, fmt.Sprintln(w.PID))
	require.NoError(t, os.Remove(inner.log+".json"))

	found, err := lifecycle.Find(outer.pidfile)
	require.NoError(t, err)
	defer found.Close()
	require.Equal(t, pid, found.PID)
	require.NoError(t, found.Stop(t.Context()))
	outer.requireNothingLeft()
	require.False(t, proctest.IsOver(w.PID), "the inner daemon runs on")
	inner.requireOnlyItsOwn(w.PID)
	require.Equal(t, 0, inner.call("stop").Code)
	inner.requireNothingLeft()
}
