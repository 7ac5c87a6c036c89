package lifecycletest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/lifecycletest"
)

var errBoom = errors.New("boom")

func nothing(context.Context) error { return nil }

func fails(context.Context) error { return errBoom }

func waits(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// judged is a test under test, which may fail.
type judged struct {
	testing.TB // the test that it is a part of

	failures []string
	fatal    bool
	cleanups []func()
	output   lines
}

// judge runs test as go test would, with its cleanups.
func judge(t *testing.T, test func(tb testing.TB)) *judged {
	t.Helper()
	j := &judged{TB: t}
	run := func(f func()) {
		done := make(chan struct{})
		go func() { // FailNow ends its goroutine
			defer close(done)
			f()
		}()
		<-done
	}
	run(func() { test(j) })
	for i := len(j.cleanups) - 1; i >= 0; i-- {
		run(j.cleanups[i])
	}
	return j
}

func (j *judged) Helper() {}

func (j *judged) Cleanup(f func()) { j.cleanups = append(j.cleanups, f) }

func (j *judged) Output() io.Writer { return &j.output }

func (j *judged) Errorf(format string, args ...any) {
	j.failures = append(j.failures, fmt.Sprintf(format, args...))
}

func (j *judged) Fatalf(format string, args ...any) {
	j.Errorf(format, args...)
	j.fatal = true
	runtime.Goexit()
}

// passes requires that the test has passed.
func (j *judged) passes(t *testing.T) {
	t.Helper()
	require.Empty(t, j.failures)
}

// failsOnce requires that the test has failed for this one reason, and checks whether it failed at
// once.
func (j *judged) failsOnce(t *testing.T, fatal bool, text string) {
	t.Helper()
	require.Len(t, j.failures, 1)
	require.Contains(t, j.failures[0], text)
	require.Equal(t, fatal, j.fatal, "at once")
}

func TestTheExamplePasses(t *testing.T) { testGreeter(t) }

func TestStartReturnsWhenTheLifeIsReadyAndTheTestStopsItAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		say := func(what string, slow time.Duration) func(context.Context) error {
			return func(context.Context) error { time.Sleep(slow); order = append(order, what); return nil }
		}
		var life *lifecycletest.Life
		judge(t, func(tb testing.TB) {
			tb.Cleanup(func() { order = append(order, "what was there before") })
			begun := time.Now()
			life = lifecycletest.Start(tb, nil, lifecycle.OnStart(say("OnStart", time.Second)),
				lifecycle.ReadyWhen(say("ReadyWhen", time.Second)), lifecycle.OnExit(say("OnExit", time.Second)))
			require.Equal(t, 2*time.Second, time.Since(begun))
			require.Equal(t, lifecycle.Ready, life.Phase())
			tb.Cleanup(func() { order = append(order, "what came behind") })
			order = append(order, "the test")
		}).passes(t)
		<-life.Done()
		require.Equal(t, lifecycle.Exited, life.Phase())
		require.Equal(t, []string{"OnStart", "ReadyWhen", "the test", "what came behind", "OnExit", "what was there before"}, order)
	})
}

func TestTheBodyIsThatOfTheProgram(t *testing.T) {
	type key struct{}
	base := context.WithValue(t.Context(), key{}, "value")
	got := make(chan any, 1)
	life := lifecycletest.Start(t, func(ctx context.Context) error {
		got <- ctx.Value(key{})
		<-ctx.Done()
		return fmt.Errorf("closed: %w", io.EOF)
	}, lifecycle.OnStart(nothing), lifecycle.BaseContext(base), lifecycle.CleanErrors(io.EOF))
	require.Equal(t, "value", <-got)
	require.NoError(t, life.Stop())
}

func TestALifeThatWasNotCleanFailsTheTest(t *testing.T) {
	for name, c := range map[string]struct {
		fn   func(context.Context) error
		opts []lifecycle.Option
		text string
	}{
		"fn":          {func(ctx context.Context) error { <-ctx.Done(); return errBoom }, nil, "boom"},
		"OnStop":      {nil, []lifecycle.Option{lifecycle.OnStop(fails)}, "lifecycle: OnStop of app: boom"},
		"OnExit":      {nil, []lifecycle.Option{lifecycle.OnExit(fails)}, "lifecycle: OnExit of app: boom"},
		"panic":       {nil, []lifecycle.Option{lifecycle.OnExit(func(context.Context) error { panic("boom") })}, "lifecycle: OnExit of app: panic: boom"},
		"StopTimeout": {nil, []lifecycle.Option{lifecycle.OnStop(waits)}, "lifecycle: OnStop of app: did not return in 20s"},
		"by itself":   {func(context.Context) error { time.Sleep(time.Hour); return errBoom }, nil, "boom"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				judge(t, func(tb testing.TB) {
					life := lifecycletest.Start(tb, c.fn, append(c.opts, lifecycle.Name("app"))...)
					if name == "by itself" {
						<-life.Done()
					}
				}).failsOnce(t, false, "lifecycletest: the life ended with an error: "+c.text)
			})
		})
	}
}

