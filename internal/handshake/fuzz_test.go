package handshake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/detach"
)

// FuzzLauncher sends the launcher any input from the daemon. It checks that the launcher stops
// waiting when the daemon's end of the socket is closed, and that the start succeeds only after the
// message done.
func FuzzLauncher(f *testing.F) {
	for _, said := range []string{
		"",
		"done",
		"{\"done\":true}\n",
		"\n\x00{\"done\":true}\n",
		"\n\x00{\"done\":true}",
		"\n\x00{\"living\":true}\n\n\x00{\"ready\":true}\n\n\x00{\"ready\":true}\n\n\x00{\"done\":true}\n",
		"\n\x00{\"error\":\"x\"}\n\n\x00{\"ready\":true}\n",
		"\n\x00{\"error\":\"x\",\"done\":true}\n",
		"\n\x00{\"living\":true,\"limits\":{\"start_ns\":-1,\"stop_ns\":-9000000000}}\n",
		"\n\x00{\"failed\":{\"error\":\"\",\"code\":-1,\"panicked\":true,\"hook\":\"\\u0000\"}}\n",
		"\n\x00{\"failed\":{\"error\":\"x\",\"timed_out\":true,\"code\":0}}\n",
		"\n\x00{\"failed\":{}}\npanic: x\n\ngoroutine 1 [running]:\n",
		"\n\x00{\"pid\":\"x\"}\n\x00null\n\x00[]\n\x00{\"done\":tr\nue}\n",
	} {
		f.Add([]byte(said), uint8(7))
	}
	f.Fuzz(func(t *testing.T, said []byte, piece uint8) {
		ours, theirs, err := os.Pipe()
		require.NoError(t, err)
		defer ours.Close()
		go func() {
			fmt.Fprintf(theirs, "\n\x00{\"pid\":%d}\n", math.MaxInt32) // a PID that no process has
			for rest := said; len(rest) > 0; rest = rest[min(len(rest), 1+int(piece)):] {
				_, _ = theirs.Write(rest[:min(len(rest), 1+int(piece))])
			}
			theirs.Close()
		}()
		pid, err := newLaunch(Spec{
			Began: time.Now(), StartTimeout: time.Minute, Limits: Limits{Start: time.Minute, Stop: time.Minute},
			Tail:   func() string { return "" },
			Decode: func(json.RawMessage) error { return errors.New("failed") },
		}, detach.NewPeer(ours)).wait(t.Context())
		if err != nil {
			return
		}
		done := false
		for line := range bytes.Lines(said) {
			var m message
			text, marked := bytes.CutPrefix(line, []byte{0})
			done = done || marked && bytes.HasSuffix(line, []byte("\n")) && json.Unmarshal(text, &m) == nil && m.Done
		}
		require.True(t, done, "the daemon has not sent done")
		require.Equal(t, math.MaxInt32, pid)
	})
}

// FuzzDaemon sends the daemon any input from the launcher. It checks that only go confirms the
// start, and that the daemon detects the end of the launcher when the messages end.
func FuzzDaemon(f *testing.F) {
	for _, said := range []string{"", `{"go":true}`, `{"go":true}` + "\n" + `{"go":true}`, `{"go":1}`, "null\n[]\n{", `{"done":true,"pid":1}`} {
		f.Add([]byte(said))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		messages, lost := make(chan json.RawMessage), make(chan struct{})
		l := newLauncher(detach.NewPeer(nil), messages)
		require.ErrorIs(t, l.Attach(Limits{Start: time.Minute}, func() { close(lost) }), os.ErrInvalid, "there is no socket here")
		want := false
		for line := range bytes.Lines(said) {
			var m message
			want = want || json.Unmarshal(line, &m) == nil && m.Go
			messages <- line
		}
		close(messages)
		<-lost
		confirmed := false
		select {
		case <-l.ack:
			confirmed = true
		default:
		}
		require.Equal(t, want, confirmed)
		again, err := l.ConfirmReady(nil)
		require.NoError(t, err)
		require.False(t, again && !want)
	})
}
