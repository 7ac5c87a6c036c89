package e2e

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// errand is a call that blocks until a daemon has done something, in a goroutine of its own.
type errand struct {
	t      *testing.T
	cancel context.CancelCauseFunc
	waits  chan struct{} // closed when it begins to wait
	done   chan struct{} // closed when it has returned
	err    error         // what it returned
}

func goOff(t *testing.T, do func(context.Context) error) *errand {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	e := &errand{t: t, cancel: cancel, waits: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(e.done)
		e.err = do(&watchedContext{Context: ctx, watched: e.waits})
	}()
	t.Cleanup(func() {
		cancel(nil)
		<-e.done
	})
	return e
}

// sendOff is goOff, and returns when the errand waits for the daemon: what it had to look at and to send before, it has.
func sendOff(t *testing.T, do func(context.Context) error) *errand {
	t.Helper()
	e := goOff(t, do)
	select {
	case <-e.waits:
	case <-e.done:
	case <-time.After(proctest.Patience):
		t.Fatal("it neither waits nor returns")
	}
	return e
}

// requireWaits requires that it has not returned yet.
func (e *errand) requireWaits() {
	e.t.Helper()
	select {
	case <-e.done:
		e.t.Fatalf("it does not wait, but has returned: %v", e.err)
	default:
	}
}

// wait returns what it returned.
func (e *errand) wait() error {
	e.t.Helper()
	select {
	case <-e.done:
	case <-time.After(proctest.Patience):
		e.t.Fatal("it does not return")
	}
	return e.err
}

// watchedContext tells when somebody begins to wait for its end.
type watchedContext struct {
	context.Context
	once    sync.Once
	watched chan struct{}
}

func (c *watchedContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.watched) })
	return c.Context.Done()
}

// mustFind is Find. The test closes what it finds.
func mustFind(t *testing.T, path string) *lifecycle.Process {
	t.Helper()
	found, err := lifecycle.Find(path)
	require.NoError(t, err)
	t.Cleanup(func() { found.Close() })
	return found
}

// ended is a context that has.
func ended(t *testing.T, cause error) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	return ctx
}

var errEnough = errors.New("enough")

func requireRuns(t *testing.T, p *proctest.Process) {
	t.Helper()
	select {
	case <-p.Done:
		t.Fatalf("pid %d %v has ended: %v; it wrote:\n%s", p.PID(), p.Cmd.Args, p.Cmd.ProcessState, p.Out)
	default:
	}
}

// replace puts another file in the place of the one at path.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", content, 0o644))
	require.NoError(t, os.Rename(path+".new", path))
}
