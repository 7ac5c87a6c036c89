package lifecycle

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// Row G11.
func TestOnStopThatNeverReturnsIsNamedAndTheOthersShareTheGracePeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var trace proctest.Lines
		b := traced(&trace, "b")
		b.OnStop = func(context.Context) error { <-release; return nil }
		v := live(t, serve, StopTimeout(8*time.Second), With(traced(&trace, "a")), With(b), With(traced(&trace, "c")))
		begun := time.Now()
		err := v.stopped()
		require.GreaterOrEqual(t, time.Since(begun), 8*time.Second)
		require.LessOrEqual(t, time.Since(begun), 10*time.Second, "the grace period is a quarter of StopTimeout")
		require.ErrorIs(t, err, ErrStopTimeout)
		require.EqualError(t, err, "lifecycle: OnStop of b: did not return in 8s")
		require.Contains(t, v.log.String(), "OnStop of b was abandoned")
		require.Contains(t, v.log.String(), "TestOnStop", "the stack names the function that hangs")
		require.Equal(t, []string{
			"OnStart a", "OnStart b", "OnStart c",
			"OnStop c", "OnStop a", "OnExit c", "OnExit b", "OnExit a",
		}, withoutRuns(&trace))
		close(release)
	})
}

func withoutRuns(trace *proctest.Lines) (kept []string) {
	for _, line := range trace.All() {
		if line[:3] != "Run" {
			kept = append(kept, line)
		}
	}
	return kept
}

func TestEveryHookIsCalledEvenIfAllHooksHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var trace proctest.Lines
		hang := func(say string) func(context.Context) error {
			return func(context.Context) error { trace.Say(say); <-release; return nil }
		}
		v := live(t, hang("fn"), StopTimeout(8*time.Second),
			With(Hooks{Name: "a", OnStop: hang("OnStop a"), OnExit: hang("OnExit a")}),
			With(Hooks{Name: "b", OnStop: hang("OnStop b"), OnExit: hang("OnExit b")}))
		time.Sleep(time.Second)
		begun := time.Now()
		err := v.stopped()
		require.LessOrEqual(t, time.Since(begun), 10*time.Second)
		require.Equal(t, []string{"fn", "OnStop b", "OnStop a", "OnExit b", "OnExit a"}, trace.All())
		for _, who := range []string{"Run of app", "OnStop of a", "OnStop of b", "OnExit of a", "OnExit of b"} {
			require.ErrorContains(t, err, "lifecycle: "+who)
		}
		close(release)
	})
}

// Row G15.
func TestFnThatIgnoresItsContextIsAbandonedAndOnExitStillRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var trace proctest.Lines
		v := live(t, func(context.Context) error { <-release; return nil }, StopTimeout(4*time.Second), With(traced(&trace, "a")))
		begun := time.Now()
		err := v.stopped()
		require.Equal(t, 4*time.Second, time.Since(begun))
		require.EqualError(t, err, "lifecycle: Run of app: did not return in 4s")
		require.ErrorIs(t, err, ErrStopTimeout)
		require.Contains(t, v.log.String(), "TestFn")
		require.Equal(t, 1, trace.Count("OnExit a"))
		close(release)
	})
}

func TestOnStopThatObeysItsContextIsNotAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, With(Hooks{Name: "http", OnStop: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}))
		begun := time.Now()
		err := v.stopped()
		require.Equal(t, 20*time.Second, time.Since(begun))
		require.ErrorIs(t, err, ErrStopTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotContains(t, v.log.String(), "abandoned")
	})
}

// Row G4.
func TestAPanicInOnStopIsReportedAndTheOtherHooksRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		v := live(t, serve, With(traced(&trace, "a")), With(Hooks{Name: "b", OnStop: panics, OnExit: fails}))
		err := v.stopped()
		var p *PanicError
		require.ErrorAs(t, err, &p)
		require.ErrorIs(t, err, errBoom)
		require.EqualError(t, err, "lifecycle: OnStop of b: panic: boom\nlifecycle: OnExit of b: boom")
		require.Equal(t, 70, ExitCode(err))
		require.Equal(t, 1, trace.Count("OnStop a"))
		require.Equal(t, 1, trace.Count("OnExit a"))
	})
}

func TestTheErrorsOfTheBodiesComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bodyError := WithExitCode(errors.New("body"), 9)
		v := live(t, func(context.Context) error { time.Sleep(time.Second); return bodyError },
			With(Hooks{Name: "a", OnExit: func(context.Context) error { return WithExitCode(errBoom, 8) }}))
		err := v.end()
		require.ErrorIs(t, err, bodyError)
		require.ErrorIs(t, err, errBoom)
		require.EqualError(t, err, "body\nlifecycle: OnExit of a: boom")
		require.Equal(t, 9, ExitCode(err))
	})
}

