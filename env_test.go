package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// The tests of the life run in this process, in a synctest bubble. The clock of the bubble makes
// deadlines exact, and the bubble fails if a goroutine remains. A real signal cannot reach a
// bubble, so a testHost delivers signals.

// testHost implements env. It delivers signals and records exits.
type testHost struct {
	mu     sync.Mutex
	heard  map[os.Signal][]chan<- os.Signal
	hungUp bool
	exited []int
}

func (h *testHost) notify(c chan<- os.Signal, sig os.Signal) func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard[sig] = append(h.heard[sig], c)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.heard[sig] = slices.DeleteFunc(h.heard[sig], func(other chan<- os.Signal) bool { return other == c })
	}
}

func (h *testHost) terminal() func() bool {
	return func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.hungUp
	}
}

func (h *testHost) exit(code int) {
	h.mu.Lock()
	h.exited = append(h.exited, code)
	h.mu.Unlock()
	runtime.Goexit() // because os.Exit does not return
}

func (h *testHost) exits() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.exited)
}

// listeners returns the number of channels that receive each signal.
func (h *testHost) listeners() map[os.Signal]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := map[os.Signal]int{}
	for sig, channels := range h.heard {
		n[sig] = len(channels)
	}
	return n
}

// send delivers a signal as os/signal does: a full channel loses it.
func (h *testHost) send(sig os.Signal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.heard[sig] {
		select {
		case c <- sig:
		default:
		}
	}
}

// lived is a life under test.
type lived struct {
	*life
	t     *testing.T
	host  *testHost
	log   *proctest.Lines
	trace *proctest.Lines // the lines of the hooks of traced
	done  chan struct{}
	err   error // the result of run, set when done is closed
}

// live starts a life without PID file in the bubble of the test.
func live(t *testing.T, fn func(context.Context) error, opts ...Option) *lived {
	t.Helper()
	v := &lived{
		t: t, host: &testHost{heard: map[os.Signal][]chan<- os.Signal{}},
		log: &proctest.Lines{}, trace: &proctest.Lines{}, done: make(chan struct{}),
	}
	opts = append([]Option{
		Name("app"), PIDFile(""), Logger(slog.New(slog.NewTextHandler(v.log, nil))),
		option(func(c *plan) { c.env = v.host }),
	}, opts...)
	var err error
	v.life, err = newLife(fn, opts)
	require.NoError(t, err)
	go func() {
		defer close(v.done)
		v.err = runHere(v.life)
	}()
	synctest.Wait()
	return v
}

// send delivers a signal. It waits until every goroutine of the bubble is blocked again.
func (v *lived) send(sig os.Signal) {
	synctest.Wait()
	v.host.send(sig)
	synctest.Wait()
}

func (v *lived) phaseNow() Phase {
	synctest.Wait()
	return v.snapshot().Phase
}

// end waits until the life is over and returns the result of Run.
func (v *lived) end() error {
	<-v.done
	return v.err
}

// stopped sends TERM and waits for the end.
func (v *lived) stopped() error {
	v.send(syscall.SIGTERM)
	return v.end()
}

// traced returns a component whose hooks only record that they ran, such as "OnStart a".
func traced(trace *proctest.Lines, name string) Hooks {
	say := func(hook string) func(context.Context) error {
		return func(context.Context) error { trace.Say(hook + " " + name); return nil }
	}
	return Hooks{
		Name: name, OnCheck: say("OnCheck"), OnStart: say("OnStart"), OnReload: say("OnReload"),
		OnStop: say("OnStop"), OnExit: say("OnExit"),
		Run: func(ctx context.Context) error {
			trace.Say("Run " + name)
			<-ctx.Done()
			return nil
		},
	}
}

func serve(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

var errBoom = errors.New("boom")

func fails(context.Context) error { return errBoom }

func panics(context.Context) error { panic("boom") }

func TestMain(m *testing.M) { proctest.Main(m, InDaemon()) }
