package lifecycle

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func TestAFailedOnStartRollsBackTheStartedComponents(t *testing.T) {
	for how, bad := range map[string]func(context.Context) error{"error": fails, "G2 panic": panics} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var trace proctest.Lines
				c := traced(&trace, "c")
				c.OnStart = bad
				v := live(t, fails, With(traced(&trace, "a")), With(traced(&trace, "b")), With(c), With(traced(&trace, "d")))
				err := v.end()
				var h *HookError
				require.ErrorAs(t, err, &h)
				require.Equal(t, "c", h.Component)
				require.Equal(t, "OnStart", h.Hook)
				require.Equal(t, []string{"OnStart a", "OnStart b", "OnStop b", "OnStop a", "OnExit b", "OnExit a"}, trace.All())
				require.False(t, v.wasReady())
			})
		})
	}
}

// Row G2.
func TestAPanicInOnStartFailsTheStartWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, With(Hooks{Name: "db", OnStart: panics, OnStop: fails, OnExit: fails}))
		err := v.end()
		var p *PanicError
		require.ErrorAs(t, err, &p)
		require.Equal(t, "boom", p.Value)
		require.Contains(t, string(p.Stack), "lifecycle.panics")
		require.Equal(t, 70, ExitCode(err))
		require.EqualError(t, err, "lifecycle: OnStart of db: panic: boom")
		require.Contains(t, v.log.String(), "panic in OnStart of db")
	})
}

func TestTheRollbackHasItsOwnContextAndTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		check := func(ctx context.Context) error {
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			require.Equal(t, 20*time.Second, time.Until(deadline))
			return ctx.Err()
		}
		v := live(t, serve, With(Hooks{OnStop: check, OnExit: check}), With(Hooks{OnStart: serve}), StartTimeout(time.Minute))
		require.ErrorIs(t, v.end(), ErrStartTimeout)
	})
}

// Row G10.
func TestOnStartThatNeverReturnsIsAbandonedAndNamedWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		begun := time.Now()
		var trace proctest.Lines
		v := live(t, serve, With(traced(&trace, "a")), StartTimeout(8*time.Second),
			With(Hooks{
				Name:    "db",
				OnStart: func(context.Context) error { <-release; return nil },
				OnStop:  fails, OnExit: fails, // an abandoned component was not started
			}))
		err := v.end()
		require.Equal(t, 10*time.Second, time.Since(begun), "8 s, and a quarter of that in which the hook could still return")
		require.ErrorIs(t, err, ErrStartTimeout)
		require.EqualError(t, err, "lifecycle: OnStart of db: did not return in 8s")
		require.Contains(t, v.log.String(), "OnStart of db was abandoned")
		require.Contains(t, v.log.String(), "TestOnStart", "the stack names the function that hangs")
		require.Equal(t, []string{"OnStart a", "OnStop a", "OnExit a"}, trace.All())
		close(release)
	})
}

func TestOnStartThatObeysItsContextIsNotAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cause error
		v := live(t, serve, StartTimeout(8*time.Second), With(Hooks{Name: "db", OnStart: func(ctx context.Context) error {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return errBoom
		}}))
		begun := time.Now()
		err := v.end()
		require.Equal(t, 8*time.Second, time.Since(begun))
		require.ErrorIs(t, err, ErrStartTimeout)
		require.ErrorIs(t, err, errBoom)
		require.ErrorIs(t, cause, ErrStartTimeout)
		require.EqualError(t, err, "lifecycle: OnStart of db: did not return in 8s, then returned: boom")
		require.NotContains(t, v.log.String(), "abandoned")
	})
}

func TestAComponentWhoseOnStartSucceedsTooLateIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		late := traced(&trace, "late")
		late.OnStart = func(context.Context) error { time.Sleep(9 * time.Second); return nil }
		v := live(t, serve, StartTimeout(8*time.Second), With(late))
		require.ErrorIs(t, v.end(), ErrStartTimeout)
		require.Equal(t, []string{"OnStop late", "OnExit late"}, trace.All())
	})
}

func TestTheContextOfOnStartLastsUntilTheStopOfTheComponent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var started context.Context
		var trace proctest.Lines
		fn := func(ctx context.Context) error { <-ctx.Done(); trace.Say("told"); return nil }
		v := live(t, fn, StopDelay(5*time.Second), OnStart(func(ctx context.Context) error { started = ctx; return nil }))
		time.Sleep(2 * time.Hour) // much longer than StartTimeout
		require.NoError(t, started.Err())
		v.send(syscall.SIGTERM)
		require.NoError(t, started.Err(), "StopDelay is not over")
		require.NoError(t, v.end())
		require.ErrorIs(t, started.Err(), context.Canceled)
		var by *StopSignalError
		require.ErrorAs(t, context.Cause(started), &by)
		require.Equal(t, syscall.SIGTERM, by.Signal)
	})
}

