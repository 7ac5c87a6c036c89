package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// background is a directory for daemons that a test detaches. The test recognizes them by the PID
// file in their arguments, because they are not its children. The end of the test ends them, and
// requires that they leave no process and no file.
type background struct {
	t            *testing.T
	pidfile, log string
	crashes      bool // a daemon crashes on purpose: a crash report is allowed
}

func inBackground(t *testing.T) *background {
	t.Helper()
	b := &background{t: t, pidfile: proctest.PIDPath(t), log: filepath.Join(t.TempDir(), "daemon.log")}
	t.Cleanup(b.clear)
	return b
}

// args returns the arguments of a program that lives here.
func (b *background) args(args ...string) []string {
	return append([]string{"pidfile=" + b.pidfile, "log=" + b.log}, args...)
}

// call runs the program daemon here.
func (b *background) call(args ...string) proctest.Result {
	b.t.Helper()
	return proctest.Call(b.t, daemon, b.args(args...)...)
}

// start starts the program daemon here and returns its PID.
func (b *background) start(args ...string) (pid int) {
	b.t.Helper()
	return b.readied(b.call(slices.Concat(args, []string{"start"})...))
}

var readyLine = proctest.Pattern(`^\w+: ready \(pid (\d+), [\d.]+ m?s\)(?:, log (.*))?\n$`)

// readied requires that a start reports success and nothing else. It returns the reported PID.
func (b *background) readied(got proctest.Result) (pid int) {
	b.t.Helper()
	require.Equal(b.t, 0, got.Code, "%s%s", got.Stdout, got.Stderr)
	said := readyLine().FindStringSubmatch(got.Stderr)
	require.NotNil(b.t, said, "%q", got.Stderr)
	require.Empty(b.t, got.Stdout)
	pid, err := strconv.Atoi(said[1])
	require.NoError(b.t, err)
	return pid
}

// said returns the content of the log.
func (b *background) said() string {
	b.t.Helper()
	text, err := os.ReadFile(b.log)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(b.t, err)
	}
	return string(text)
}

func (b *background) awaitSaid(text string) {
	b.t.Helper()
	proctest.Eventually(b.t, func() bool { return strings.Contains(b.said(), text) }, "%q in the log", text)
}

// stop stops the daemon cleanly and requires that it leaves no process and no file. It does not use
// the verb, because the verb would need one more process.
func (b *background) stop() {
	b.t.Helper()
	found, err := lifecycle.Find(b.pidfile)
	require.NoError(b.t, err)
	defer found.Close()
	ctx, cancel := context.WithTimeout(context.Background(), proctest.Patience)
	defer cancel()
	require.NoError(b.t, found.Stop(ctx))
	b.requireNothingLeft()
}

// stopKilling stops a daemon whose worker ends only by KILL.
func (b *background) stopKilling() {
	b.t.Helper()
	got := b.call("stop")
	require.Equal(b.t, 1, got.Code, "%s", got.Stderr)
	require.Regexp(b.t, `: stopped \(pid \d+, .*\), but (it failed: .*was killed after|it failed: the worker left processes that were killed|.* did not return in)`, got.Stderr)
	b.requireNothingLeft()
}

func (b *background) requireNothingLeft() {
	b.t.Helper()
	requireNothingLeft(b.t, b.pidfile)
	require.Empty(b.t, b.processes(), "processes remain")
}

// processes returns the processes that have our PID file in their arguments.
func (b *background) processes() (pids []int) { return processesOf(b.pidfile) }

// processesOf returns the processes that have this PID file in their arguments. On a system without
// /proc, it returns the holder.
func processesOf(pidfile string) (pids []int) {
	if _, err := os.Stat("/proc/self/cmdline"); err == nil {
		return proctest.Running("pidfile=" + pidfile)
	}
	if p, err := lifecycle.Find(pidfile); err == nil {
		defer p.Close()
		pids = append(pids, p.PID)
	}
	return pids
}

func (b *background) clear() {
	if !b.crashes {
		proctest.RequireNoCrash(b.t, b.said())
	}
	if b.t.Failed() {
		b.t.Logf("the log:\n%s", b.said())
	}
	if found, err := lifecycle.Find(b.pidfile); err == nil {
		defer found.Close()
		ctx, cancel := context.WithTimeout(context.Background(), proctest.Patience)
		defer cancel()
		if err := found.Stop(ctx); err != nil {
			b.t.Errorf("the daemon does not stop: %v", err)
		}
	}
	if b.t.Failed() {
		for _, pid := range b.processes() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	// A daemon releases its PID file just before its process ends.
	proctest.Eventually(b.t, func() bool { return len(b.processes()) == 0 }, "the end of every process")
	requireNothingLeft(b.t, b.pidfile)
}

// quietly returns the same background without a log.
func (b *background) quietly() *background { return &background{t: b.t, pidfile: b.pidfile} }

func TestStartReportsReadyAndThePathOfTheLog(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := b.call("start")
	pid := b.readied(got)
	require.Equal(t, b.log, readyLine().FindStringSubmatch(got.Stderr)[2])
	requireRunning(t, b.pidfile, pid)
	proctest.RequireText(t, b.pidfile, fmt.Sprintln(pid))
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid), Code: 1}, b.call("start"))
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid), Code: 1}, b.call("run"))
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid)}, b.call("start", "--oknodo"))
	require.Equal(t, proctest.Result{Stdout: "Run returned: lifecycle: already running (pid " + strconv.Itoa(pid) + "), PID file " + b.pidfile + "\n", Code: 1}, b.call("detach="))
	b.stop()
	for _, line := range []string{"OnStart", "OnStart done", "fn", "OnStop done", "OnExit done"} {
		require.Equal(t, 1, strings.Count("\n"+b.said(), "\n"+line+"\n"), "%s in\n%s", line, b.said())
	}
	require.Contains(t, b.said(), "msg=stopped")
}

func TestStartWithoutALogPrintsNoPath(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := b.quietly().call("start")
	b.readied(got)
	require.NotContains(t, got.Stderr, "log")
	require.NoFileExists(t, b.log)
	b.stop()
}