func TestAnErrorThatStopHasReturnedDoesNotFailTheTestAgain(t *testing.T) {
	judge(t, func(tb testing.TB) {
		life := lifecycletest.Start(tb, nil, lifecycle.OnStart(nothing), lifecycle.OnExit(fails))
		require.ErrorIs(t, life.Stop(), errBoom)
		require.ErrorIs(t, life.Stop(), errBoom, "however often it is asked for")
	}).passes(t)

	synctest.Test(t, func(t *testing.T) {
		judge(t, func(tb testing.TB) {
			life := lifecycletest.Start(tb, func(context.Context) error { time.Sleep(time.Hour); return errBoom })
			<-life.Done()
			require.Equal(t, errBoom, life.Stop(), "of a life that has ended by itself, too")
		}).passes(t)
	})
}

func TestStopMayBeCalledByAnyNumberAtOnce(t *testing.T) {
	life := lifecycletest.Start(t, nil, lifecycle.OnStart(nothing), lifecycle.OnExit(fails))
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { assert.ErrorIs(t, life.Stop(), errBoom) })
	}
	all.Wait()
}

func TestALifeThatDoesNotBecomeReadyFailsTheTestAtOnce(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	soon := func(err error) func(context.Context) error {
		return func(context.Context) error { time.Sleep(time.Second); return err }
	}
	for name, c := range map[string]struct {
		fn    func(context.Context) error
		opts  []lifecycle.Option
		text  string
		cause string
	}{
		"OnStart fails":       {waits, []lifecycle.Option{lifecycle.OnStart(fails)}, "the start failed: ", "lifecycle: OnStart of app: boom"},
		"OnStart hangs":       {waits, []lifecycle.Option{lifecycle.OnStart(waits)}, "the start failed: ", "lifecycle: OnStart of app: did not return in 60s"},
		"a wrong option":      {waits, []lifecycle.Option{lifecycle.ReadyWhen(nil)}, "the start failed: ", "lifecycle: wrong option: ReadyWhen(nil)"},
		"BaseContext is over": {waits, []lifecycle.Option{lifecycle.BaseContext(ended)}, "the start failed: ", "stopped before it was ready"},
		"never ready":         {waits, []lifecycle.Option{lifecycle.ReadyWhen(fails)}, "the life ended before it was ready: ", "lifecycle: ReadyWhen of app: not ready after 60s: boom"},
		"fn fails too soon":   {soon(errBoom), []lifecycle.Option{lifecycle.ReadyWhen(fails)}, "the life ended before it was ready: ", "boom"},
		"fn returns too soon": {soon(nil), []lifecycle.Option{lifecycle.ReadyWhen(fails)}, "the life ended before it was ready: ", ""},
		"and it is not clean": {waits, []lifecycle.Option{lifecycle.ReadyWhen(fails), lifecycle.OnExit(fails)}, "the life ended before it was ready: ", "lifecycle: OnExit of app: boom"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				verdict := judge(t, func(tb testing.TB) {
					lifecycletest.Start(tb, c.fn, append(c.opts, lifecycle.Name("app"))...)
					assert.Fail(t, "the test goes on")
				})
				verdict.failsOnce(t, true, "lifecycletest: "+c.text)
				verdict.failsOnce(t, true, c.cause)
			})
		})
	}
}

