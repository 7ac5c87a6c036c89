package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func TestTheReasonOfStopIsTheCauseInAllBodies(t *testing.T) {
	for reason, check := range map[error]func(t *testing.T, cause error){
		errBoom: func(t *testing.T, cause error) { require.True(t, cause == errBoom, "the very error") },
		nil:     func(t *testing.T, cause error) { require.ErrorIs(t, cause, context.Canceled) },
	} {
		t.Run(fmt.Sprint(reason), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var causes sync.Map
				note := func(where string) func(context.Context) error {
					return func(ctx context.Context) error {
						<-ctx.Done()
						causes.Store(where, context.Cause(ctx))
						return ctx.Err()
					}
				}
				var inside *Life
				v := live(t, note("fn"), With(Hooks{Run: note("Run")}), Every(time.Minute, note("Every")),
					OnStart(func(ctx context.Context) error { inside = From(ctx); return nil }))
				time.Sleep(time.Minute)
				synctest.Wait()
				inside.Stop(reason)
				require.NoError(t, v.end(), "the reason alone is no failure")
				for _, where := range []string{"fn", "Run", "Every"} {
					cause, _ := causes.Load(where)
					require.NotNil(t, cause, where)
					check(t, cause.(error))
				}
				require.Equal(t, 1, v.log.Count("msg=stopping"))
			})
		})
	}
}

func TestTheReasonOfAStopIsAFailureIfABodyReturnsIt(t *testing.T) {
	returns := map[string]func(context.Context) error{
		"nil":   func(context.Context) error { return nil },
		"err":   func(ctx context.Context) error { return ctx.Err() },
		"cause": context.Cause,
	}
	for what, want := range map[string]error{"nil": nil, "err": nil, "cause": errBoom} {
		synctest.Test(t, func(t *testing.T) {
			v := live(t, func(ctx context.Context) error {
				From(ctx).Stop(errBoom)
				<-ctx.Done()
				return returns[what](ctx)
			})
			require.Equal(t, want, v.end(), what)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		v := live(t, func(ctx context.Context) error { From(ctx).Stop(nil); <-ctx.Done(); return context.Cause(ctx) })
		require.NoError(t, v.end(), "a stop without a reason is never a failure")
	})
}

func TestOnlyTheFirstStopHasAnEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cause error
		v := live(t, func(ctx context.Context) error {
			From(ctx).Stop(errBoom)
			From(ctx).Stop(errors.New("another"))
			From(ctx).Stop(nil)
			<-ctx.Done()
			cause = context.Cause(ctx)
			return nil
		})
		require.NoError(t, v.stopped())
		require.Equal(t, errBoom, cause)
	})
	synctest.Test(t, func(t *testing.T) {
		var cause error
		v := live(t, func(ctx context.Context) error { <-ctx.Done(); cause = context.Cause(ctx); return nil },
			OnStop(func(ctx context.Context) error { From(ctx).Stop(errBoom); return nil }),
			OnExit(func(ctx context.Context) error { From(ctx).Stop(errBoom); return nil }))
		require.NoError(t, v.stopped())
		require.IsType(t, &StopSignalError{}, cause)
	})
	synctest.Test(t, func(t *testing.T) {
		var causes sync.Map
		note := func(ctx context.Context) error { <-ctx.Done(); causes.Store(context.Cause(ctx), true); return nil }
		v := live(t, func(ctx context.Context) error {
			for i := range 100 {
				go From(ctx).Stop(fmt.Errorf("reason %d", i))
			}
			return note(ctx)
		}, With(Hooks{Run: note}), With(Hooks{Run: note}))
		require.NoError(t, v.end())
		n := 0
		causes.Range(func(any, any) bool { n++; return true })
		require.Equal(t, 1, n, "all bodies have the same cause")
		require.Equal(t, 1, v.log.Count("msg=stopping"))
	})
}

func TestStopFromAnyHookOrBodyIsACleanEnd(t *testing.T) {
	for _, from := range []string{"OnStart", "ReadyWhen", "fn", "Run", "Every", "OnSignal", "OnCheck", "OnReload", "OnStop", "OnExit"} {
		t.Run(from, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var trace proctest.Lines
				fn, opts := visited(func(where string, ctx context.Context) error {
					if where == from {
						begun := time.Now()
						From(ctx).Stop(errBoom)
						require.Equal(t, begun, time.Now(), "Stop does not wait")
						require.Equal(t, Stopping, From(ctx).Phase())
						return ctx.Err() // nil if the life is stopping already
					}
					return nil
				})
				v := live(t, fn, append(opts, With(traced(&trace, "last")))...)
				require.NoError(t, v.visitAll())
				if from == "OnStart" {
					require.Empty(t, trace.All(), "the component is not started")
					return
				}
				require.Equal(t, 1, trace.Count("OnStop last"))
				require.Equal(t, 1, trace.Count("OnExit last"))
			})
		})
	}
}

