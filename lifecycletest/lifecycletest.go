// Package lifecycletest is for the tests of programs that embed package lifecycle: it runs the real engine inside the test, without signals,
// files or a process of its own.
//
//	func TestReload(t *testing.T) {
//		life := lifecycletest.Start(t, serve, lifecycle.OnReload(load))
//		require.NoError(t, life.Reload())
//	}
//
// Any number of lives may run at once and in parallel, and inside a bubble of testing/synctest, where deadlines cost no time. A start that
// is to fail is tested with [lifecycle.Run] and [lifecycle.Embedded], which return its error.
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

// Life is an embedded life in a test. Its methods may be called from any goroutine, but those that fail the test only from that of the test.
type Life struct {
	tb     testing.TB
	inside *lifecycle.Life
	engine engine.Engine
	over   chan struct{} // closed when Run has returned
	err    error         // what it returned

	mu     sync.Mutex
	judged bool // the test has been told what Run returned
}

// Start starts a life as [lifecycle.Run] does with the same arguments, embedded, and returns when it is ready. The life ends with the test,
// at its cleanup, if it has not ended before. The test fails at once where the life does not become ready, and at its end where what Run
// returned is an error that no call of Stop has returned to the test. What the life logs goes to the output of the test, unless there is
// a Logger among opts.
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
		case ctx := <-begun: // both were there to choose from
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

// why is what Run returned to a start that has failed.
func (l *Life) why() error { return cmp.Or(l.err, errors.New("stopped before it was ready")) }

func (l *Life) cleanup() {
	l.tb.Helper()
	l.inside.Stop(nil)
	<-l.over
	if l.judge() && l.err != nil {
		l.tb.Errorf("lifecycletest: the life was not clean: %v", l.err)
	}
}

// judge says whether this is the first time that somebody asks for what Run returned.
func (l *Life) judge() (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, l.judged = !l.judged, true
	return first
}

// Stop stops the life, if it has not ended by itself, and returns what Run returned. It blocks until then.
func (l *Life) Stop() error {
	l.inside.Stop(nil)
	<-l.over
	l.judge()
	return l.err
}

// Reload reloads, as HUP does, and returns the verdict; see [lifecycle.Life.Reload].
func (l *Life) Reload() error { return l.inside.Reload(context.Background()) }

// Signal does what that signal does to a daemon, and does not wait for what comes of it. One that the daemon does not know fails the
// test, for it could have ended its process. The signal does not reach the process of the test.
func (l *Life) Signal(sig os.Signal) {
	l.tb.Helper()
	if !l.engine.Deliver(sig) {
		l.tb.Errorf("lifecycletest: %v is not for the life, nor is there an OnSignal for it", sig)
	}
}

// Tick calls what was given to [lifecycle.Every] with that interval ("1m") as if it had passed, and returns its error. "" is all of them, one
// after the other. It blocks until they have returned; a name that none has fails the test.
func (l *Life) Tick(name string) error {
	l.tb.Helper()
	called, err := l.engine.Tick(context.Background(), name)
	if called == 0 {
		l.tb.Errorf("lifecycletest: no function was given to Every with the interval %q", name)
	}
	return err
}

// Phase returns the phase in which the life is.
func (l *Life) Phase() lifecycle.Phase { return l.inside.Phase() }

// Done is closed when the life has ended.
func (l *Life) Done() <-chan struct{} { return l.over }
