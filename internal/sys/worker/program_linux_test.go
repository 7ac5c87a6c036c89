package worker

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/activation"
	"example.com/lifecycle/internal/sys/privilege"
)

// shell is a supervised program that does not use this package.
func shell(script string) testOrder {
	return testOrder{Spec: Spec{Args: []string{"a name", "-c", script, "argument 0", "an argument", ""}, Program: "/bin/sh", Umask: -1}}
}

// Row E5.
func TestASupervisedProgramGetsTheManagerVariablesAndOnlyItsSockets(t *testing.T) {
	t.Parallel()
	o := shell(`echo "I am $$"; echo "arguments: $# $1 $2 $(tr '\0' ' ' </proc/$$/cmdline | cut -d' ' -f1-3)"
		env | sed 's/^/env: /'; for n in $(seq 3 20); do [ -e /proc/$$/fd/$n ] && echo "fd: $n" && readlink /proc/$$/fd/$n; done
		umask | sed 's/^/umask: /'; echo "group: $(cut -d' ' -f5 /proc/$$/stat)"; echo "directory: $(pwd)"; exit 7`)
	o.Notify, o.Store, o.Watchdog, o.Umask, o.Dir = "@notify", 7, 3*time.Second, 0o27, t.TempDir()
	o.Files = []string{written(t, "first%3A80", "", 0o600), written(t, "second", "", 0o600)}
	s := startSupervisor(t, o, stale, leaks(t))
	pid := strconv.Itoa(s.pid())
	require.Equal(t, "exit status 7 <nil> os: process already finished", s.line("ended:"))
	require.Equal(t, pid, s.line("I am "))
	require.Equal(t, pid, s.line("group:"))
	require.Equal(t, "2 an argument  a name -c", s.line("arguments:"))
	require.Equal(t, "0027", s.line("umask:"))
	require.Equal(t, o.Dir, s.line("directory:"))
	require.Equal(t, []string{
		"FDSTORE=7", "LISTEN_ADDRESS=:80", "LISTEN_FDNAMES=first%3A80:second", "LISTEN_FDS=2", "LISTEN_PID=" + pid,
		"NOTIFY_SOCKET=@notify", "WATCHDOG_PID=" + pid, "WATCHDOG_USEC=3000000",
	}, told(s.all("env:")))
	require.Equal(t, []string{"3", "4"}, s.all("fd:"), "descriptors other than 0, 1 and 2")
	for _, path := range o.Files {
		s.line(path)
	}
}

// all waits for the end of the pipe and returns all lines with that prefix.
func (s *supervisor) all(begin string) (found []string) {
	for line := range s.lines {
		s.heard = append(s.heard, line)
	}
	for _, line := range s.heard {
		if rest, is := strings.CutPrefix(line, begin); is {
			found = append(found, strings.TrimSpace(rest))
		}
	}
	return found
}

func TestASupervisedProgramStartsWithNoSignalBlockedOrIgnored(t *testing.T) {
	t.Parallel()
	o := shell("")
	o.Program, o.Args = "/bin/grep", []string{"grep", "^Sig", "/proc/self/status"}
	s := deaf(t, o)
	s.requireDeaf()
	for _, field := range []string{"SigIgn:", "SigBlk:"} {
		require.Equal(t, noSignals, s.line(field), field)
	}
}

// Row D10.
func TestASupervisedProgramIsKilledWithItsSupervisor(t *testing.T) {
	t.Parallel()
	s := startSupervisor(t, shell(`trap "" TERM HUP INT; echo waits; while :; do sleep 1; done`))
	pid := s.pid()
	s.line("waits")
	require.False(t, proctest.IsOver(pid))
	s.kill()
	proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)
}

