// Package lifecycletest runs a life of package lifecycle inside a test, without signals, files or a
// process of its own.
//
//	func TestReload(t *testing.T) {
//		life := lifecycletest.Start(t, serve, lifecycle.OnReload(load))
//		require.NoError(t, life.Reload())
//	}
//
// Any number of lives may run at once, also in parallel tests. Inside a bubble of testing/synctest,
// a test does not wait for deadlines. To test a start that fails, call [lifecycle.Run] with
// [lifecycle.Embedded] and check its error.
package lifecycletest

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/engine"
)

// Life is an embedded life in a test. Signal and Tick must be called from the goroutine of the
// test, because they may fail the test. All other methods may be called from any goroutine.
type Life struct {
	tb     testing.TB
	inside *lifecycle.Life
	engine engine.Engine
	over   chan struct{} // closed when Run has returned
	err    error         // the result of Run

	mu     sync.Mutex
	judged bool // the test has received the result of Run
}

// Start starts an embedded life with the arguments of [lifecycle.Run], and blocks until it is
// ready. If the life does not become ready, the test fails at once. Start registers a cleanup of
// the test that stops the life. The cleanup fails the test if Run returned an error that no call of
// Stop has returned to the test. The log of the life goes to the output of the test, unless opts
// contains a Logger.
func Start(tb testing.TB, fn func(ctx context.Context) error, opts ...lifecycle.Option) *Life {
	tb.Helper()
	l := &Life{tb: tb, over: make(chan struct{})}
	begun := make(chan context.Context, 1)
	body := func(ctx context.Context) error {
		begun <- ctx
		if fn == nil {
			<-ctx.Done()
			return nil
		}
		return fn(ctx)
	}
	log := lifecycle.Logger(slog.New(slog.NewTextHandler(tb.Output(), nil)))
	opts = slices.Concat([]lifecycle.Option{log}, opts, []lifecycle.Option{lifecycle.Embedded()})
	go func() {
		defer close(l.over)
		l.err = lifecycle.Run(body, opts...)
	}()
	select {
	case ctx := <-begun:
		l.find(ctx)
	case <-l.over:
		select {
		case ctx := <-begun: // select may choose either if both are ready
			l.find(ctx)
		default:
			tb.Fatalf("lifecycletest: the start failed: %v", l.why())
		}
	}
	tb.Cleanup(l.cleanup)
	select {
	case <-l.engine.Ready():
	case <-l.over:
		select {
		case <-l.engine.Ready():
		default:
			l.judge()
			tb.Fatalf("lifecycletest: the life ended before it was ready: %v", l.why())
		}
	}
	return l
}

func (l *Life) find(ctx context.Context) {
	l.inside = lifecycle.From(ctx)
	l.engine = ctx.Value(engine.Key{}).(engine.Engine)
}

// why returns the error of a failed start.
func (l *Life) why() error { return cmp.Or(l.err, errors.New("stopped before it was ready")) }

func (l *Life) cleanup() {
	l.tb.Helper()
	l.inside.Stop(nil)
	<-l.over
	if l.judge() && l.err != nil {
		l.tb.Errorf("lifecycletest: the life ended with an error: %v", l.err)
	}
}

// judge reports whether this is the first use of the result of Run.
func (l *Life) judge() (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, l.judged = !l.judged, true
	return first
}

// Stop stops the life, unless it has already ended. Stop blocks until Run has returned, and returns
// the result of Run.
func (l *Life) Stop() error {
	l.inside.Stop(nil)
	<-l.over
	l.judge()
	return l.err
}

// Reload makes the life reload, as HUP does. It blocks until it has the verdict and returns the
// verdict; see [lifecycle.Life.Reload].
func (l *Life) Reload() error { return l.inside.Reload(context.Background()) }

// Signal makes the life react as a daemon reacts to sig. It does not wait for that reaction, and
// the process of the test receives no signal. The test fails if the life does not handle sig,
// because sig could end a daemon.
func (l *Life) Signal(sig os.Signal) {
	l.tb.Helper()
	if !l.engine.Deliver(sig) {
		l.tb.Errorf("lifecycletest: the life does not handle %v, and no OnSignal does", sig)
	}
}

// Tick calls the functions of [lifecycle.Every] with that interval, for example "1m", as if the
// interval had passed. The name "" means all functions. Tick calls one function after the other,
// blocks until they have returned, and returns their errors, joined. The test fails if there is no
// such function.
func (l *Life) Tick(name string) error {
	l.tb.Helper()
	called, err := l.engine.Tick(context.Background(), name)
	if called == 0 {
		l.tb.Errorf("lifecycletest: there is no Every function with the interval %q", name)
	}
	return err
}

// Phase returns the phase of the life.
func (l *Life) Phase() lifecycle.Phase { return l.inside.Phase() }

// Done returns a channel that is closed when Run has returned.
func (l *Life) Done() <-chan struct{} { return l.over }
