package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// originFile is the memfd in which a detached daemon keeps its arguments and its directory.
const originFile = "/memfd:lifecycle-origin (deleted)"

// flagged is a program with flags before its verb. A verb needs no flag to find the daemon, because
// the environment names the files. Its check and its start print the flags and the working
// directory.
var flagged = proctest.Register("flagged", func(args []string) int {
	dir, _ := os.Getwd()
	set := flag.NewFlagSet("flagged", flag.ContinueOnError)
	config := set.String("c", "a.yaml", "")
	user := set.String("user", "", "")
	if set.Parse(args) != nil {
		return 64
	}
	say := func(what string) func(context.Context) error {
		return func(context.Context) error {
			fmt.Printf("%s with %s in %s\n", what, *config, dir)
			return nil
		}
	}
	verb := set.Args()
	if len(verb) > 1 && verb[0] == "service" { // a program with commands of its own
		verb = verb[1:]
	}
	return lifecycle.Main(verb, nil, lifecycle.PIDFile(os.Getenv("FLAGGED")+".pid"), lifecycle.LogFile(os.Getenv("FLAGGED")+".log"),
		lifecycle.User(*user), lifecycle.OnCheck(say("check")), lifecycle.OnStart(say("start")))
})

// flaggedPlace is a directory for one daemon of the program flagged.
type flaggedPlace struct {
	t    *testing.T
	base string
}

func newFlagged(t *testing.T) flaggedPlace {
	p := flaggedPlace{t, filepath.Join(t.TempDir(), "flagged")}
	stopDetached(t, p.base+".pid")
	return p
}

func (p flaggedPlace) command(dir string, args ...string) *exec.Cmd {
	cmd := proctest.Command(flagged, args...)
	cmd.Env, cmd.Dir = append(cmd.Env, "FLAGGED="+p.base), dir
	return cmd
}

func (p flaggedPlace) call(dir string, args ...string) proctest.Result {
	p.t.Helper()
	return proctest.CallCommand(p.t, p.command(dir, args...))
}

// requireRuns requires that the verb with the result got has started the daemon. The daemon must
// have that configuration, that directory and these arguments. If check is true, the verb must have
// checked the same configuration.
func (p flaggedPlace) requireRuns(got proctest.Result, check bool, dir, config string, args ...string) {
	p.t.Helper()
	require.Equal(p.t, 0, got.Code, "%s%s", got.Stdout, got.Stderr)
	if check {
		require.Equal(p.t, fmt.Sprintf("check with %s in %s\n", config, dir), got.Stdout)
	}
	log := strings.Split(strings.TrimSpace(string(readFile(p.t, p.base+".log"))), "\n")
	started := ""
	for _, line := range log {
		if strings.HasPrefix(line, "start with ") {
			started = line
		}
	}
	require.Equal(p.t, fmt.Sprintf("start with %s in %s", config, dir), started)
	daemon := mustFind(p.t, p.base+".pid")
	shown := strings.Split(strings.TrimSuffix(string(readFile(p.t, fmt.Sprintf("/proc/%d/cmdline", daemon.PID))), "\x00"), "\x00")
	require.Equal(p.t, args, shown[1:])
}

func TestARestartKeepsTheArgumentsUnlessItHasFlags(t *testing.T) {
	t.Parallel()
	p := newFlagged(t)
	one, other := t.TempDir(), t.TempDir()
	p.requireRuns(p.call(one, "-c", "b.yaml", "start"), false, one, "b.yaml", "-c", "b.yaml", "run")
	p.requireRuns(p.call(other, "restart"), true, one, "b.yaml", "-c", "b.yaml", "run")
	p.requireRuns(p.call(one, "restart"), true, one, "b.yaml", "-c", "b.yaml", "run")
	p.requireRuns(p.call(other, "try-restart"), true, one, "b.yaml", "-c", "b.yaml", "run")
	p.requireRuns(p.call(other, "force-reload"), true, one, "b.yaml", "-c", "b.yaml", "run")
	p.requireRuns(p.call(other, "-c", "c.yaml", "restart"), true, other, "c.yaml", "-c", "c.yaml", "run")
	p.requireRuns(p.call(one, "restart"), true, other, "c.yaml", "-c", "c.yaml", "run")
	require.Equal(t, 0, p.call(one, "stop").Code)
	p.requireRuns(p.call(one, "restart"), true, one, "a.yaml", "run") // nothing ran
	require.Equal(t, 0, p.call(one, "stop").Code)
}