// Row D10.
func TestASupervisedProgramOfAnotherUserIsKilledWithItsSupervisor(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	o := shell(`echo waits; exec sleep 30`)
	o.Become = &Credentials{Identity: &privilege.Identity{UID: somebody, GID: somebody, Groups: []int{somebody}}}
	s := startSupervisor(t, o)
	pid := s.pid()
	s.line("waits")
	s.kill()
	proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)
}

func TestASupervisedProgramOutlivesTheThreadThatCalledStart(t *testing.T) {
	t.Parallel()
	o := shell("exec sleep 30")
	o.Thread = "ends"
	s := startSupervisor(t, o)
	require.False(t, proctest.IsOver(s.pid()))
	s.say("term")
	require.Equal(t, "signal: terminated <nil> os: process already finished", s.line("ended:"), "TERM ended the program, and not KILL")
}

// Row D10.
func TestASupervisedProgramIsNotExecutedAfterItsSupervisorWasKilled(t *testing.T) {
	t.Parallel()
	hold, release := fifo(t)
	s := startSupervisor(t, shell("echo executed"), func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, hold) })
	var stage string
	proctest.Eventually(t, func() bool {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.cmd.Process.Pid))
		if stage = strings.TrimSpace(string(text)); stage == "" {
			others, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.cmd.Process.Pid))
			for _, path := range others {
				text, _ := os.ReadFile(path)
				stage += strings.TrimSpace(string(text))
			}
		}
		return stage != ""
	}, "the stage")
	pid, err := strconv.Atoi(stage)
	require.NoError(t, err)
	s.kill()
	release()
	proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)
	require.Empty(t, s.all("executed"))
}

func TestASupervisedProgramDoesNotInheritTheControlSocket(t *testing.T) {
	t.Parallel()
	out := pipe(t)
	p, err := Start(Spec{Args: []string{"sh", "-c", "echo to the control socket >&3; exit 9"}, Program: "/bin/sh", Umask: -1, Sockets: []activation.Socket{{Name: "out", File: out.w}}})
	require.NoError(t, err)
	require.NoError(t, p.Executed(t.Context()))
	state, err := p.Wait()
	require.NoError(t, err)
	require.Equal(t, 9, state.ExitCode())
	require.Empty(t, p.Output())
	require.ErrorIs(t, p.Signal(syscall.SIGTERM), os.ErrProcessDone)
	p.Close()
	out.w.Close()
	text := make([]byte, 100)
	n, err := out.r.Read(text)
	require.NoError(t, err)
	require.Equal(t, "to the control socket\n", string(text[:n]), "the descriptor is the passed socket")
}

func TestStartReturnsWhyASupervisedProgramWasNotExecuted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	noInterpreter := written(t, "program", "#!/no/such/interpreter\n", 0o755)
	noFormat := written(t, "program", "\x00\x01", 0o755)
	noRight := written(t, "program", "#!/bin/sh\n", 0o644)
	for what, tt := range map[string]struct {
		program string
		change  func(o *Spec)
		text    string
		is      error
	}{
		"no such file":   {program: "/no/such/program", text: "exec /no/such/program: no such file or directory", is: fs.ErrNotExist},
		"no interpreter": {program: noInterpreter, text: "exec " + noInterpreter + ": its interpreter: no such file or directory", is: fs.ErrNotExist},
		"no format":      {program: noFormat, text: "exec " + noFormat + ": exec format error", is: syscall.ENOEXEC},
		"no right":       {program: noRight, text: "exec " + noRight + ": permission denied", is: fs.ErrPermission},
		"a directory":    {program: dir, text: "exec " + dir + ": permission denied", is: fs.ErrPermission},
		"no directory": {
			program: "/bin/sh", change: func(o *Spec) { o.Dir = "/no/such/directory" },
			text: "chdir /no/such/directory: no such file or directory", is: fs.ErrNotExist,
		},
		"no root": {
			program: "/bin/sh", change: func(o *Spec) { o.Become = &Credentials{Root: "/no/such/root"} },
			text: "chroot /no/such/root: ", is: syscall.Errno(0),
		},
	} {
		o := shell("echo executed")
		o.Program = tt.program
		if tt.change != nil {
			tt.change(&o.Spec)
		}
		s := startSupervisor(t, o)
		got := lineOf[failed](s, "error ")
		require.True(t, got.NoChildren, what)
		require.Contains(t, got.Text, "cannot start a name: "+tt.text, what)
		if tt.is != syscall.Errno(0) {
			require.Contains(t, got.Text+"$", tt.text+"$", what)
			require.ErrorIs(t, got.Errno, tt.is, what)
		}
		require.Empty(t, s.all("executed"), what)
	}
}

