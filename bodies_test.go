package lifecycle

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func TestEveryBeginsAfterOneIntervalAndOnlyWhileReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		count := func(context.Context) error { calls.Add(1); return nil }
		slowStart := func(context.Context) error { time.Sleep(10 * time.Second); return nil }
		v := live(t, serve, OnStart(slowStart), Every(time.Second, count), StopDelay(10*time.Second))
		time.Sleep(10*time.Second - 1)
		require.EqualValues(t, 0, calls.Load(), "not while starting")
		time.Sleep(time.Nanosecond)
		require.Equal(t, Ready, v.phaseNow())
		time.Sleep(time.Second - 1)
		require.EqualValues(t, 0, calls.Load(), "first after one interval")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.EqualValues(t, 1, calls.Load())
		time.Sleep(9 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 10, calls.Load())
		require.NoError(t, v.stopped())
		require.EqualValues(t, 10, calls.Load(), "not during StopDelay either")
	})
}

func TestEveryRunsConcurrentlyWithHooksButNotWithItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inside, most, calls atomic.Int32
		slow := func(context.Context) error {
			most.Store(max(most.Load(), inside.Add(1)))
			calls.Add(1)
			time.Sleep(2500 * time.Millisecond)
			inside.Add(-1)
			return nil
		}
		v := live(t, serve, OnStart(started), Every(time.Second, slow), OnReload(func(context.Context) error {
			time.Sleep(20 * time.Second)
			return nil
		}))
		v.send(syscall.SIGHUP)
		require.Equal(t, Reloading, v.phaseNow())
		time.Sleep(15 * time.Second)
		require.Equal(t, Reloading, v.phaseNow())
		require.GreaterOrEqual(t, calls.Load(), int32(4), "while an OnReload runs")
		require.EqualValues(t, 1, most.Load())
		time.Sleep(15 * time.Second)
		require.NoError(t, v.stopped())
		require.EqualValues(t, 0, inside.Load(), "the stop waits for f")
	})
}

func TestAnErrorOrPanicOfEveryIsLoggedAndEveryContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, OnStart(started), Every(time.Second, fails), Every(time.Second, panics))
		time.Sleep(3500 * time.Millisecond)
		require.Equal(t, 3, v.log.Count(`msg="Every(1s) of app failed" err=boom`))
		require.Equal(t, 3, v.log.Count(`msg="panic in Every(1s) of app"`))
		require.Equal(t, Ready, v.phaseNow())
		require.NoError(t, v.stopped())
	})
}

func TestEveryIsCancelledByAStopAndAbandonedAfterStopTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, OnStart(started), Every(time.Second, serve))
		time.Sleep(time.Second)
		require.NoError(t, v.stopped())
	})
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		v := live(t, serve, OnStart(started), Every(time.Second, func(context.Context) error { <-release; return nil }))
		time.Sleep(time.Second)
		err := v.stopped()
		require.ErrorIs(t, err, ErrStopTimeout)
		require.EqualError(t, err, "lifecycle: Every(1s) of app: did not return in 20s")
		require.Contains(t, v.log.String(), "TestEveryIsCancelled", "the stack names the function that hangs")
		close(release)
	})
}

func TestAPanicOfEveryDuringTheStopIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, OnStart(started), Every(time.Second, func(ctx context.Context) error { <-ctx.Done(); panic("boom") }))
		time.Sleep(time.Second)
		require.NoError(t, v.stopped())
		require.Equal(t, 1, v.log.Count("panic in Every(1s) of app"))
	})
}

// drained returns a component whose hooks check that the components in others still run.
func drained(t *testing.T, trace *proctest.Lines, name string, behind ...*Hooks) *Hooks {
	var own context.Context
	h := &Hooks{Name: name}
	h.OnStart = func(ctx context.Context) error { own = ctx; return nil }
	h.OnReload = func(context.Context) error { return own.Err() } // an error after the stop
	h.Run = func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(time.Second)
		for _, other := range behind {
			require.NoError(t, other.OnReload(ctx), "%s while %s works", other.Name, name)
		}
		require.Error(t, own.Err())
		require.Equal(t, context.Cause(own), context.Cause(ctx))
		trace.Say("Run " + name)
		return context.Cause(ctx)
	}
	h.OnStop = func(ctx context.Context) error {
		require.Error(t, own.Err(), "the context ends before OnStop")
		for _, other := range behind {
			require.NoError(t, other.OnReload(ctx), "%s at the OnStop of %s", other.Name, name)
		}
		trace.Say("OnStop " + name)
		return nil
	}
	h.OnExit = func(context.Context) error { trace.Say("OnExit " + name); return nil }
	return h
}

// Row G21.
func TestAStopWaitsForEachComponentBeforeItStopsTheEarlierOne(t *testing.T) {
	for how, embedded := range map[string][]Option{"process": nil, "embedded": {Embedded()}} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var trace proctest.Lines
				a := drained(t, &trace, "a")
				b := drained(t, &trace, "b", a)
				c := drained(t, &trace, "c", b, a)
				var asked context.Context
				onStop := c.OnStop
				c.OnStop = func(ctx context.Context) error {
					require.Error(t, asked.Err(), "fn is asked before all components")
					return onStop(ctx)
				}
				fn := func(ctx context.Context) error {
					asked = ctx
					<-ctx.Done()
					time.Sleep(time.Minute)
					trace.Say("fn")
					return nil
				}
				base, cancel := context.WithCancel(t.Context())
				v := live(t, fn, append(embedded, With(*a), With(*b), With(*c),
					BaseContext(base), StopTimeout(time.Hour), StopDelay(5*time.Second))...)
				time.Sleep(time.Minute)
				begun := time.Now()
				cancel()
				require.NoError(t, v.end())
				require.Equal(t, []string{
					"OnStop c", "Run c", "OnStop b", "Run b", "OnStop a", "Run a", "fn",
					"OnExit c", "OnExit b", "OnExit a",
				}, trace.All())
				require.Equal(t, 65*time.Second, time.Since(begun))
			})
		})
	}
}

