package ctlsock

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

// testPair returns the launcher's end and the descriptor of the other end.
func testPair(t *testing.T) (ours *Peer, theirs *os.File) {
	t.Helper()
	conn, theirs, err := Pair()
	require.NoError(t, err)
	ours = NewPeer(conn)
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

func TestMessagesAreDistinguishedFromOutput(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sent     string
		messages []string
		words    string
	}{
		{"", nil, ""},
		{"\n\x00{}\n", []string{"{}"}, ""},
		{"\n\x00{}\n\n\x00[1]\n", []string{"{}", "[1]"}, ""},
		{"word\n\n\x00{}\n", []string{"{}"}, "word\n"},
		{"half a word\n\x00{}\nanother", []string{"{}"}, "half a word\nanother"},
		{"\n\x00{}\npanic: x\n\ngoroutine 1\n\n\x001\n", []string{"{}", "1"}, "panic: x\ngoroutine 1\n"},
		{"{}\n", nil, "{}\n"},
		{"x\x00{}\n", nil, "x\x00{}\n"},
		{"\n\x00{\"cut", nil, "\x00{\"cut"},
		{"\n\n \n\t\n", nil, ""},
	} {
		for _, piece := range []int{1, 7, 1000} {
			ours, theirs := testPair(t)
			go func() {
				for rest := tt.sent; rest != ""; rest = rest[min(piece, len(rest)):] {
					theirs.WriteString(rest[:min(piece, len(rest))])
				}
				theirs.Close()
			}()
			var got []string
			for {
				message, err := ours.Receive()
				if err != nil {
					require.ErrorIs(t, err, io.EOF)
					break
				}
				got = append(got, string(message))
			}
			require.Equal(t, tt.messages, got, "%q", tt.sent)
			require.Equal(t, tt.words, ours.Output(), "%q", tt.sent)
		}
	}
}

func TestTheOutputIsLimited(t *testing.T) {
	t.Parallel()
	ours, theirs := testPair(t)
	go func() {
		for range 3 {
			theirs.WriteString(strings.Repeat("word ", maxOutput/5) + "\n")
		}
		theirs.Close()
	}()
	_, err := ours.Receive()
	require.ErrorIs(t, err, io.EOF)
	require.Len(t, ours.Output(), maxOutput)
}

func TestAPeerThatHasCalledCloseWriteStillReceives(t *testing.T) {
	t.Parallel()
	ours, theirs := testPair(t)
	fd, err := unix.Dup(int(theirs.Fd()))
	require.NoError(t, err)
	other := NewPeer(Conn(fd))
	require.NoError(t, theirs.Close())
	require.NoError(t, ours.Send(1))
	require.NoError(t, ours.CloseWrite())
	text, err := other.Receive()
	require.NoError(t, err)
	require.Equal(t, "1", string(text))
	_, err = other.Receive()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, other.Send("still here"))
	text, err = ours.Receive()
	require.NoError(t, err)
	require.Equal(t, `"still here"`, string(text))
	require.NoError(t, other.Close())
	_, err = ours.Receive()
	require.ErrorIs(t, err, io.EOF)
}

func TestAMarkIdentifiesOneSocket(t *testing.T) {
	t.Parallel()
	_, theirs := testPair(t)
	_, other := testPair(t)
	fd := int(theirs.Fd())
	mark, err := Mark(theirs)
	require.NoError(t, err)
	require.True(t, IsMarked(fd, mark))
	for _, wrong := range []string{"", ":", "x", mark + "0", " " + mark, strings.Replace(mark, ":", ":0", 1)} {
		require.False(t, IsMarked(fd, wrong), "%q", wrong)
	}
	require.False(t, IsMarked(int(other.Fd()), mark))
	require.False(t, IsMarked(-1, mark))

	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer file.Close()
	mark, err = Mark(file)
	require.NoError(t, err)
	require.False(t, IsMarked(int(file.Fd()), mark), "the file is not a socket")
}