// Row A4.
func TestAStopDuringOnStartRollsBackAndIsClean(t *testing.T) {
	for how, returns := range map[string]func(context.Context) error{
		"its error":       func(ctx context.Context) error { return ctx.Err() },
		"the cause":       func(ctx context.Context) error { return context.Cause(ctx) },
		"nil, it is done": func(context.Context) error { return nil },
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var trace proctest.Lines
				b := traced(&trace, "b")
				b.OnStart = func(ctx context.Context) error { <-ctx.Done(); return returns(ctx) }
				v := live(t, panics, With(traced(&trace, "a")), With(b), With(traced(&trace, "c")))
				require.NoError(t, v.stopped())
				want := []string{"OnStart a", "OnStop a", "OnExit a"}
				if how == "nil, it is done" {
					want = []string{"OnStart a", "OnStop b", "OnStop a", "OnExit b", "OnExit a"}
				}
				require.Equal(t, want, trace.All())
				require.False(t, v.wasReady())
			})
		})
	}
}

func TestAStopWaitsForAnOnStartUntilStopTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var trace proctest.Lines
		v := live(t, serve, With(traced(&trace, "a")), With(Hooks{Name: "db", OnStart: func(context.Context) error { <-release; return nil }}))
		time.Sleep(time.Second)
		begun := time.Now()
		err := v.stopped()
		require.Equal(t, 20*time.Second, time.Since(begun))
		require.ErrorIs(t, err, ErrStopTimeout)
		require.Equal(t, []string{"OnStart a", "OnStop a", "OnExit a"}, trace.All(), "in the grace period")
		close(release)
	})
}

func TestReadyWhenIsCalledUntilItReturnsNil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		v := live(t, serve, ReadyWhen(func(context.Context) error {
			if asked.Add(1) < 5 {
				return errBoom
			}
			return nil
		}))
		require.Equal(t, Starting, v.phaseNow())
		time.Sleep(4 * askAgain)
		require.Equal(t, Ready, v.phaseNow())
		require.EqualValues(t, 5, asked.Load())
		require.NoError(t, v.stopped())
	})
}

func TestAReadyWhenThatNeverReturnsNilFailsTheStart(t *testing.T) {
	for how, f := range map[string]func(context.Context) error{
		"returns an error": fails,
		"blocks":           func(ctx context.Context) error { <-ctx.Done(); return errBoom },
	} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var trace proctest.Lines
				v := live(t, serve, With(traced(&trace, "a")), ReadyWhen(f))
				begun := time.Now()
				err := v.end()
				require.Equal(t, 60*time.Second, time.Since(begun))
				require.ErrorIs(t, err, ErrStartTimeout)
				require.ErrorIs(t, err, errBoom)
				require.Equal(t, 1, trace.Count("OnExit a"))
			})
		})
	}
}

func TestReadyWhenThatPanicsFailsTheStartAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p *PanicError
		require.ErrorAs(t, live(t, serve, ReadyWhen(panics)).end(), &p)
	})
}

func TestReadyWhenIsCalledAfterTheBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan struct{})
		fn := func(ctx context.Context) error { close(answers); return serve(ctx) }
		v := live(t, fn, OnStart(func(context.Context) error { return nil }), ReadyWhen(func(context.Context) error { <-answers; return nil }))
		require.Equal(t, Ready, v.phaseNow())
		require.NoError(t, v.stopped())
	})
}

func TestAStopDuringReadyWhenIsClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		v := live(t, serve, With(traced(&trace, "a")), ReadyWhen(func(ctx context.Context) error {
			<-ctx.Done()
			return errors.New("not ready")
		}))
		require.NoError(t, v.stopped())
		require.False(t, v.wasReady())
		require.Equal(t, 1, trace.Count("OnExit a"))
	})
}

func TestAReadyWhenThatReturnsNilTooLateFailsTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, StartTimeout(8*time.Second), ReadyWhen(func(context.Context) error { time.Sleep(9 * time.Second); return nil }))
		err := v.end()
		require.ErrorIs(t, err, ErrStartTimeout)
		require.EqualError(t, err, "lifecycle: ReadyWhen of app: not ready after 8s")
		require.False(t, v.wasReady())
	})
}

func TestTheErrorOfALateReadyWhenContainsItsLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		v := live(t, serve, ReadyWhen(func(ctx context.Context) error {
			if calls.Add(1) <= 3 {
				return errBoom
			}
			<-ctx.Done()
			return ctx.Err()
		}))
		require.EqualError(t, v.end(), "lifecycle: ReadyWhen of app: not ready after 60s: boom")
		require.EqualValues(t, 4, calls.Load())
	})
}

func TestAReadyWhenThatNeverReturnsIsAbandonedAndReportedAlsoAtAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		v := live(t, serve, ReadyWhen(func(context.Context) error { <-release; return nil }))
		err := v.stopped()
		require.ErrorIs(t, err, ErrStopTimeout)
		require.EqualError(t, err, "lifecycle: ReadyWhen of app: did not return in 20s")
		close(release)
	})
}

func TestAStopIsLoggedAtOnceEvenIfAHookDelaysIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, With(Hooks{Name: "db", OnStart: func(context.Context) error { time.Sleep(10 * time.Second); return nil }}))
		v.send(syscall.SIGTERM)
		require.Contains(t, v.log.String(), `msg=stopping reason="stopped by signal: terminated"`)
		require.NoError(t, v.end())
		require.Equal(t, 1, v.log.Count("msg=stopping"))
	})
}
