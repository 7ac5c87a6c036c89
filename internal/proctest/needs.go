package proctest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// required returns what the machine must have. CI names them in LIFECYCLE_REQUIRE.
func required() []string { return strings.Fields(os.Getenv("LIFECYCLE_REQUIRE")) }

// Needs skips the test if this machine lacks one of the requirements, and fails it if
// LIFECYCLE_REQUIRE names that requirement. A requirement is "root", "linux", or a command, such as
// "strace" or "unshare". LIFECYCLE_REQUIRE can also name "cgroup2", which Cgroup checks.
func Needs(t *testing.T, requirements ...string) {
	t.Helper()
	for _, thing := range requirements {
		ok := false
		switch thing {
		case "root":
			ok = os.Geteuid() == 0
		case "linux":
			ok = runtime.GOOS == "linux"
		default:
			_, err := exec.LookPath(thing)
			ok = err == nil
		}
		switch {
		case ok:
		case slices.Contains(required(), thing):
			t.Fatalf("this test needs %s, and LIFECYCLE_REQUIRE requires it", thing)
		default:
			skip(t, "this test needs %s, which this machine lacks", thing)
		}
	}
}

// skipped is set when this machine lacks something for a test.
var skipped atomic.Bool

func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	skipped.Store(true)
	t.Skipf(format, args...)
}

// commandErrors maps commands to functions that return the error of that command.
var commandErrors sync.Map

// NeedsCommand is [Needs] for a command that a container may forbid even to root. It runs the
// command once in a run, with "true" as the last argument.
func NeedsCommand(t *testing.T, command ...string) {
	t.Helper()
	Needs(t, command[0])
	try, _ := commandErrors.LoadOrStore(strings.Join(command, "\x00"), sync.OnceValue(func() error {
		out, err := exec.Command(command[0], append(command[1:], "true")...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%v: %w: %s", command, err, out)
		}
		return nil
	}))
	err := try.(func() error)()
	if err != nil && !slices.Contains(required(), command[0]) {
		skip(t, "this test needs the right to do this: %v", err)
	}
	require.NoError(t, err)
}

// Loader returns the loader (ld.so(8)) of the test binary. It skips the test if there is none,
// because the binary was built without cgo.
func Loader(t *testing.T) (path string) {
	t.Helper()
	Needs(t, "readelf")
	out, err := exec.Command("readelf", "-l", Binary()).Output()
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(out), "program interpreter: ")
	path, _, found := strings.Cut(rest, "]")
	if !found {
		skip(t, "the test binary is static, so it has no loader")
	}
	return path
}
