package supervise

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/sdnotify"
	"example.com/lifecycle/internal/sys/worker"
)

// noChild implements child without a process. It records the signals that the supervisor sends.
type noChild struct{ signals []os.Signal }

func (*noChild) Executed(context.Context) error { return nil }

func (c *noChild) Signal(sig os.Signal) error { c.signals = append(c.signals, sig); return nil }

func (*noChild) Wait() (*os.ProcessState, error) { return nil, nil }

func (*noChild) Output() string { return "" }

func (*noChild) Hello() <-chan Hello { return nil }

func (*noChild) AskAdopt(context.Context, json.RawMessage) error { return nil }

func (*noChild) Replace() error { return nil }

func (*noChild) NotLast() error { return nil }

func (*noChild) Freeze() (worker.State, []*os.File, error) { return worker.State{}, nil, nil }

func (*noChild) Thaw() {}

func (*noChild) Final() {}

func (*noChild) Close() {}

// newProcess returns a worker that has executed its program.
func newProcess(t *testing.T) (*Supervisor, *process, *[]Event) {
	t.Helper()
	events := new([]Event)
	s := New(Spec{
		StartTimeout: time.Minute, StopTimeout: time.Second, Log: slog.New(slog.DiscardHandler),
		On: func(e Event) { *events = append(*events, e) },
	})
	p := s.newProcess()
	p.child, p.PID, p.state, p.timer = new(noChild), math.MaxInt32, starting, time.NewTimer(time.Hour)
	t.Cleanup(func() { p.timer.Stop() })
	s.last.Store(p)
	return s, p, events
}

// The report of a fork runs beside fork. If it came first, Known would read a process that is not
// recorded yet. The race detector sees that even if the report is late.
func TestAForkIsReportedWhenItIsRecorded(t *testing.T) {
	t.Parallel()
	s, _, _ := newProcess(t)
	p := s.newProcess()
	known := make(chan bool, 1)
	s.spec.On = func(Event) {
		_, ok := s.Known("")
		known <- ok
	}
	s.forking.Lock() // fork is not done
	go p.forked(math.MaxInt32)
	for range 1000 {
		runtime.Gosched()
		require.Empty(t, known)
	}
	p.child, p.PID = new(noChild), math.MaxInt32
	s.forking.Unlock()
	require.True(t, <-known)
}

func TestARequestForMoreTimeNeverShortensTheDeadline(t *testing.T) {
	t.Parallel()
	_, p, _ := newProcess(t)
	p.extend("1")
	require.Zero(t, p.deadline, "a ready worker has no deadline")
	p.setDeadline(time.Minute)
	due := p.deadline
	for _, less := range []string{"", "x", "-1", "0", "1000000", "99999999999999999999"} {
		p.extend(less)
		require.Equal(t, due, p.deadline, "%q", less)
	}
	p.extend("3600000000")
	require.WithinDuration(t, time.Now().Add(time.Hour+WorkerMargin), p.deadline, time.Minute)
}

func TestRequestsForMoreTimeAreLimitedDuringAStop(t *testing.T) {
	t.Parallel()
	s, p, _ := newProcess(t)
	say := func(text string) { s.received(sdnotify.Message{PID: p.PID, Text: text}) }
	say("EXTEND_TIMEOUT_USEC=3600000000")
	require.True(t, p.deadline.IsZero(), "a reload has no deadline")
	say("STOPPING=1")
	require.Equal(t, stopping, p.state)
	once := time.Until(p.deadline)
	last := p.stopBy
	for range 100 {
		say("STOPPING=1\nEXTEND_TIMEOUT_USEC=3600000000")
	}
	require.Equal(t, last, p.stopBy)
	require.False(t, p.deadline.After(last.Add(time.Second)))
	require.Greater(t, time.Until(p.deadline), 5*once, "the worker has got more time")
}

// FuzzWorker sends arbitrary messages. It checks that a worker is ready only after it has reported
// that.
func FuzzWorker(f *testing.F) {
	for _, said := range []string{
		"READY=1\nSTATUS=serves",
		"STATUS=warms up\x00RELOADING=1\nMONOTONIC_USEC=1\x00READY=1\nX_LIFECYCLE_ERROR=no",
		"X_LIFECYCLE_STATE={\"phase\":\"ready\",\"doing\":\"x\",\"last_reload\":{}}\x00X_LIFECYCLE_STATE=null\x00X_LIFECYCLE_STATE=[",
		"READY=1\x00RELOADING=1\x00X_LIFECYCLE_STATE={\"last_reload\":[1],\"last_reopen\":{\"began_monotonic_ns\":\"x\"}}\nREADY=1",
		"X_LIFECYCLE_FAILURE={\"error\":\"x\",\"panicked\":true}\x00X_LIFECYCLE_FAILURE=null\nREADY=1",
		"EXTEND_TIMEOUT_USEC=1\nEXTEND_TIMEOUT_USEC=99999999999999999999\nSTOPPING=1\x00READY=1",
		"FDSTORE=1\nFDNAME=a:b\x00FDSTOREREMOVE=1\nFDNAME=\x00WATCHDOG=1\x00WATCHDOG=trigger",
		"=\n\n\x00\x00READY",
		"X_LIFECYCLE_STATE={\"phase\":\"ready\",\"x\":" + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}\x00STATUS=" + strings.Repeat("x", 60_000),
		"STOPPING=1\x00EXTEND_TIMEOUT_USEC=3600000000\x00EXTEND_TIMEOUT_USEC=3600000000",
	} {
		f.Add(said)
	}
	f.Fuzz(func(t *testing.T, said string) {
		s, p, events := newProcess(t)
		saysReady := false
		for text := range strings.SplitSeq(said, "\x00") {
			m := sdnotify.Message{PID: p.PID, Text: text}
			_, is := m.Value("READY")
			saysReady = saysReady || is
			s.received(m)
			before := len(*events)
			s.received(sdnotify.Message{PID: 1, Text: "READY=1\nSTATUS=x"})
			require.Len(t, *events, before, "messages of another process cause no events")
		}
		require.True(t, saysReady || !isClosed(p.ready))
		require.LessOrEqual(t, len(p.failure), maxFailure)
		require.LessOrEqual(t, len(p.failed), maxError)
	})
}

// The supervisor may read READY=1 before or after the result of the exec.
func TestAWorkerThatIsReadyBeforeTheResultOfExecIsReady(t *testing.T) {
	t.Parallel()
	s, p, _ := newProcess(t)
	p.state = staged
	s.received(sdnotify.Message{PID: p.PID, Text: "READY=1"})
	require.True(t, isClosed(p.ready))
	p.handle(executed)
	require.Equal(t, ready, p.state)
}
