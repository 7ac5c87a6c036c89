package lifecycle

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sdnotify"
	"example.com/lifecycle/internal/worker"
)

func TestAWorkerThatAsksForMoreTimeStopsInTheEnd(t *testing.T) {
	t.Parallel()
	l, err := newLife(nil, []Option{Embedded(), StopTimeout(time.Second)})
	require.NoError(t, err)
	s := &supervisor{life: l, of: l.config}
	w := &workerProcess{Process: &worker.Process{PID: math.MaxInt32}, of: s, ready: make(chan struct{}), gone: make(chan struct{}), limit: time.NewTimer(time.Hour)}
	defer w.limit.Stop()
	s.worker.Store(w)
	say := func(text string) { s.hear(sdnotify.Message{PID: w.PID, Text: text}) }
	say("EXTEND_TIMEOUT_USEC=3600000000")
	require.True(t, w.due.IsZero(), "it has no limit")
	say("STOPPING=1")
	once := time.Until(w.due)
	last := w.last
	for range 100 {
		say("STOPPING=1\nEXTEND_TIMEOUT_USEC=3600000000")
	}
	require.Equal(t, last, w.last)
	require.False(t, w.due.After(last.Add(time.Second)))
	require.Greater(t, time.Until(w.due), 5*once, "it has got more")
}