func TestARestartKeepsArgumentsOfAnyBytesAndLength(t *testing.T) {
	t.Parallel()
	p := newFlagged(t)
	dir := filepath.Join(t.TempDir(), "d\xffr")
	require.NoError(t, os.Mkdir(dir, 0o755))
	config := "\xff\xfe\x01 'x'\n" + strings.Repeat("y", 100<<10)
	require.Equal(t, 0, p.call(dir, "-c", config, "start").Code)
	got := p.call("/", "restart")
	require.Equal(t, 0, got.Code, got.Stderr)
	require.Equal(t, fmt.Sprintf("check with %s in %s\n", config, dir), got.Stdout)
	require.Equal(t, 0, p.call("/", "stop").Code)
}

// The word before the verb is a command of the program, not a flag.
func TestARestartByACommandOfTheProgramKeepsTheArguments(t *testing.T) {
	t.Parallel()
	p := newFlagged(t)
	dir := t.TempDir()
	p.requireRuns(p.call(dir, "-c", "b.yaml", "service", "start"), false, dir, "b.yaml", "-c", "b.yaml", "service", "run")
	p.requireRuns(p.call("/", "service", "restart"), true, dir, "b.yaml", "-c", "b.yaml", "service", "run")
	require.Equal(t, 0, p.call("/", "stop").Code)
}

func TestARestartIsRefusedIfTheDirectoryOfTheStartWasRemoved(t *testing.T) {
	t.Parallel()
	p := newFlagged(t)
	dir := filepath.Join(t.TempDir(), "gone")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.Equal(t, 0, p.call(dir, "start").Code)
	require.NoError(t, os.Remove(dir))
	running := mustFind(t, p.base+".pid")
	requireUntouched := proctest.Untouched(t, p.base+".pid")
	got := p.call("/", "restart")
	require.Equal(t, proctest.Result{Code: 1, Stderr: fmt.Sprintf("flagged: restart: cannot enter the directory in which pid %d was started: "+
		"chdir %s: no such file or directory; use the verbs stop and start\n", running.PID, dir)}, got)
	requireUntouched()
	p.requireRuns(p.call("/", "-c", "b.yaml", "restart"), true, "/", "b.yaml", "-c", "b.yaml", "run")
	require.Equal(t, 0, p.call("/", "stop").Code)
}

// The user that a daemon has become cannot change the program and arguments that root starts again.
func TestARestartByRootKeepsTheArgumentsOfADaemonWithAUser(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	p := newFlagged(t)
	require.NoError(t, os.Chmod(filepath.Dir(p.base), 0o711))
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(p.base)), 0o711))
	args := []string{"-c", "b.yaml", "-user", "54321:54321"}
	p.requireRuns(p.call("/", append(args, "start")...), false, "/", "b.yaml", append(args, "run")...)
	p.requireRuns(p.call("/tmp", "restart"), true, "/", "b.yaml", append(args, "run")...)
	require.Equal(t, 0, p.call("/", "stop").Code)
}

func TestARestartOfASupervisedProgramNeedsNoProgramArgument(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	first := b.readied(b.guard("echo it runs with $0; exec sleep 60", "supervise=settle:20ms", "start"))
	call := func(args ...string) proctest.Result { return proctest.Call(t, guard, b.args(args...)...) }
	got := call("restart")
	require.Equal(t, 0, got.Code, got.Stderr)
	running := b.status()
	require.NotEqual(t, first, running.PID)
	require.True(t, running.Supervised)
	require.Equal(t, 2, strings.Count(b.said(), "it runs with sh\n"))

	requireUntouched := proctest.Untouched(t, b.pidfile)
	got = call("supervise=settle:30ms", "restart")
	require.Equal(t, proctest.Result{Code: 1, Stderr: fmt.Sprintf("guard: restart: pid %d was not started with pidfile=%s log=%s supervise=settle:30ms: "+
		"name its program in this call too\n", running.PID, b.pidfile, b.log)}, got)
	requireUntouched()
	require.Equal(t, 0, call("stop").Code)
	require.Equal(t, proctest.Result{Code: 1, Stderr: "guard: restart: nothing to start: no daemon runs, and this call names no program\n"}, call("restart"))
	b.requireNothingLeft()
}