func TestAStopInOnStartEndsTheStart(t *testing.T) {
	for what, returns := range map[string]func(context.Context) error{
		"nil": started, "err": func(ctx context.Context) error { return ctx.Err() }, "cause": context.Cause,
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				never := func(context.Context) error { t.Error("called"); return nil }
				var trace proctest.Lines
				b := Hooks{Name: "b", OnStart: func(ctx context.Context) error {
					From(ctx).Stop(errBoom)
					<-ctx.Done()
					require.Equal(t, errBoom, context.Cause(ctx))
					return returns(ctx)
				}, OnStop: func(context.Context) error { trace.Say("OnStop b"); return nil }}
				v := live(t, never, With(traced(&trace, "a")), With(b), With(Hooks{OnStart: never, OnStop: never, Run: never}))
				err := v.end()
				if what == "cause" {
					require.EqualError(t, err, "lifecycle: OnStart of b: boom")
				} else {
					require.NoError(t, err)
				}
				require.False(t, v.wasReady())
				want := []string{"OnStart a", "OnStop a", "OnExit a"}
				if what == "nil" {
					want = []string{"OnStart a", "OnStop b", "OnStop a", "OnExit a"}
				}
				require.Equal(t, want, trace.All())
			})
		})
	}
}

func TestTheMethodsOfAnEndedLifeHaveNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inside *Life
		v := live(t, serve, OnStart(func(ctx context.Context) error { inside = From(ctx); return nil }), OnReload(fails))
		require.NoError(t, v.stopped())
		before := v.log.String()
		inside.Stop(errBoom)
		begun := time.Now()
		require.ErrorIs(t, inside.Reload(context.Background()), ErrReload)
		require.Equal(t, begun, time.Now())
		synctest.Wait()
		require.IsType(t, &StopSignalError{}, context.Cause(v.ctx))
		require.Equal(t, Exited, inside.Phase())
		require.Equal(t, before, v.log.String())
	})
}

func TestAStopFailsTheReloadsForWhichCallersWait(t *testing.T) {
	stopsInstead := func(t *testing.T, err error) {
		t.Helper()
		require.ErrorIs(t, err, ErrReload)
		require.ErrorContains(t, err, "not reloaded: the daemon is stopping")
	}
	t.Run("during the start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			verdict := make(chan error, 1)
			ask := func(ctx context.Context) error { verdict <- From(ctx).Reload(context.Background()); return nil }
			v := live(t, ask, ReadyWhen(fails), StartTimeout(time.Minute))
			time.Sleep(time.Second)
			begun := time.Now()
			v.send(syscall.SIGTERM)
			stopsInstead(t, <-verdict)
			require.NoError(t, v.end())
			require.Equal(t, begun, time.Now())
		})
	})
	t.Run("a start that fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			verdict := make(chan error, 1)
			ask := func(ctx context.Context) error { verdict <- From(ctx).Reload(context.Background()); return nil }
			v := live(t, ask, ReadyWhen(fails), StartTimeout(time.Minute))
			stopsInstead(t, <-verdict)
			require.ErrorIs(t, v.end(), ErrStartTimeout)
		})
	})
	t.Run("behind another", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := live(t, serve, OnStart(started), OnReload(serve))
			first, second := make(chan error), make(chan error)
			go func() { first <- From(v.ctx).Reload(context.Background()) }()
			synctest.Wait()
			go func() { second <- From(v.ctx).Reload(context.Background()) }()
			begun := time.Now()
			v.send(syscall.SIGTERM)
			err := <-first
			require.ErrorIs(t, err, ErrReload)
			require.ErrorIs(t, err, context.Canceled, "the stop ended the running reload")
			stopsInstead(t, <-second)
			require.NoError(t, v.end())
			require.Equal(t, begun, time.Now())
		})
	})
	t.Run("at once when the stop has begun", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := live(t, serve, OnStart(started), StopDelay(time.Second),
				OnStop(func(context.Context) error { time.Sleep(time.Second); return nil }))
			v.send(syscall.SIGTERM)
			for range 2 { // in StopDelay, and in OnStop
				begun := time.Now()
				stopsInstead(t, From(v.ctx).Reload(context.Background()))
				require.Equal(t, begun, time.Now())
				time.Sleep(1500 * time.Millisecond)
			}
			require.NoError(t, v.end())
		})
	})
}
