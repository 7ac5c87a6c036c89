package execve

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The test is not parallel. It uses a descriptor above all others.
func TestDescriptorsAreClosedOnExecWithAndWithoutCloseRange(t *testing.T) {
	const from = 700
	for name, closeAll := range map[string]func() error{
		"close_range": func() error { return CloseOnExec(from) },
		"listed":      func() error { return closeListedOnExec("/proc/self/fd", from) },
	} {
		var fds []int
		for _, fd := range []int{from - 1, from, from + 7, from + 200} {
			require.NoError(t, unix.Dup3(2, fd, 0))
			fds = append(fds, fd)
		}
		require.NoError(t, closeAll(), name)
		for i, fd := range fds {
			requireCloseOnExec(t, fd, i > 0)
			require.NoError(t, unix.Close(fd))
		}
	}
	require.Error(t, closeListedOnExec("/no/such/place", from))
}

func requireCloseOnExec(t *testing.T, fd int, want bool) {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.Equal(t, want, flags&unix.FD_CLOEXEC != 0, "descriptor %d", fd)
}