func TestAFailedStartStopsComponentsInTheOrderOfAStop(t *testing.T) {
	for how, fail := range map[string]Option{"OnStart": With(Hooks{OnStart: fails}), "ReadyWhen": ReadyWhen(panics)} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var trace proctest.Lines
				a := drained(t, &trace, "a")
				b := drained(t, &trace, "b", a)
				v := live(t, nil, With(*a), With(*b), fail)
				require.Error(t, v.end())
				want := []string{"OnStop b", "Run b", "OnStop a", "Run a", "OnExit b", "OnExit a"}
				if how == "OnStart" {
					want = []string{"OnStop b", "OnStop a", "OnExit b", "OnExit a"} // no body was called
				}
				require.Equal(t, want, trace.All())
			})
		})
	}
}

func TestAStopDuringTheStartEndsOnlyTheContextOfTheRunningOnStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		a := drained(t, &trace, "a")
		v := live(t, nil, With(*a), With(Hooks{OnStart: func(ctx context.Context) error {
			From(ctx).Stop(errBoom)
			require.Error(t, ctx.Err(), "before Stop returns")
			require.NoError(t, a.OnReload(ctx))
			return nil
		}}))
		require.NoError(t, v.end())
		require.Equal(t, []string{"OnStop a", "OnExit a"}, trace.All())
	})
}

func TestAFailedOnStartEndsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var own context.Context
		v := live(t, nil, With(Hooks{OnStart: func(ctx context.Context) error { own = ctx; return errBoom }}))
		require.ErrorIs(t, v.end(), errBoom)
		require.ErrorIs(t, context.Cause(own), errBoom)
	})
}

func TestOnStopRunsInOrderEvenIfTheBodyHasReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		a := drained(t, &trace, "a")
		b := drained(t, &trace, "b", a)
		c := drained(t, &trace, "c", b, a)
		b.Run = func(context.Context) error { time.Sleep(time.Minute); return errBoom }
		var cause error
		v := live(t, func(ctx context.Context) error { <-ctx.Done(); cause = context.Cause(ctx); return nil }, With(*a), With(*b), With(*c))
		require.True(t, v.end() == errBoom, "unwrapped")
		require.ErrorIs(t, cause, ErrBodyReturned)
		require.Equal(t, []string{
			"OnStop c", "Run c", "OnStop b", "OnStop a", "Run a", "OnExit c", "OnExit b", "OnExit a",
		}, trace.All())
	})
}

// One component hangs in one hook or body. Only that one is abandoned. Every other hook and body
// still runs.
//
// Row G15.
func TestOnlyTheHookThatHangsDuringAStopIsAbandoned(t *testing.T) {
	steps := []string{
		"OnStop c", "Run c", "OnStop b", "Run b", "OnStop a", "Run a", "Run app",
		"OnExit c", "OnExit b", "OnExit a",
	}
	for _, hangs := range steps {
		t.Run(hangs, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				defer close(release)
				var trace proctest.Lines
				say := func(what string, takes time.Duration) error {
					if what == hangs {
						<-release
						return nil
					}
					time.Sleep(takes)
					trace.Say(what)
					return nil
				}
				hook := func(what string) func(context.Context) error {
					return func(context.Context) error { return say(what, 100*time.Millisecond) }
				}
				body := func(what string) func(context.Context) error {
					return func(ctx context.Context) error { <-ctx.Done(); return say(what, 200*time.Millisecond) }
				}
				var opts []Option
				for _, name := range []string{"a", "b", "c"} {
					opts = append(opts, With(Hooks{
						Name: name, Run: body("Run " + name), OnStop: hook("OnStop " + name), OnExit: hook("OnExit " + name),
					}))
				}
				v := live(t, body("Run app"), opts...)
				begun := time.Now()
				err := v.stopped()
				which, component, _ := strings.Cut(hangs, " ")
				require.EqualError(t, err, "lifecycle: "+which+" of "+component+": did not return in 20s")
				require.ErrorIs(t, err, ErrStopTimeout)
				require.Equal(t, 1, v.log.Count("was abandoned"))
				require.LessOrEqual(t, time.Since(begun), 25*time.Second)
				others := func(steps []string) []string { // Run of app may return during an OnStop
					return slices.DeleteFunc(steps, func(s string) bool { return s == hangs || s == "Run app" })
				}
				require.Equal(t, others(slices.Clone(steps)), others(trace.All()))
			})
		})
	}
}

func TestTheErrorOfABodyAbandonedInTheGracePeriodNamesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hang := func(context.Context) error { <-release; return nil }
		v := live(t, nil, With(Hooks{Name: "a", Run: hang}), With(Hooks{Name: "b", Run: hang}))
		require.EqualError(t, v.stopped(), "lifecycle: Run of a: did not return in 2.5s\nlifecycle: Run of b: did not return in 20s")
		close(release)
	})
}
