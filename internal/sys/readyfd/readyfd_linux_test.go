package readyfd

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A stale number in the environment must not make Take use a descriptor that the program has
// opened.
func TestTakeRefusesADescriptorThatThisProcessOpened(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	_, err = Take(strconv.Itoa(int(w.Fd())))
	require.ErrorContains(t, err, "was not inherited")
}

func TestTellWritesOnceAndCloses(t *testing.T) {
	t.Parallel()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer unix.Close(fds[0])
	d, err := Take(strconv.Itoa(fds[1]))
	require.NoError(t, err)
	flags, err := unix.FcntlInt(uintptr(fds[1]), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.FD_CLOEXEC)
	require.NoError(t, d.Tell())
	require.NoError(t, d.Tell())
	d.Close()
	buf := make([]byte, 10)
	n, err := unix.Read(fds[0], buf)
	require.NoError(t, err)
	require.Equal(t, "\n", string(buf[:n]))
	n, err = unix.Read(fds[0], buf)
	require.NoError(t, err)
	require.Zero(t, n, "the end of the pipe")

	var none *Descriptor
	require.NoError(t, none.Tell())
	none.Close()
}
