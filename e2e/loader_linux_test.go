package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// In bundles, in Termux and with Nix, a loader executes the program. Then /proc/self/exe is not the
// program. The loader must also execute the stages, the daemon, the supervisor and the workers.
// Row E16.
func TestAProgramThatALoaderExecutesDetachesAndSupervises(t *testing.T) {
	t.Parallel()
	loader := proctest.Loader(t)
	for _, before := range [][]string{{loader}, {loader, "--argv0", "another name"}} {
		if before[len(before)-1] != loader {
			if out, _ := exec.Command(loader, "--help").Output(); !strings.Contains(string(out), "--argv0") {
				continue
			}
		}
		b := inBackground(t)
		call := func(args ...string) proctest.Result {
			cmd := proctest.Wrapped(before, daemon, b.args(args...)...)
			cmd.Dir = filepath.Dir(proctest.Binary())
			// The daemon has another working directory.
			cmd.Args[len(before)] = "./" + filepath.Base(proctest.Binary())
			return proctest.CallCommand(t, cmd)
		}
		b.readied(call(atOnce, "start"))
		worker := b.worker(0)
		require.NoError(t, unix.Kill(worker, unix.SIGKILL))
		worker = b.worker(worker)
		exe, err := os.Readlink("/proc/" + strconv.Itoa(worker) + "/exe")
		require.NoError(t, err)
		require.NotEqual(t, proctest.Binary(), exe)
		comm, err := os.ReadFile("/proc/" + strconv.Itoa(worker) + "/comm")
		require.NoError(t, err)
		require.NotContains(t, string(comm), "ld-")
		require.Equal(t, 0, call(atOnce, "reload").Code)
		require.Equal(t, 0, call(atOnce, "restart").Code)
		b.stop()
	}
}

// Row E16.
func TestAProgramWithoutAPathDetachesAndSupervises(t *testing.T) {
	t.Parallel()
	inMemory := func(t *testing.T, cmd *exec.Cmd) {
		fd, err := unix.MemfdCreate("program", unix.MFD_CLOEXEC)
		require.NoError(t, err)
		file := os.NewFile(uintptr(fd), "program")
		t.Cleanup(func() { file.Close() })
		binary, err := os.Open(proctest.Binary())
		require.NoError(t, err)
		defer binary.Close()
		_, err = file.ReadFrom(binary)
		require.NoError(t, err)
		cmd.Path = "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(fd)
	}
	deleted := func(t *testing.T, cmd *exec.Cmd) {
		path := copyOfTestBinary(t)
		cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `exec 9<"$0"; rm "$0"; exec /proc/self/fd/9 "$@"`, path}, cmd.Args[1:]...)
	}
	for what, prepare := range map[string]func(*testing.T, *exec.Cmd){"in memory": inMemory, "deleted": deleted} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			cmd := proctest.Command(daemon, b.args(atOnce, "start")...)
			prepare(t, cmd)
			b.readied(proctest.CallCommand(t, cmd))
			worker := b.worker(0)
			require.NoError(t, unix.Kill(worker, unix.SIGKILL))
			b.worker(worker)
			b.stop()
		})
	}
}