func TestSignalDoesWhatThatSignalDoesToADaemon(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		synctest.Test(t, func(t *testing.T) {
			var cause error
			life := lifecycletest.Start(t, func(ctx context.Context) error { <-ctx.Done(); cause = context.Cause(ctx); return nil })
			life.Signal(sig)
			<-life.Done()
			require.Equal(t, &lifecycle.StopSignalError{Signal: sig}, cause)
			life.Signal(sig)
			require.NoError(t, life.Stop(), "one after the end does nothing")
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var calls lines
		say := func(what string) func(context.Context) error {
			return func(context.Context) error { fmt.Fprintln(&calls, what); time.Sleep(time.Second); return nil }
		}
		life := lifecycletest.Start(t, nil, lifecycle.OnReload(say("OnReload")), lifecycle.OnSignal(syscall.SIGUSR2, say("OnSignal")),
			lifecycle.OnSignal(syscall.SIGWINCH, nil), lifecycle.Logger(slog.New(slog.NewTextHandler(&calls, nil))))
		happened := func(sig os.Signal) string {
			time.Sleep(time.Minute)
			calls.reset()
			life.Signal(sig)
			synctest.Wait()
			return calls.String()
		}
		require.Equal(t, "OnReload\n", happened(syscall.SIGHUP))
		require.Equal(t, lifecycle.Reloading, life.Phase(), "it did not wait for that")
		require.Equal(t, "OnSignal\n", happened(syscall.SIGUSR2))
		require.Contains(t, happened(syscall.SIGUSR1), "nothing to reopen")
		require.Empty(t, happened(syscall.SIGWINCH), "nil ignores it")
		require.Equal(t, lifecycle.Ready, life.Phase())
	})
}

func TestASignalThatTheProgramDoesNotKnowFailsTheTest(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGUSR2, syscall.SIGQUIT, syscall.SIGKILL} {
		judge(t, func(tb testing.TB) {
			life := lifecycletest.Start(tb, nil, lifecycle.OnStart(nothing), lifecycle.OnSignal(syscall.SIGWINCH, nothing))
			life.Signal(sig)
			assert.Equal(t, lifecycle.Ready, life.Phase())
			assert.NoError(t, life.Stop())
		}).failsOnce(t, false, fmt.Sprintf("lifecycletest: the life does not handle %v", sig))
	}
}

func TestReloadReturnsTheVerdict(t *testing.T) {
	var verdict error
	reload := func(context.Context) error { return verdict }
	life := lifecycletest.Start(t, nil, lifecycle.With(lifecycle.Hooks{Name: "db", OnStart: nothing, OnReload: reload}))
	require.NoError(t, life.Reload())

	verdict = errBoom
	err := life.Reload()
	require.ErrorIs(t, err, lifecycle.ErrReload)
	require.ErrorIs(t, err, errBoom)
	var failed *lifecycle.HookError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, lifecycle.HookError{Component: "db", Hook: "OnReload", Err: errBoom}, *failed)

	verdict = nil
	require.NoError(t, life.Reload(), "it goes on")
	require.NoError(t, life.Stop())
	require.ErrorIs(t, life.Reload(), lifecycle.ErrReload, "for it has ended")
}

func TestTickCallsWhatEveryWasGivenByTheNameOfItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls lines
		say := func(what string, err error) func(context.Context) error {
			return func(context.Context) error { fmt.Fprint(&calls, what, " "); return err }
		}
		life := lifecycletest.Start(t, nil, lifecycle.OnStart(nothing),
			lifecycle.Every(time.Minute, say("a", nil)),
			lifecycle.Every(90*time.Second, say("b", errBoom)),
			lifecycle.Every(60*time.Second, say("c", nil)),
			lifecycle.Every(24*time.Hour, func(context.Context) error { panic("oh") }))
		ticks := func(name string) (called string, err error) {
			calls.reset()
			err = life.Tick(name)
			return calls.String(), err
		}
		for _, name := range []string{"1m", "1m0s", "60s"} {
			called, err := ticks(name)
			require.NoError(t, err)
			require.Equal(t, "a c ", called, "both of them, in the order given")
		}
		called, err := ticks("1m30s")
		require.Equal(t, "b ", called)
		require.ErrorIs(t, err, errBoom)

		_, err = ticks("24h")
		var p *lifecycle.PanicError
		require.ErrorAs(t, err, &p)
		require.Equal(t, "oh", p.Value)
		require.Contains(t, string(p.Stack), "TestTickCalls")

		called, err = ticks("")
		require.Equal(t, "a b c ", called, "all of them")
		require.ErrorIs(t, err, errBoom)
		require.ErrorAs(t, err, &p)
		require.Equal(t, lifecycle.Ready, life.Phase(), "what goes wrong in them does no harm")
	})
}

