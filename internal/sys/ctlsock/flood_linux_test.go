package ctlsock

import (
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// flood writes the text repeatedly, until that many bytes are written or the reader is gone.
func flood(w io.Writer, text string, bytes int) error {
	piece := []byte(strings.Repeat(text, max(1, (256<<10)/len(text))))
	for sent := 0; sent < bytes; sent += len(piece) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// This test is not parallel because it measures the heap. A worker that wrote no newline once took
// 2.48 GB of its supervisor's memory.
// Row H15.
func TestAPeerThatNeverEndsItsLineTakesNoMemory(t *testing.T) {
	for what, begin := range map[string]string{"words": "", "a message": "\n\x00{\"", "a message of NULs": "\n\x00\x00"} {
		ours, theirs := testPair(t)
		before := heapNow()
		go func() {
			_, _ = theirs.WriteString(begin)
			_ = flood(theirs, "word", 12<<20)
			theirs.Close()
		}()
		_, err := ours.Receive()
		require.ErrorIs(t, err, io.EOF, what)
		require.LessOrEqual(t, len(ours.Output()), maxOutput, what)
		require.Less(t, heapNow(), before+2<<20, what)
	}
}

func TestAMessageThatIsTooLongIsDroppedAndTheNextOneIsReceived(t *testing.T) {
	t.Parallel()
	ours, theirs := testPair(t)
	ours.Limit(100)
	go func() {
		_, _ = theirs.WriteString("before\n\n\x00\"" + strings.Repeat("x", 100_000) + "\"\n\n\x00\"short\"\nafter\n")
		theirs.Close()
	}()
	text, err := ours.Receive()
	require.NoError(t, err)
	require.Equal(t, `"short"`, string(text))
	_, err = ours.Receive()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, "before\nafter\n", ours.Output())
}

func TestAMessageThatIsTooLongIsNotSent(t *testing.T) {
	t.Parallel()
	ours, _ := testPair(t)
	require.ErrorContains(t, ours.Send(strings.Repeat("x", MaxMessage)), "but the limit is 4194304")
}

// Row H15.
func TestAFloodIsStoppedAndItsFirstOutputIsKept(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{"lines": "word\n", "one line": "word", "empty lines": "\n", "messages": "\n\x00{}\n"} {
		ours, theirs := testPair(t)
		over := make(chan error)
		go func() { over <- flood(theirs, text, 1<<30) }()
		ours.Serve(func(json.RawMessage) {})
		require.ErrorIs(t, <-over, unix.EPIPE, what)
		if strings.HasPrefix(text, "word") {
			require.Equal(t, strings.Repeat(text, maxOutput/len(text)+1)[:maxOutput], ours.Output(), what)
		} else {
			require.Empty(t, ours.Output(), what)
		}
		require.False(t, IsGone(int(theirs.Fd())), "the supervisor must still be connected")
	}
}

func TestTheOutputOfAServedPeerIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	ours, theirs := testPair(t)
	_, err := theirs.WriteString("panic: x\n\x00{\"error\":\"y\"}\ngoroutine 1")
	require.NoError(t, err)
	require.NoError(t, theirs.Close())
	var messages []string
	ours.Serve(func(message json.RawMessage) { messages = append(messages, string(message)) })
	require.Equal(t, "panic: x\ngoroutine 1", ours.Output())
	require.Equal(t, []string{`{"error":"y"}`}, messages)
}

func FuzzPeer(f *testing.F) {
	f.Add([]byte("word\n\n\x00{}\n\n\x00[1]\nhalf"), 5)
	f.Add([]byte("\x00\n\x00\x00\n\n"), 0)
	f.Fuzz(func(t *testing.T, text []byte, limit int) {
		ours, theirs := testPair(t)
		ours.Limit(limit)
		go func() {
			_, _ = theirs.Write(text)
			theirs.Close()
		}()
		for {
			message, err := ours.Receive()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			require.LessOrEqual(t, len(message), max(0, limit))
		}
		require.LessOrEqual(t, len(ours.Output()), min(maxOutput, len(text)))
	})
}
