package lifecycletest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/lifecycletest"
)

var errBoom = errors.New("boom")

func nothing(context.Context) error { return nil }

func fails(context.Context) error { return errBoom }

func waits(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestTheExamplePasses(t *testing.T) { testGreeter(t) }

func TestStartReturnsAReadyLifeThatEndsWithTheTest(t *testing.T) {
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

func TestStartRunsTheBodyOfTheProgram(t *testing.T) {
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

func TestALifeThatEndsWithAnErrorFailsTheTest(t *testing.T) {
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
		"before Stop": {func(context.Context) error { time.Sleep(time.Hour); return errBoom }, nil, "boom"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				judge(t, func(tb testing.TB) {
					life := lifecycletest.Start(tb, c.fn, append(c.opts, lifecycle.Name("app"))...)
					if name == "before Stop" {
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
		require.ErrorIs(t, life.Stop(), errBoom, "at every call")
	}).passes(t)

	synctest.Test(t, func(t *testing.T) {
		judge(t, func(tb testing.TB) {
			life := lifecycletest.Start(tb, func(context.Context) error { time.Sleep(time.Hour); return errBoom })
			<-life.Done()
			require.Equal(t, errBoom, life.Stop(), "also of a life that had already ended")
		}).passes(t)
	})
}

func TestStopMayBeCalledConcurrently(t *testing.T) {
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
					assert.Fail(t, "the test continues")
				})
				verdict.failsOnce(t, true, "lifecycletest: "+c.text)
				verdict.failsOnce(t, true, c.cause)
			})
		})
	}
}

func TestSignalHasTheEffectThatItHasOnADaemon(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		synctest.Test(t, func(t *testing.T) {
			var cause error
			life := lifecycletest.Start(t, func(ctx context.Context) error { <-ctx.Done(); cause = context.Cause(ctx); return nil })
			life.Signal(sig)
			<-life.Done()
			require.Equal(t, &lifecycle.StopSignalError{Signal: sig}, cause)
			life.Signal(sig)
			require.NoError(t, life.Stop(), "a signal after the end does nothing")
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var calls proctest.Lines
		say := func(what string) func(context.Context) error {
			return func(context.Context) error { fmt.Fprintln(&calls, what); time.Sleep(time.Second); return nil }
		}
		life := lifecycletest.Start(t, nil, lifecycle.OnReload(say("OnReload")), lifecycle.OnSignal(syscall.SIGUSR2, say("OnSignal")),
			lifecycle.OnSignal(syscall.SIGWINCH, nil), lifecycle.Logger(slog.New(slog.NewTextHandler(&calls, nil))))
		happened := func(sig os.Signal) string {
			time.Sleep(time.Minute)
			calls.Reset()
			life.Signal(sig)
			synctest.Wait()
			return calls.String()
		}
		require.Equal(t, "OnReload\n", happened(syscall.SIGHUP))
		require.Equal(t, lifecycle.Reloading, life.Phase(), "Signal does not wait for the reload")
		require.Equal(t, "OnSignal\n", happened(syscall.SIGUSR2))
		require.Contains(t, happened(syscall.SIGUSR1), "nothing to reopen")
		require.Empty(t, happened(syscall.SIGWINCH), "nil ignores it")
		require.Equal(t, lifecycle.Ready, life.Phase())
	})
}

func TestAnUnhandledSignalFailsTheTest(t *testing.T) {
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
	require.NoError(t, life.Reload(), "the life continues")
	require.NoError(t, life.Stop())
	require.ErrorIs(t, life.Reload(), lifecycle.ErrReload, "because the life has ended")
}

func TestTheLogGoesToTheTestUnlessThereIsALogger(t *testing.T) {
	life := func(opts ...lifecycle.Option) func(tb testing.TB) {
		return func(tb testing.TB) { lifecycletest.Start(tb, nil, append(opts, lifecycle.OnStart(nothing))...) }
	}
	j := judge(t, life())
	j.passes(t)
	require.Contains(t, j.output.String(), "msg=ready")
	require.Contains(t, j.output.String(), "msg=stopped")

	var own proctest.Lines
	j = judge(t, life(lifecycle.Logger(slog.New(slog.NewTextHandler(&own, nil)))))
	j.passes(t)
	require.Contains(t, own.String(), "msg=ready")
	require.Empty(t, j.output.String())
}

func TestParallelTestsHaveSeparateLives(t *testing.T) {
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
			require.EqualValues(t, i, reloads.Load(), "no reload of another life")
			require.NoFileExists(t, "the same.pid")
		})
	}
}

func TestInASynctestBubbleAnHourTakesNoTime(t *testing.T) {
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