func TestAfterAStopCleanErrorsAreNoFailure(t *testing.T) {
	errClosed, errOther := errors.New("closed"), errors.New("other")
	for _, c := range []struct {
		returns error
		clean   bool
	}{
		{nil, true},
		{context.Canceled, true},
		{&HookError{Err: context.Canceled}, true},
		{errClosed, true},
		{&HookError{Err: errClosed}, true},
		{errOther, false},
		{context.DeadlineExceeded, false},
		{&PanicError{Value: context.Canceled}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			v := live(t, func(ctx context.Context) error { <-ctx.Done(); return c.returns }, CleanErrors(errClosed), CleanErrors(errBoom))
			err := v.stopped()
			if c.clean {
				require.NoError(t, err)
			} else {
				require.Equal(t, c.returns, err)
			}
		})
	}
}

func TestACleanErrorIsAFailureBeforeAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, fails, CleanErrors(errBoom))
		require.Equal(t, errBoom, v.end())
	})
}

func TestABodyMayReturnTheCauseOfAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.NoError(t, live(t, func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }).stopped())
	})
	synctest.Test(t, func(t *testing.T) {
		v := live(t, func(context.Context) error { time.Sleep(time.Second); return nil },
			With(Hooks{Run: func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }}))
		require.NoError(t, v.end())
	})
}

func TestDuringStopDelayTheBodiesServeButTheLifeIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told time.Time
		fn := func(ctx context.Context) error { <-ctx.Done(); told = time.Now(); return nil }
		v := live(t, fn, StopDelay(5*time.Second), OnStop(func(ctx context.Context) error {
			deadline, _ := ctx.Deadline()
			require.Equal(t, 15*time.Second, time.Until(deadline), "StopTimeout includes StopDelay")
			return nil
		}))
		time.Sleep(time.Second)
		begun := time.Now()
		v.send(syscall.SIGTERM)
		require.Equal(t, Stopping, v.phaseNow())
		require.NoError(t, v.end())
		require.Equal(t, 5*time.Second, told.Sub(begun))
	})
}

func TestStopDelayEndsWithTheLastBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, func(context.Context) error { time.Sleep(time.Hour); return nil }, StopDelay(5*time.Second))
		begun := time.Now()
		require.NoError(t, v.end())
		require.Equal(t, time.Hour, time.Since(begun), "no body serves, so StopDelay is over")
	})
}

func TestALifeThatWasNeverReadyDoesNotDelayItsStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, StopDelay(5*time.Second))
		begun := time.Now()
		require.NoError(t, v.stopped())
		require.Equal(t, begun, time.Now())
	})
}

func TestAHookThatExceededStopTimeoutHasFailedEvenIfItReturnsACleanError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, CleanErrors(errBoom), OnStop(func(ctx context.Context) error {
			<-ctx.Done()
			return errors.Join(context.Canceled, errBoom)
		}))
		require.ErrorIs(t, v.stopped(), ErrStopTimeout)
	})
}

func TestAStopWithoutALimitWaitsForEveryHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		month := 30 * 24 * time.Hour
		v := live(t, serve, StopTimeout(0), StopDelay(time.Minute), OnStop(func(ctx context.Context) error {
			_, limited := ctx.Deadline()
			require.True(t, !limited || ctx.Err() == nil)
			time.Sleep(month)
			return ctx.Err()
		}))
		begun := time.Now()
		require.NoError(t, v.stopped())
		require.GreaterOrEqual(t, time.Since(begun), month)
	})
}

func TestAReplacedWorkerStopsWithinDrainTimeoutAndWithoutStopDelay(t *testing.T) {
	for what, tt := range map[string]struct {
		opts  []Option
		limit time.Duration
	}{
		"DrainTimeout":            {[]Option{DrainTimeout(time.Minute)}, time.Minute},
		"StopTimeout, by default": {nil, 20 * time.Second},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var cause error
				var limit time.Duration
				begun := time.Now()
				stop := OnStop(func(ctx context.Context) error {
					deadline, _ := ctx.Deadline()
					limit = deadline.Sub(begun)
					<-ctx.Done()
					return nil
				})
				body := func(ctx context.Context) error {
					<-ctx.Done()
					cause = context.Cause(ctx)
					require.Equal(t, begun, time.Now(), "StopDelay does not apply")
					return nil
				}
				v := live(t, body, append(tt.opts, stop, OnStart(started), StopDelay(5*time.Second))...)
				begun = time.Now()
				v.on(stopRequest, ErrReplaced, nil)
				synctest.Wait()
				require.NoError(t, v.end())
				require.ErrorIs(t, cause, ErrReplaced)
				require.Equal(t, tt.limit, limit)
				require.Equal(t, tt.limit, time.Since(begun))
			})
		})
	}
}

func TestAStopThatHasBegunDoesNotChangeWhenAnotherWorkerReplacesThisOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cause error
		v := live(t, func(ctx context.Context) error { <-ctx.Done(); cause = context.Cause(ctx); return nil }, DrainTimeout(time.Hour))
		v.send(syscall.SIGTERM)
		v.on(stopRequest, ErrReplaced, nil)
		require.NoError(t, v.end())
		require.NotErrorIs(t, cause, ErrReplaced)
		require.Equal(t, 20*time.Second, v.stopTimeout())
	})
}
