package sdnotify

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// served is a server that trusts every process or none.
type served struct {
	t      *testing.T
	server *Server
	trusts atomic.Bool
	heard  chan Message
}

func serve(t *testing.T) *served {
	t.Helper()
	server, err := Listen()
	require.NoError(t, err)
	s := &served{t: t, server: server, heard: make(chan Message, 10_000)}
	over := make(chan struct{})
	go func() {
		defer close(over)
		server.Serve(func(int) bool { return s.trusts.Load() }, func(m Message) { s.heard <- m })
	}()
	t.Cleanup(func() {
		server.Close()
		<-over
	})
	return s
}

func (s *served) dial() *Socket {
	s.t.Helper()
	c, err := Dial(s.server.Address)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { c.Close() })
	return c
}

// requireHears sends a message, and fails if the server does not receive it.
func (s *served) requireHears() {
	s.t.Helper()
	s.server.Barrier(time.Minute)
	s.trusts.Store(true)
	c := s.dial()
	require.Eventually(s.t, func() bool { return c.Send("READY=1") == nil }, time.Minute, time.Millisecond)
	select {
	case m := <-s.heard:
		require.Equal(s.t, "READY=1", m.Text)
	case <-time.After(time.Minute):
		s.t.Fatal("the server receives nothing any more")
	}
}

// lingers returns a socket whose close(2) blocks until the end of the test.
func lingers(t *testing.T) *os.File {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	peer, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = peer.(*net.TCPConn).SetLinger(0)
		peer.Close()
	})
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	for err == nil {
		_, err = c.Write(make([]byte, 1<<20))
	}
	f, err := c.(*net.TCPConn).File()
	require.NoError(t, err)
	fd, err := descriptor(f)
	require.NoError(t, err)
	require.NoError(t, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 30_000}))
	return f
}

func TestALingeringSocketDoesNotBlockAServer(t *testing.T) {
	for what, trusted := range map[string]bool{"of a stranger": false, "of the service": true} {
		t.Run(what, func(t *testing.T) {
			s := serve(t)
			s.trusts.Store(trusted)
			f := lingers(t)
			s.server.turn <- struct{}{} // otherwise the close of this test may be the last one
			require.NoError(t, s.dial().SendFiles([]*os.File{f}, "FDSTORE=1"))
			f.Close()
			<-s.server.turn
			if trusted {
				m := <-s.heard
				require.Len(t, m.Files, 1)
				select {
				case <-Discard(m.Files...):
				case <-time.After(time.Minute):
					t.Fatal("the socket is not closed")
				}
			}
			s.requireHears()
		})
	}
}

// hidden returns a socket with a lingering socket in its queue. No option of the outer socket
// changes how the inner one is closed.
func hidden(t *testing.T, inner *os.File) *os.File {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	fd, err := descriptor(inner)
	require.NoError(t, err)
	require.NoError(t, unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(fd), nil, 0))
	require.NoError(t, unix.Close(pair[0]))
	return os.NewFile(uintptr(pair[1]), "hidden")
}

// Each socket keeps one closing goroutine busy. When all goroutines are busy and the queue is full,
// the kernel refuses further descriptors.
func TestLingeringSocketsOfOtherProcessesDoNotBlockAServer(t *testing.T) {
	s := serve(t)
	c := s.dial()
	fd, err := descriptor(s.server.file)
	require.NoError(t, err)
	_, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSRIGHTS)
	refuses := err == nil
	var stuck [maxClosing]*os.File
	for i := range stuck {
		inner := lingers(t)
		stuck[i] = hidden(t, inner)
		inner.Close()
	}
	for _, f := range stuck {
		s.server.turn <- struct{}{} // otherwise this test may be the last process to close it
		require.NoError(t, c.SendFiles([]*os.File{f}, "FDSTORE=1"))
		f.Close()
		<-s.server.turn
	}
	if refuses { // these were already in the queue when the kernel began to refuse
		s.server.Barrier(time.Minute)
		s.server.turn <- struct{}{}
		s.sendManyAndOneThatLingers(c)
		<-s.server.turn
		s.server.Barrier(time.Minute)
	}
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	require.Eventually(t, func() bool {
		for err == nil && !discards.isFull() {
			err = c.SendFiles([]*os.File{w}, "FDSTORE=1")
			s.server.Barrier(time.Minute)
		}
		return discards.isFull()
	}, time.Minute, time.Millisecond)
	if refuses {
		require.Eventually(t, func() bool {
			return errors.Is(c.SendFiles([]*os.File{w}, "FDSTORE=1"), unix.EPERM)
		}, time.Minute, time.Millisecond, "the kernel refuses descriptors while too many are to be closed")
	}
	s.requireHears()
	discards.mu.Lock()
	require.LessOrEqual(t, discards.closing, maxClosing)
	require.LessOrEqual(t, len(discards.queue), maxDiscards()+4*maxFiles)
	discards.mu.Unlock()
}

// sendManyAndOneThatLingers fills the queue of descriptors to close before the last one is
// received.
func (s *served) sendManyAndOneThatLingers(c *Socket) {
	s.t.Helper()
	r, w, err := os.Pipe()
	require.NoError(s.t, err)
	defer r.Close()
	defer w.Close()
	many := make([]*os.File, maxFiles)
	for i := range many {
		many[i] = w
	}
	f := lingers(s.t)
	defer f.Close()
	for range 3 {
		require.NoError(s.t, c.SendFiles(many, "FDSTORE=1"))
	}
	require.NoError(s.t, c.SendFiles([]*os.File{f}, "FDSTORE=1"))
}

func TestALingeringSocketAfterManyDescriptorsDoesNotBlockAServer(t *testing.T) {
	s := serve(t)
	s.server.turn <- struct{}{}
	s.sendManyAndOneThatLingers(s.dial())
	<-s.server.turn
	s.requireHears()
}

func TestPeekReceivesNoDescriptorsOfAnotherProcess(t *testing.T) {
	s, c := connected(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	require.NoError(t, c.SendFiles([]*os.File{w, w, w}, "FDSTORE=1"))
	fd, err := descriptor(s.file)
	require.NoError(t, err)
	before, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for range 2 {
		pid, size, err := peek(fd)
		require.NoError(t, err)
		require.Equal(t, os.Getpid(), pid)
		require.Equal(t, len("FDSTORE=1"), size)
	}
	after, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	require.LessOrEqual(t, len(after), len(before)) // an earlier server may still close its own
}

func TestABarrierEndsWhileOtherProcessesFillTheQueue(t *testing.T) {
	t.Parallel()
	s := serve(t)
	over := make(chan struct{})
	for range 3 {
		c := s.dial()
		raw, err := c.file.SyscallConn()
		require.NoError(t, err)
		go func() {
			for {
				select {
				case <-over:
					return
				default:
					_ = raw.Control(func(fd uintptr) { _ = unix.Send(int(fd), make([]byte, 60_000), unix.MSG_DONTWAIT) })
				}
			}
		}()
	}
	defer close(over)
	ended := make(chan struct{})
	go func() {
		for range 100 {
			s.server.Barrier(time.Hour)
		}
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the barrier does not end")
	}
	require.Empty(t, s.heard, "strangers")
}

func TestABarrierEndsInTimeWithoutAReader(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.server.turn <- struct{}{} // as during a message that takes long to handle
	s.server.Barrier(time.Millisecond)
	<-s.server.turn
}