func TestNoEndOfAPairIsInherited(t *testing.T) {
	t.Parallel()
	conn, theirs, err := Pair()
	require.NoError(t, err)
	defer theirs.Close()
	defer conn.Close()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { requireCloseOnExec(t, int(fd), true) }))
	requireCloseOnExec(t, int(theirs.Fd()), true)
}

func TestAPeerThatHasCalledCloseReadStillReceivesEarlierData(t *testing.T) {
	t.Parallel()
	ours, theirs := testPair(t)
	_, err := theirs.WriteString("last words\n")
	require.NoError(t, err)
	require.NoError(t, ours.CloseRead())
	_, err = ours.Receive()
	require.ErrorIs(t, err, io.EOF, "though the other end is open")
	require.Equal(t, "last words\n", ours.Output())
}

func TestIsGoneReportsTheEndOfThePeer(t *testing.T) {
	t.Parallel()
	conn, theirs, err := Pair()
	require.NoError(t, err)
	defer theirs.Close()
	require.False(t, IsGone(int(theirs.Fd())))
	require.NoError(t, conn.Close())
	require.True(t, IsGone(int(theirs.Fd())))
}

// A service of root is the peer of each of its clients, and may send data that a client has
// requested.
// Row L9.
func TestMadeByUsAcceptsOnlyAPair(t *testing.T) {
	t.Parallel()
	_, theirs := testPair(t)
	require.True(t, MadeByUs(int(theirs.Fd())))
	for what, address := range map[string]string{"a path": filepath.Join(t.TempDir(), "socket"), "an abstract address": ""} {
		service, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
		require.NoError(t, err, what)
		defer service.Close()
		client, err := net.Dial("unix", service.Addr().String())
		require.NoError(t, err, what)
		defer client.Close()
		server, err := service.Accept()
		require.NoError(t, err, what)
		defer server.Close()
		for _, c := range []net.Conn{client, server} {
			file, err := c.(*net.UnixConn).File()
			require.NoError(t, err, what)
			defer file.Close()
			require.False(t, MadeByUs(int(file.Fd())), what)
		}
	}
	require.False(t, MadeByUs(-1))
	require.False(t, MadeByUs(int(os.Stdin.Fd())))
}

func requireCloseOnExec(t *testing.T, fd int, want bool) {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.Equal(t, want, flags&unix.FD_CLOEXEC != 0, "descriptor %d", fd)
}

// The peer is cut after each number of bytes, and continues in another Peer.
func TestAPeerContinuesWhereAnotherOneWasPaused(t *testing.T) {
	t.Parallel()
	const sent = "half\n\x00{\"a\":1}\nmore\n\n\x00[2]\n\n\x00\"" + "x" + "\"\nlast"
	for cut := range len(sent) {
		first, theirs := testPair(t)
		messages := make(chan string, 10)
		handle := func(message json.RawMessage) { messages <- string(message) }
		served := make(chan struct{})
		go func() { first.Serve(handle); close(served) }()
		_, err := theirs.WriteString(sent[:cut])
		require.NoError(t, err)
		state, conn, err := first.Pause()
		require.NoError(t, err)
		text, err := json.Marshal(state)
		require.NoError(t, err)
		var passed State
		require.NoError(t, json.Unmarshal(text, &passed))
		// In place of an execve, the other Peer gets a copy of the socket.
		var fd int
		require.NoError(t, rawconn.Control(conn, func(ours int) (err error) { fd, err = unix.Dup(ours); return err }))
		second := ResumePeer(Conn(fd), passed)
		_, err = theirs.WriteString(sent[cut:])
		require.NoError(t, err)
		require.NoError(t, theirs.Close())
		second.Serve(handle)
		require.Equal(t, "half\nmore\nlast", second.Output(), "cut after %d bytes", cut)
		for _, want := range []string{`{"a":1}`, "[2]", `"x"`} {
			require.Equal(t, want, <-messages, "cut after %d bytes", cut)
		}
		require.Empty(t, messages)
		require.NoError(t, second.Close())
		first.Resume()
		<-served
	}
}
