package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// The file of the program may change while a launcher runs.
// Row E16.
func TestTheProgramOfALauncherIsReplacedOrDeleted(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"replaced", "deleted"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			binary := copyOfTestBinary(t)
			cmd := proctest.Command(shapeShifter, b.args(how, "1m")...)
			cmd.Path = binary
			got := proctest.CallCommand(t, cmd)
			pid := b.readied(got)
			exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			require.NoError(t, err)
			if how == "deleted" {
				require.Equal(t, binary+" (deleted)", exe)
			} else {
				require.Equal(t, binary, exe, "the new program")
				require.NoError(t, os.Remove(binary))
			}
			require.Equal(t, 0, b.call("reload").Code, "the daemon does not need its file")
		})
	}
}

// The new file may be an unrelated program.
// Row E16.
func TestAStartFailsIfTheProgramWasReplacedByAnotherProgram(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		script, says string
		limit        time.Duration
	}{
		"it ends":  {"exit 3", `died before it was ready \(exit 3\)`, time.Minute},
		"it talks": {"read x; echo a word; echo another >&2; exit 3", `died before it was ready \(exit 3\); its last words:\n  \| a word\n  \| another`, time.Minute},
		"it hangs": {"exec sleep 29", `its main did not call Run in 1s; stopped, nothing left`, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			got := b.shifted(tt.script, tt.limit)
			require.Equal(t, 1, got.Code)
			require.Regexp(t, "^scout: start failed: ("+tt.says+")\n  log: "+b.log+"\n$", got.Stderr)
			b.requireNothingLeft()
		})
	}
}

// Row E16.
func TestAProgramIsFoundByPATHAndInARemovedDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Dir(copyOfTestBinary(t))
	for name, script := range map[string]string{
		"relative":     `cd "` + dir + `"; exec ./program "$@"`,
		"by PATH":      `PATH="` + dir + `:$PATH"; exec program "$@"`,
		"in a new cwd": `mkdir "` + dir + `/gone"; cd "` + dir + `/gone"; rmdir "` + dir + `/gone"; exec "` + dir + `/program" "$@"`,
	} {
		t.Run(name, func(t *testing.T) {
			b := inBackground(t)
			pid := b.readied(proctest.CallCommand(t, proctest.Wrapped([]string{"sh", "-c", script}, daemon, b.args("start")...)))
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
	cmd := proctest.Command(unexecutable, b.args()...)
	cmd.Path = binary
	got := proctest.CallCommand(t, cmd)
	require.Equal(t, 4, got.Code, "%s", got.Stderr)
	require.Equal(t, "scout: start failed: cannot start unexecutable: fork/exec "+binary+": permission denied\n", withoutLog(got).Stderr)
	b.requireNothingLeft()
}

// unexecutable replaces its own file by a file that cannot be executed.
var unexecutable = proctest.Register("unexecutable", func(args []string) int {
	self := proctest.Binary()
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
	return lifecycle.Main([]string{"start"}, nil, lifecycle.Name("scout"), lifecycle.PIDFile(strings.TrimPrefix(args[0], "pidfile=")), lifecycle.LogFile(strings.TrimPrefix(args[1], "log=")))
})

// When `go run` returns, the program that it has built may be deleted.
// Row E16.
func TestADaemonOutlivesItsGoRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	agentctl := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("go", append([]string{"run", "./_example/agentctl", "-dir", dir}, args...)...)
		cmd.Dir = ".."
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	t.Cleanup(func() {
		if found, err := lifecycle.Find(filepath.Join(dir, "agentd.pid")); err == nil {
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
	require.Len(t, left, 1, "only the log remains: %v", left)
}