const somebody = 12345

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("this test needs root, which this machine lacks")
	}
}

// Row L6.
func TestASupervisedProgramRunsAsTheUserOfItsOrders(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	o := shell(`echo "ids: $(grep -E '^(Uid|Gid|Groups|CapEff):' /proc/$$/status | tr -s '\t\n ' ' ')"; env | sed 's/^/env: /'; cat /etc/shadow`)
	o.Become = &Credentials{
		Identity: &privilege.Identity{UID: somebody, GID: somebody + 1, Groups: []int{somebody + 1, 7}},
		Env:      []string{"HOME=/home/somebody", "USER=somebody"},
	}
	o.Dir = "/"
	s := startSupervisor(t, o, stale, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "HOME=/root", "HOME=/twice", "USER=root") })
	require.Equal(t, "Uid: 12345 12345 12345 12345 Gid: 12346 12346 12346 12346 Groups: 7 12346 CapEff: 0000000000000000", s.line("ids:"))
	require.Equal(t, []string{"HOME=/home/somebody", "LISTEN_ADDRESS=:80", "USER=somebody"}, told(s.all("env:")))
}

func TestASupervisedProgramIsNotExecutedIfItCannotChangeItsUser(t *testing.T) {
	t.Parallel()
	path := copyOf(t)
	o := shell("echo executed")
	o.Become = &Credentials{Identity: &privilege.Identity{UID: 0, GID: 0, Groups: []int{0}}}
	s := startSupervisor(t, o, func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = path, "/"
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
		}
	})
	require.Equal(t, failed{"cannot start a name: setgroups: operation not permitted (root needs the capability CAP_SETGID)", syscall.EPERM, true}, lineOf[failed](s, "error "))
	require.Empty(t, s.all("executed"))
}

// Row L11.
func TestASupervisedProgramIsExecutedInsideItsRootDirectory(t *testing.T) {
	needsRoot(t)
	t.Parallel()
	jail := t.TempDir()
	libraries, err := exec.Command("ldd", "/bin/sh").CombinedOutput()
	if err != nil {
		t.Skipf("this test needs ldd: %v: %s", err, libraries)
	}
	for _, path := range append(regexp.MustCompile(`/\S+`).FindAllString(string(libraries), -1), "/bin/sh") {
		inside := filepath.Join(jail, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(inside), 0o755))
		require.NoError(t, exec.Command("cp", "-L", path, inside).Run())
	}
	require.NoError(t, os.MkdirAll(filepath.Join(jail, "inside"), 0o755))
	for dir := jail; dir != filepath.Dir(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if dir != os.TempDir() {
			require.NoError(t, os.Chmod(dir, 0o755))
		}
	}
	o := shell(`echo "at $(pwd) among $(echo /*)"`)
	o.Dir = "/inside"
	o.Become = &Credentials{Root: jail, Identity: &privilege.Identity{UID: somebody, GID: somebody, Groups: []int{somebody}}}
	s := startSupervisor(t, o, leaks(t))
	got := s.line("at ")
	require.Contains(t, got, "/inside among /")
	require.NotContains(t, got, "/proc")

	o.Dir = ""
	require.Contains(t, startSupervisor(t, o, leaks(t)).line("at "), "/ among /")
}
