package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// homeless is a daemon whose files have their default places.
var homeless = proctest.Register("homeless", func(args []string) int {
	fmt.Println(lifecycle.DefaultPIDFile("homeless"))
	return lifecycle.Main(args, nil, lifecycle.Name("homeless"))
})

// The files of a user without a database entry are in /tmp. systemd removes files from /tmp that
// have not changed for days. With age 0 it removes all files. The test mounts another /tmp, and
// therefore passes the test binary as descriptor 3.
func TestSystemdDoesNotTakeTheFilesOfARunningDaemonFromTheirDefaultPlace(t *testing.T) {
	proctest.Needs(t, "root", "systemd-tmpfiles", "setpriv")
	proctest.NeedsCommand(t, "unshare", "--mount")
	t.Parallel()
	script := `
mount -t tmpfs -o mode=1777 none /tmp && cd / || exit 99
homeless() { setpriv --reuid=54321 --regid=54321 --clear-groups /proc/self/fd/3 "$@"; }
homeless start || exit 98
mkdir /tmp/other && : >/tmp/other/file
echo "d /tmp 1777 root root 0" | systemd-tmpfiles --clean - || exit 97
ls -A /tmp /tmp/homeless-54321
homeless status || exit 96
homeless start && exit 95
homeless stop || exit 94
echo "d /tmp 1777 root root 0" | systemd-tmpfiles --clean - || exit 93
ls -A /tmp
`
	cmd := proctest.Command(homeless)
	cmd.Path, cmd.Args = "/usr/bin/unshare", []string{"unshare", "--mount", "sh", "-c", script}
	cmd.Dir = "/"
	binary, err := os.Open(proctest.Binary())
	require.NoError(t, err)
	defer binary.Close()
	cmd.ExtraFiles = []*os.File{binary}
	got := proctest.CallCommand(t, cmd)
	require.Equal(t, 0, got.Code, "%s%s", got.Stdout, got.Stderr)
	require.Contains(t, got.Stdout, "/tmp:\nhomeless-54321\n\n/tmp/homeless-54321:\nhomeless.log\nhomeless.pid\nhomeless.state\n")
	require.Regexp(t, `already running \(pid \d+\)`, got.Stderr)
	require.Regexp(t, `/tmp/homeless-54321/homeless.pid\n$`, got.Stdout, "no process locks the directory any more")
}
