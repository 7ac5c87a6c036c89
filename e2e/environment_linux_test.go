package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

func TestMainRunsInTheDirectoryOfTheStartAndTheLifeInWorkDir(t *testing.T) {
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

func TestRelativePathsAreRelativeToTheDirectoryOfTheStart(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	dir := filepath.Dir(b.pidfile)
	cmd := proctest.Command(daemon, "pidfile=daemon.pid", "log="+filepath.Join("..", filepath.Base(filepath.Dir(b.log)), "daemon.log"), "start")
	cmd.Dir = dir
	got := proctest.CallCommand(t, cmd)
	pid := b.readied(got)
	require.Contains(t, got.Stderr, "log "+b.log+"\n")
	requireRunning(t, b.pidfile, pid)
	require.Contains(t, b.said(), "OnStart")
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	proctest.Eventually(t, func() bool { _, err := lifecycle.Find(b.pidfile); return errors.Is(err, lifecycle.ErrNotRunning) }, "the end of the process")
	proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)
}

// go-daemon writes the environment to a pipe, which holds 64 KiB.
// Row E13.
func TestAStartWithAHugeEnvironmentStillTimesOut(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := b.shifted("exec sleep 2", time.Second, "HUGE="+strings.Repeat("x", 100<<10))
	require.Equal(t, proctest.Result{Stderr: "scout: start failed: its main did not call Run in 1s; stopped, nothing left\n", Code: 1}, withoutLog(got))
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

// One variable holds at most 128 KiB (execve(2)).
// Row E13.
func TestAnEnvironmentThatIsTooLargeFailsTheStartWithItsName(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	got := proctest.Call(t, bloated, b.args()...)
	require.Equal(t, proctest.Result{Stderr: "scout: start failed: cannot start bloated: fork/exec " + proctest.Binary() + ": argument list too long\n", Code: 1}, withoutLog(got))
}

var bloated = proctest.Register("bloated", func(args []string) int {
	os.Setenv("HUGE", strings.Repeat("x", 200<<10))
	return lifecycle.Main([]string{"start"}, nil, lifecycle.Name("scout"), lifecycle.PIDFile(strings.TrimPrefix(args[0], "pidfile=")), lifecycle.LogFile(strings.TrimPrefix(args[1], "log=")))
})

// Row E14.
func TestAnUnusualEnvironmentReachesTheDaemonUnchanged(t *testing.T) {
	t.Parallel()
	strange := []string{"=x", "NOTHING", "EMPTY=", "BYTES=\xff\xfe", "LINES=a\nb"}
	b := inBackground(t)
	cmd := proctest.Command(junk, b.args()...)
	pid := b.readied(proctest.CallCommand(t, cmd))
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	require.NoError(t, err)
	got := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	require.Equal(t, strange, got[:len(strange)], "the environment keeps its order")
}

// junk executes the program daemon with entries in the environment that no shell would make.
var junk = proctest.Register("junk", func(args []string) int {
	env := append([]string{"=x", "NOTHING", "EMPTY=", "BYTES=\xff\xfe", "LINES=a\nb"}, proctest.Variable+"="+daemon, "GORACE=atexit_sleep_ms=0")
	fmt.Println(syscall.Exec(proctest.Binary(), append(append([]string{daemon}, args...), "start"), env))
	return 1
})

func TestAnUnprivilegedUserDetachesWithTheDefaults(t *testing.T) {
	proctest.Use(defaulted)
	needsNobody(t)
	t.Parallel()
	name := proctest.OwnName("defaulted")
	// Such a user cannot execute the test binary in its own directory.
	binary := filepath.Join(nobodys(t), "program")
	require.NoError(t, os.Rename(copyOfTestBinary(t), binary))
	call := func(verb string) proctest.Result {
		cmd := proctest.Command(defaulted, name, verb)
		cmd.Path = binary
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: service, Gid: service}}
		// HOME, TERM and PATH are not set.
		cmd.Env = []string{proctest.Variable + "=" + defaulted, "GORACE=atexit_sleep_ms=0"}
		cmd.Dir = "/"
		return proctest.CallCommand(t, cmd)
	}
	dir := fmt.Sprintf("/tmp/%s-%d", name, service) // for a user without a database entry
	t.Cleanup(func() {
		call("stop")
		require.NoError(t, os.RemoveAll(dir))
	})
	got := call("start")
	require.Equal(t, 0, got.Code, "%s", got.Stderr)
	said := regexp.MustCompile(`^(\S+): ready \(pid (\d+), \d+ ms\), log (.*)\n$`).FindStringSubmatch(got.Stderr)
	require.NotNil(t, said, "%s", got.Stderr)
	require.Equal(t, []string{name, filepath.Join(dir, name+".log")}, []string{said[1], said[3]})
	info, err := os.Stat(said[3])
	require.NoError(t, err)
	require.EqualValues(t, 0o640, info.Mode())
	require.EqualValues(t, service, info.Sys().(*syscall.Stat_t).Uid)
	proctest.RequireText(t, filepath.Join(dir, name+".pid"), said[2]+"\n")
	require.Equal(t, 1, call("start").Code)
	require.Equal(t, 0, call("status").Code)
	require.Equal(t, 0, call("stop").Code)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "the path of the log")
}
