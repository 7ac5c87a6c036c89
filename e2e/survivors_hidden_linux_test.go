package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// hiddenProc is a command that runs its arguments as root, in a mount namespace. In this namespace,
// /proc shows root only its own processes. By default, group 0 sees all of them.
var hiddenProc = []string{
	"unshare", "--mount", "sh", "-c",
	`mount -t proc -o hidepid=2,gid=65533 proc /proc && exec setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace "$@"`, "sh",
}

// needsHiddenProc skips the test where hiddenProc cannot run. Before Linux 5.8, it would change all
// mounts of /proc.
func needsHiddenProc(t *testing.T) {
	t.Helper()
	proctest.Needs(t, "root", "setpriv")
	var name unix.Utsname
	require.NoError(t, unix.Uname(&name))
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	require.NoError(t, err)
	if major < 5 || major == 5 && minor < 8 {
		t.Skip("this kernel has one set of options for all mounts of /proc")
	}
	proctest.NeedsCommand(t, hiddenProc...)
}

// Root in a container often lacks CAP_SYS_PTRACE.
// Row D10.
func TestSurvivorsThatProcHidesRefuseTheStartAndTheStop(t *testing.T) {
	t.Parallel()
	needsHiddenProc(t)
	b := inBackground(t)
	left := b.survivingGuard("echo I am $$; exec sleep 60", "supervise=settle:20ms")[0]
	hidden := fmt.Sprintf("/proc hides processes that may belong to an earlier worker: process group %d: ", left)
	call := func(program string, args ...string) proctest.Result {
		return proctest.CallCommand(t, proctest.Wrapped(hiddenProc, program, b.args(args...)...))
	}
	for range 2 {
		got := call(guard, "start", "--", "sleep", "60")
		require.Equal(t, 1, got.Code, "%s", got.Stderr)
		require.Contains(t, got.Stderr, "guard: start failed: "+hidden)
		got = call(daemon, "start")
		require.Equal(t, 1, got.Code, "%s", got.Stderr)
		require.Contains(t, got.Stderr, "daemon: start failed: "+hidden)
		got = call(daemon, "stop")
		require.Equal(t, 1, got.Code, "%s", got.Stderr)
		require.Contains(t, got.Stderr, "daemon: stop: "+hidden)
		require.False(t, hasEnded(left))
		require.Contains(t, call(daemon, "status").Stdout, fmt.Sprintf("process group %d", left))
	}
	got := b.call("stop") // this call sees the process in another mount of /proc
	require.Equal(t, 0, got.Code, "%s", got.Stderr)
	require.True(t, hasEnded(left))
	b.start()
	b.stop()
}

// A start succeeds although /proc hides processes, if no process of the earlier worker remains.
func TestASupervisorStartsAgainAfterItsDeathIfProcHidesProcesses(t *testing.T) {
	t.Parallel()
	needsHiddenProc(t)
	b := inBackground(t)
	start := func() proctest.Result {
		argv := append(b.args("supervise=settle:20ms", "start", "--"), "sh", "-c", strings.TrimSuffix(announcer, "& ")+"; :")
		return proctest.CallCommand(t, proctest.Wrapped(hiddenProc, guard, argv...))
	}
	b.readied(start())
	left := b.announced(1)[0]
	b.killSupervisor()
	b.readied(start())
	require.True(t, hasEnded(left), "a process of root is not hidden from it")
	b.stop()
}
