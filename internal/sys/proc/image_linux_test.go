package proc

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// printsChildren starts a shell that prints the PIDs of two children. The shell only forked the
// first child. The second child has executed a program.
func printsChildren(t *testing.T, argv ...string) (shell, forked, executed int) {
	t.Helper()
	const script = `exec 3<&0; export X_MARK=1; (echo forked; read -r x <&3) & echo $!; sh -c 'echo executed; read -r x <&3' & echo $!; wait`
	cmd := exec.Command(argv[0], append(argv[1:], "sh", "-c", script)...)
	cmd.Env = append(os.Environ(), "X_MARK=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, held, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdin = in
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	require.NoError(t, in.Close())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		held.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	})
	var pids []int
	lines := bufio.NewScanner(out)
	for range 4 {
		require.True(t, lines.Scan())
		if pid, err := strconv.Atoi(lines.Text()); err == nil {
			pids = append(pids, pid)
		}
	}
	require.Len(t, pids, 2)
	return cmd.Process.Pid, pids[0], pids[1]
}

func TestAnImageIsInheritedByForkAndNotByExec(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("/proc/sys/kernel/randomize_va_space")
	if err != nil || strings.TrimSpace(string(text)) == "0" {
		t.Skip("this system does not randomize addresses")
	}
	shell, forked, executed := printsChildren(t, "env")
	require.NotEmpty(t, Image(shell))
	require.Equal(t, Image(shell), UniqueImage(shell))
	require.Equal(t, Image(shell), Image(forked))
	require.NotEqual(t, Image(shell), Image(executed))
	require.Equal(t, "0", EnvironmentOf(shell, "X_MARK"))
	require.Equal(t, "0", EnvironmentOf(forked, "X_MARK"))
	require.Equal(t, "1", EnvironmentOf(executed, "X_MARK"))
	require.Empty(t, EnvironmentOf(executed, "X_MAR"))
}

func TestAnImageWhoseAddressesAreNotRandomIsNotUnique(t *testing.T) {
	t.Parallel()
	if _, err := exec.Command("setarch", "-R", "true").Output(); err != nil {
		t.Skip("this test needs setarch: ", err)
	}
	shell, _, _ := printsChildren(t, "setarch", "-R")
	require.NotEmpty(t, Image(shell))
	require.Empty(t, UniqueImage(shell))
}

func TestAGroupIsKnownAsLongAsItHasMembers(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	require.True(t, HasGroup(cmd.Process.Pid))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.False(t, HasGroup(cmd.Process.Pid))
	require.False(t, HasGroup(0))
	require.False(t, HasGroup(1), "1 is not accepted as a group, because kill(-1) signals every process")
}
