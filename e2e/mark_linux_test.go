package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// A mark in the environment has an effect only if a launcher has set it.
// Row E11.
func TestAStrayMarkHasNoEffect(t *testing.T) {
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
			// The same is true in the foreground.
			cmd := proctest.Command(daemon, b.args("run")...)
			cmd.Env = append(cmd.Env, env...)
			p := proctest.Launch(t, cmd)
			p.Await("msg=ready")
			requireRunning(t, b.pidfile, p.PID())
			p.Signal(syscall.SIGTERM)
			require.Equal(t, 0, p.Wait())
		})
	}
}

// socketMarks returns the marks for both stages with that socket.
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
		pidfile := proctest.PIDPath(t)
		cmd := proctest.Command(daemon, "pidfile="+pidfile, "start")
		cmd.Stdout = theirs
		cmd.Env = append(cmd.Env, "_GO_DAEMON=1", socketMarks(t, theirs)[stage])
		cmd.Stdin = strings.NewReader("{}")
		require.NotEqual(t, 0, proctest.Launch(t, cmd).Wait(), "the process has no launcher to report to")
		requireNothingLeft(t, pidfile)
	}
}
