package sdnotify

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAServerReceivesTheMessageAndItsSender(t *testing.T) {
	t.Parallel()
	s, err := Listen()
	require.NoError(t, err)
	defer s.Close()
	require.Regexp(t, `^@[0-9a-f]+$`, s.Address)
	c, err := Dial(s.Address)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Send("READY=1", Line("STATUS", "two\nlines \x1b[1m and \xff")))
	m, err := s.Receive()
	require.NoError(t, err)
	require.Equal(t, Message{PID: os.Getpid(), Text: "READY=1\nSTATUS=two lines  [1m and \\xff"}, m)
	value, ok := m.Value("STATUS")
	require.True(t, ok)
	require.Equal(t, "two lines  [1m and \\xff", value)
	_, ok = m.Value("STAT")
	require.False(t, ok)

	require.NoError(t, s.Close())
	_, err = s.Receive()
	require.ErrorIs(t, err, os.ErrClosed)
	require.Error(t, c.Send("READY=1"), "nobody is there")
}

func TestAServerReceivesFilesAndDropsTooManyOfThem(t *testing.T) {
	t.Parallel()
	s, c := connected(t)
	require.NoError(t, c.Send(strings.Repeat("x", maxMessage+1)))
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	require.NoError(t, c.SendFiles([]*os.File{r, w}, "FDSTORE=1", "FDNAME=x"))
	m, err := s.Receive()
	require.NoError(t, err)
	require.Equal(t, "FDSTORE=1\nFDNAME=x", m.Text)
	require.Len(t, m.Files, 2)
	_, err = m.Files[1].WriteString("through")
	require.NoError(t, err)
	buf := make([]byte, 10)
	n, err := r.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "through", string(buf[:n]))
	for _, f := range m.Files {
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		require.NoError(t, err)
		require.NotZero(t, flags&unix.FD_CLOEXEC)
	}
	<-Discard(m.Files...)
	require.ErrorIs(t, m.Files[0].Close(), os.ErrClosed)
}

func TestSendingAListenerDoesNotBlock(t *testing.T) {
	t.Parallel()
	_, c := connected(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, c.SendFiles([]*os.File{f}, "FDSTORE=1"))
	raw, err := l.(*net.TCPListener).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		require.NoError(t, err)
		require.NotZero(t, flags&unix.O_NONBLOCK)
	}))
}

func TestTheWaitForAManagerThatDoesNotReadIsShort(t *testing.T) {
	t.Parallel()
	s, c := connected(t)
	var err error
	for err == nil {
		err = c.Send("X=1")
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	for range 2 { // the second message must report it again
		_, err = s.Receive()
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return c.Send("X=1") == nil }, 10*time.Second, time.Millisecond)
}

// connected returns a server and a client of it.
func connected(t *testing.T) (*Server, *Socket) {
	t.Helper()
	s, err := Listen()
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	c, err := Dial(s.Address)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return s, c
}
