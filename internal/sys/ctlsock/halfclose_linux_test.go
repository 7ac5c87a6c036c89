package ctlsock

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAnEndThatCalledCloseWriteIsNotGone(t *testing.T) {
	t.Parallel()
	ours, theirs := testPair(t)
	fd, err := unix.Dup(int(theirs.Fd()))
	require.NoError(t, err)
	require.NoError(t, theirs.Close())
	other := NewPeer(Conn(fd))
	defer other.Close()
	require.NoError(t, ours.Send("not read yet"))
	require.False(t, other.WritesClosed(0))
	require.False(t, other.WritesClosed(time.Millisecond))
	require.NoError(t, ours.CloseWrite())
	require.True(t, other.WritesClosed(0))
	require.False(t, IsGone(fd))

	gone := make(chan struct{})
	go func() {
		defer close(gone)
		other.AwaitGone()
	}()
	select {
	case <-gone:
		t.Fatal("the other end is not gone")
	case <-time.After(20 * time.Millisecond):
	}
	require.NoError(t, ours.Close())
	<-gone
	require.True(t, other.WritesClosed(0))
}
