package sdnotify

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What nobody has received is closed by the close(2) of the socket.
func TestWhatLingersInTheQueueKeepsNoServerFromClosing(t *testing.T) {
	s, err := Listen()
	require.NoError(t, err)
	c, err := Dial(s.Address)
	require.NoError(t, err)
	defer c.Close()
	f := lingers(t)
	require.NoError(t, c.SendFiles([]*os.File{f}, "FDSTORE=1"))
	f.Close()
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		require.ErrorIs(t, err, errCloses)
	case <-time.After(time.Minute):
		t.Fatal("it closes without an end")
	}
	require.Error(t, c.Send("READY=1"), "nobody is there")
}

func TestAServerThatIsClosedIsHeardOfByItsSenders(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := s.dial()
	s.requireHears()
	require.NoError(t, s.server.Close())
	err := c.Send("READY=1")
	require.Error(t, err)
	require.NotErrorIs(t, err, unix.EAGAIN)
}