func TestATickThatNoneHasFailsTheTest(t *testing.T) {
	for name, opts := range map[string][]lifecycle.Option{
		"1h": {lifecycle.Every(time.Minute, nothing)}, "minute": {lifecycle.Every(time.Minute, nothing)}, "": nil,
	} {
		judge(t, func(tb testing.TB) {
			life := lifecycletest.Start(tb, nil, append(opts, lifecycle.OnStart(nothing))...)
			assert.NoError(t, life.Tick(name))
		}).failsOnce(t, false, fmt.Sprintf("lifecycletest: there is no Every function with the interval %q", name))
	}
}

// s     60         65          70                  80
// own    [ the ticker's call ]
// Tick             asked       [ its own call ]    returns
func TestATickWaitsForACallThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inside, most, calls atomic.Int32
		life := lifecycletest.Start(t, nil, lifecycle.OnStart(nothing), lifecycle.Every(time.Minute, func(context.Context) error {
			calls.Add(1)
			most.Store(max(most.Load(), inside.Add(1)))
			time.Sleep(10 * time.Second)
			inside.Add(-1)
			return nil
		}))
		begun := time.Now()
		time.Sleep(65 * time.Second)
		require.EqualValues(t, 1, calls.Load(), "in a bubble the interval itself works, too")
		require.NoError(t, life.Tick("1m"))
		require.Equal(t, 80*time.Second, time.Since(begun))
		require.EqualValues(t, 2, calls.Load())

		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { assert.NoError(t, life.Tick("")) })
		}
		all.Wait()
		require.Equal(t, 110*time.Second, time.Since(begun))
		require.EqualValues(t, 1, most.Load(), "never beside itself")
	})
}

func TestATickDoesNotWaitForALifeThatStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life := lifecycletest.Start(t, nil, lifecycle.OnStart(nothing), lifecycle.Every(time.Minute, nothing))
		require.NoError(t, life.Stop())
		require.ErrorContains(t, life.Tick("1m"), "the life is stopping")
	})
	synctest.Test(t, func(t *testing.T) {
		life := lifecycletest.Start(t, nil, lifecycle.OnStart(nothing), lifecycle.Every(time.Minute, waits))
		tick := make(chan error)
		go func() { tick <- life.Tick("1m") }()
		synctest.Wait()
		require.NoError(t, life.Stop())
		require.ErrorIs(t, <-tick, context.Canceled, "what the function returned")
	})
}

func TestTheLogIsInTheOutputOfTheTestUnlessThereIsALogger(t *testing.T) {
	life := func(opts ...lifecycle.Option) func(tb testing.TB) {
		return func(tb testing.TB) { lifecycletest.Start(tb, nil, append(opts, lifecycle.OnStart(nothing))...) }
	}
	j := judge(t, life())
	j.passes(t)
	require.Contains(t, j.output.String(), "msg=ready")
	require.Contains(t, j.output.String(), "msg=stopped")

	var own lines
	j = judge(t, life(lifecycle.Logger(slog.New(slog.NewTextHandler(&own, nil)))))
	j.passes(t)
	require.Contains(t, own.String(), "msg=ready")
	require.Empty(t, j.output.String())
}

func TestParallelTestsHaveALifeEach(t *testing.T) {
	for i := range 10 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			var reloads atomic.Int32
			life := lifecycletest.Start(t, nil, lifecycle.OnStart(nothing), lifecycle.PIDFile("the same.pid"),
				lifecycle.OnReload(func(context.Context) error { reloads.Add(1); return nil }))
			for range i {
				require.NoError(t, life.Reload())
			}
			life.Signal(syscall.SIGTERM)
			<-life.Done()
			require.EqualValues(t, i, reloads.Load(), "none of another's")
			require.NoFileExists(t, "the same.pid")
		})
	}
}

func TestInABubbleAnHourTakesNoTime(t *testing.T) {
	begun := time.Now()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		life := lifecycletest.Start(t, func(context.Context) error { <-release; return nil }, lifecycle.Name("app"),
			lifecycle.StopTimeout(time.Hour))
		begun := time.Now()
		err := life.Stop()
		require.ErrorIs(t, err, lifecycle.ErrStopTimeout)
		require.EqualError(t, err, "lifecycle: Run of app: did not return in 3600s")
		require.Equal(t, time.Hour, time.Since(begun))
	})
	require.Less(t, time.Since(begun), time.Hour)
}

// lines collects what any goroutine writes.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}
