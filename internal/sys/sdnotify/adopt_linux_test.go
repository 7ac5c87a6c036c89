package sdnotify

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/takeover"
)

// TestMain does not use proctest.Main: the paths of its directories are too long for a socket.
func TestMain(m *testing.M) {
	if name := os.Getenv(proctest.Variable); name != "" {
		os.Exit(proctest.RunAs(name, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// successor serves a notify socket and executes itself for each line that it reads. At the end of
// its input it closes the socket.
var successor = proctest.Register("successor", func(args []string) int {
	var s *Server
	var err error
	if in := takeover.Inherited(); in != nil {
		var state State
		if err := json.Unmarshal(in.State, &state); err != nil {
			panic(err)
		}
		s, err = AdoptServer(state, in.Files)
	} else if args[0] == "private" {
		s, err = ListenPrivate(os.Geteuid())
	} else {
		s, err = Listen()
	}
	if err != nil {
		panic(err)
	}
	go s.Serve(func(int) bool { return true }, func(m Message) {
		fmt.Println("heard", m.Text, len(m.Files))
		Discard(m.Files...)
	})
	fmt.Println("address", s.Address)
	if _, err := bufio.NewReaderSize(os.Stdin, 16).ReadString('\n'); err == nil {
		state, files := s.Freeze()
		panic(takeover.Execute(func(f func()) { f() }, takeover.Spec{
			Path: proctest.Binary(), Args: append([]string{"successor"}, args...), Env: os.Environ(), State: state, Files: files,
		}))
	}
	if err := s.Close(); err != nil {
		panic(err)
	}
	return 0
})

func TestAnotherProgramOfTheProcessAdoptsTheSocket(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"private", "abstract"} {
		cmd := proctest.Command(successor, kind)
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		p := proctest.Launch(t, cmd)
		p.Await("address ")
		address := strings.TrimSpace(strings.TrimPrefix(p.Out.String(), "address "))
		c, err := Dial(address)
		require.NoError(t, err)
		defer c.Close()
		end, sent := make(chan struct{}), make(chan int, 1)
		go func() { // a service that sends all the time, with a few messages in the queue
			n := 0
			defer func() { sent <- n }()
			for tick := time.NewTicker(time.Millisecond); ; {
				select {
				case <-end:
					return
				case <-tick.C:
				}
				if p.Out.Count("heard") > n-8 && c.Send(fmt.Sprintf("STATUS=message %d.", n)) == nil {
					n++
				}
			}
		}()
		for round := range proctest.Rounds(10, 30, 300) {
			_, err := in.Write([]byte("x\n"))
			require.NoError(t, err)
			p.Await("address "+address, round+2)
			if kind == "private" {
				lock, err := lockPlace(filepath.Dir(address))
				require.ErrorIs(t, err, unix.EWOULDBLOCK, "the directory is in use")
				require.Nil(t, lock)
			}
		}
		close(end)
		n := <-sent
		require.Greater(t, n, 20, "or this test shows nothing")
		for i := range n {
			p.Await(fmt.Sprintf("heard STATUS=message %d. 0", i))
		}
		require.Equal(t, n, p.Out.Count("heard"), "none is lost, and none comes twice")
		require.NoError(t, in.Close())
		require.Zero(t, p.Wait())
		if kind == "private" {
			require.NoDirExists(t, filepath.Dir(address))
		}
	}
}

func TestMessagesWaitForTheThaw(t *testing.T) {
	t.Parallel()
	s, err := Listen()
	require.NoError(t, err)
	heard := make(chan string, 1)
	over := make(chan struct{})
	go func() {
		s.Serve(func(int) bool { return true }, func(m Message) { heard <- m.Text })
		close(over)
	}()
	_, files := s.Freeze()
	require.Len(t, files, 1)
	c, err := Dial(s.Address)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Send("READY=1"))
	require.Empty(t, heard)
	s.Thaw()
	require.Equal(t, "READY=1", <-heard)
	require.NoError(t, s.Close())
	<-over
	_, err = AdoptServer(State{Directory: []byte("/x")}, nil)
	require.ErrorContains(t, err, "with 0 files instead of 2")
}
