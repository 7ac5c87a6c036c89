package sdnotify

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// close(2) of the socket also closes descriptors that no process has received.
func TestALingeringSocketInTheQueueDoesNotBlockTheCloseOfAServer(t *testing.T) {
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
		require.ErrorContains(t, err, "did not close within a second")
	case <-time.After(time.Minute):
		t.Fatal("the close does not end")
	}
	require.Error(t, c.Send("READY=1"), "nobody is there")
}

func TestSendersDetectThatAServerIsClosed(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := s.dial()
	s.requireHears()
	require.NoError(t, s.server.Close())
	err := c.Send("READY=1")
	require.Error(t, err)
	require.NotErrorIs(t, err, unix.EAGAIN)
}

// A user who serves a file system (FUSE) can make close(2) of its files hang.
func TestAServerReceivesWhileEveryCloseHangs(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	for range maxClosing + maxDiscards() {
		discards.add(func() { <-over })
	}
	require.True(t, discards.isFull())
	s := serve(t)
	s.trusts.Store(true)
	c := s.dial()
	sent := make(chan error, 1)
	go func() {
		for range 200 {
			if err := c.Send("WATCHDOG=1"); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				sent <- err
			}
		}
		close(sent)
	}()
	for range 100 {
		select {
		case <-s.heard:
		case <-time.After(time.Minute):
			t.Fatal("the server receives nothing any more")
		}
	}
	require.NoError(t, <-sent)
}
