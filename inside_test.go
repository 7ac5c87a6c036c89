package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// visited is all that a life calls, each calling visit with where it is. The bodies then wait for their context.
func visited(visit func(where string, ctx context.Context) error) (fn func(context.Context) error, opts []Option) {
	at := func(where string) func(context.Context) error {
		return func(ctx context.Context) error { return visit(where, ctx) }
	}
	body := func(where string) func(context.Context) error {
		return func(ctx context.Context) error {
			err := visit(where, ctx)
			<-ctx.Done()
			return err
		}
	}
	return body("fn"), []Option{
		With(Hooks{
			Name: "a", OnCheck: at("OnCheck"), OnStart: at("OnStart"), Run: body("Run"),
			OnReload: at("OnReload"), OnStop: at("OnStop"), OnExit: at("OnExit"),
		}),
		ReadyWhen(at("ReadyWhen")), OnSignal(syscall.SIGUSR2, at("OnSignal")), Every(time.Minute, at("Every")),
	}
}

// visitAll leads the life through everything that it can call, up to its end.
func (v *lived) visitAll() error {
	time.Sleep(time.Second)
	v.send(syscall.SIGHUP)
	v.send(syscall.SIGUSR2)
	time.Sleep(time.Minute)
	return v.stopped()
}

func TestOutsideALifeThereIsNothingToDo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	life := From(ctx)
	require.NotNil(t, life)
	require.Equal(t, Exited, life.Phase())
	require.Equal(t, ctx, life.Grace())
	life.Stop(errBoom)
	life.Stop(nil)
	life.SetStatus("busy")
	require.NoError(t, life.Reload(ctx))
	require.NoError(t, ctx.Err())
	cancel()
	require.NoError(t, life.Reload(ctx))
	require.Error(t, life.Grace().Err())
	require.Equal(t, Exited, From(context.Background()).Phase())
}

func TestFromFindsTheLifeFromWhateverItCallsInThePhaseThatItIsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var mu sync.Mutex
		phases, lives := map[string]Phase{}, map[*life]bool{}
		var last *Life
		fn, opts := visited(func(where string, ctx context.Context) error {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(context.WithValue(ctx, key{}, where)), time.Second)
			defer cancel()
			mu.Lock()
			defer mu.Unlock()
			last = From(ctx)
			_, again := phases[where]
			phases[where] = last.Phase()
			lives[last.of] = true
			if where == "ReadyWhen" && !again {
				return errBoom // so that it is asked again when the bodies have been here
			}
			return nil
		})
		v := live(t, fn, opts...)
		require.NoError(t, v.visitAll())
		require.Equal(t, map[string]Phase{
			"OnStart": Starting, "Run": Starting, "fn": Starting, "ReadyWhen": Starting,
			"Every": Ready, "OnSignal": Ready, "OnCheck": Reloading, "OnReload": Reloading,
			"OnStop": Stopping, "OnExit": Stopping,
		}, phases)
		require.Equal(t, map[*life]bool{v.life: true}, lives)
		require.Equal(t, Exited, last.Phase())
	})
}

func TestTheRollbackOfAFailedStartIsAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		var inside *Life
		say := func(ctx context.Context) error {
			inside = From(ctx)
			trace.Say(fmt.Sprint(inside.Phase(), " ", inside.Grace().Err()))
			return nil
		}
		v := live(t, serve, With(Hooks{OnStart: say, OnStop: say, OnExit: say}), With(Hooks{OnStart: fails}))
		require.ErrorIs(t, v.end(), errBoom)
		require.Equal(t, []string{"starting <nil>", "stopping <nil>", "stopping <nil>"}, trace.All())
		require.Equal(t, Exited, inside.Phase())
		require.ErrorIs(t, inside.Grace().Err(), context.Canceled, "it ends with the life")
	})
}

func TestGraceHasTheValuesOfTheLifeAndOutlivesTheContextOfTheBodies(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		base, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		var trace proctest.Lines
		var work context.Context
		say := func(where string, ctx context.Context) error {
			work = From(ctx).Grace()
			trace.Say(fmt.Sprint(where, " ", work.Err(), " ", work.Value(key{})))
			return nil
		}
		hook := func(where string) func(context.Context) error {
			return func(ctx context.Context) error { return say(where, ctx) }
		}
		v := live(t, func(ctx context.Context) error {
			<-From(ctx).of.asked.Done()
			time.Sleep(time.Second)
			say("during StopDelay", ctx)
			<-ctx.Done()
			return say("after the end of ctx", ctx)
		}, BaseContext(base), OnStart(hook("OnStart")), StopDelay(5*time.Second), OnExit(hook("OnExit")),
			OnStop(func(ctx context.Context) error { synctest.Wait(); return say("OnStop", ctx) }))
		require.Equal(t, Ready, v.phaseNow())
		cancel()
		require.NoError(t, v.end())
		require.Equal(t, []string{
			"OnStart <nil> value", "during StopDelay <nil> value", "after the end of ctx <nil> value",
			"OnStop <nil> value", "OnExit <nil> value",
		}, trace.All())
		require.Equal(t, context.Canceled, context.Cause(work))
	})
}

func TestGraceEndsWhenStopTimeoutIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, begun := make(chan struct{}), make(chan struct{})
		var ended time.Time
		hang := func(ctx context.Context) error {
			work := From(ctx).Grace()
			context.AfterFunc(work, func() { ended = time.Now(); close(begun) })
			<-release
			require.ErrorIs(t, context.Cause(work), ErrStopTimeout)
			return nil
		}
		v := live(t, hang, OnStart(started), StopTimeout(8*time.Second), StopDelay(3*time.Second))
		time.Sleep(time.Hour)
		asked := time.Now()
		v.send(syscall.SIGTERM)
		<-begun
		require.Equal(t, 8*time.Second, ended.Sub(asked), "counted from when it was asked for, and not from when the delay was over")
		require.ErrorIs(t, v.end(), ErrStopTimeout)
		close(release)
		synctest.Wait()
	})
}

func TestWorkInHandCanBeFinishedBeforeABodyReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var result error
		v := live(t, func(ctx context.Context) error {
			worked := make(chan error)
			go func() {
				work, cancel := context.WithTimeoutCause(From(ctx).Grace(), 10*time.Second, errBoom)
				defer cancel()
				<-work.Done() // as if that were work of 10 s
				worked <- context.Cause(work)
			}()
			<-ctx.Done()
			result = <-worked
			return nil
		}, OnStart(started))
		time.Sleep(5 * time.Second)
		asked := time.Now()
		require.NoError(t, v.stopped())
		require.Equal(t, errBoom, result, "it took its own time, and was not cut short")
		require.Equal(t, 5*time.Second, time.Since(asked))
	})
}

func TestStopIsTheCauseForWhichTheBodiesEnd(t *testing.T) {
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
				require.NoError(t, v.end(), "it is no failure by itself")
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

func TestABodyThatReturnsTheReasonOfAStopWantsItToBeAFailure(t *testing.T) {
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
		require.NoError(t, v.end(), "no reason is no failure even then")
	})
}

func TestOfSeveralStopsTheFirstCounts(t *testing.T) {
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
		require.Equal(t, 1, n, "all bodies hear of the same")
		require.Equal(t, 1, v.log.Count("msg=stopping"))
	})
}

func TestStopFromWithinWhateverALifeCallsIsACleanEnd(t *testing.T) {
	for _, from := range []string{"OnStart", "ReadyWhen", "fn", "Run", "Every", "OnSignal", "OnCheck", "OnReload", "OnStop", "OnExit"} {
		t.Run(from, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var trace proctest.Lines
				fn, opts := visited(func(where string, ctx context.Context) error {
					if where == from {
						begun := time.Now()
						From(ctx).Stop(errBoom)
						require.Equal(t, begun, time.Now(), "it does not wait")
						require.Equal(t, Stopping, From(ctx).Phase())
						return ctx.Err() // nil where it is a stop already
					}
					return nil
				})
				v := live(t, fn, append(opts, With(traced(&trace, "last")))...)
				require.NoError(t, v.visitAll())
				if from == "OnStart" {
					require.Empty(t, trace.All(), "a component whose turn does not come")
					return
				}
				require.Equal(t, 1, trace.Count("OnStop last"))
				require.Equal(t, 1, trace.Count("OnExit last"))
			})
		})
	}
}

func TestAStopFromWithinOnStartCutsTheStartShort(t *testing.T) {
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

func TestAfterTheEndOfALifeNothingCanBeAskedOfIt(t *testing.T) {
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

func TestReloadReturnsTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		a, b := traced(&trace, "a"), traced(&trace, "b")
		var onCheck, onReload func(context.Context) error
		b.OnCheck = func(ctx context.Context) error { return onCheck(ctx) }
		b.OnReload = func(ctx context.Context) error { return onReload(ctx) }
		v := live(t, serve, With(a), With(b))
		inside := From(v.ctx)
		try := func(check, reload func(context.Context) error) error {
			onCheck, onReload = check, reload
			err := inside.Reload(t.Context())
			require.Equal(t, Ready, inside.Phase(), "it is over when the verdict is there")
			return err
		}
		failed := func(err error, hook, text string) {
			t.Helper()
			require.ErrorIs(t, err, ErrReload)
			var h *HookError
			require.ErrorAs(t, err, &h)
			require.Equal(t, []string{"b", hook}, []string{h.Component, h.Hook})
			require.EqualError(t, err, text)
		}

		require.NoError(t, try(started, started))
		require.Equal(t, 1, trace.Count("OnReload a"))

		err := try(fails, started)
		failed(err, "OnCheck", "lifecycle: OnCheck of b: boom")
		require.ErrorIs(t, err, errBoom)
		require.Equal(t, 1, trace.Count("OnReload a"), "nothing has changed")

		err = try(started, fails)
		failed(err, "OnReload", "lifecycle: OnReload of b: boom (applied before: a)")
		require.ErrorIs(t, err, errBoom)

		err = try(started, panics)
		failed(err, "OnReload", "lifecycle: OnReload of b: panic: boom (applied before: a)")
		var p *PanicError
		require.ErrorAs(t, err, &p)

		require.NoError(t, try(started, started), "and the next one has its own")
		require.NoError(t, v.stopped())
		require.Equal(t, 5, v.status().Reloads)
	})
}

func TestAReloadWithoutAnythingToReloadSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, OnStart(started))
		require.NoError(t, From(v.ctx).Reload(t.Context()))
		require.NoError(t, v.stopped())
	})
}

func TestReloadReturnsWhenAnOnReloadIsAbandonedAndFailsFromThenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		v := live(t, serve, OnStart(started), ReloadTimeout(8*time.Second), OnReload(func(context.Context) error { <-release; return nil }))
		begun := time.Now()
		err := From(v.ctx).Reload(t.Context())
		require.Equal(t, 10*time.Second, time.Since(begun))
		require.ErrorIs(t, err, ErrReload)
		require.EqualError(t, err, "lifecycle: OnReload of app: did not return in 8s")
		require.ErrorContains(t, From(v.ctx).Reload(t.Context()), "an earlier reload still runs")
		require.Equal(t, 10*time.Second, time.Since(begun))
		close(release)
		require.NoError(t, v.stopped())
	})
}

func TestBodiesAndWhatEveryRepeatsMayWaitForAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reloads atomic.Int32
		var verdicts [3]error
		body := func(at int) func(context.Context) error {
			return func(ctx context.Context) error {
				verdicts[at] = From(ctx).Reload(ctx)
				<-ctx.Done()
				return nil
			}
		}
		warm := time.Now().Add(time.Second)
		v := live(t, body(0), With(Hooks{Run: body(1)}), Every(time.Hour, body(2)),
			ReadyWhen(func(context.Context) error {
				if time.Now().Before(warm) {
					return errBoom
				}
				return nil
			}),
			OnReload(func(context.Context) error {
				if reloads.Add(1); reloads.Load() > 1 {
					return errBoom
				}
				return nil
			}))
		time.Sleep(time.Minute)
		require.EqualValues(t, 1, reloads.Load(), "one for both bodies, which asked before it was ready")
		time.Sleep(time.Hour)
		require.NoError(t, v.stopped())
		require.EqualValues(t, 2, reloads.Load())
		require.NoError(t, verdicts[0])
		require.NoError(t, verdicts[1])
		require.ErrorIs(t, verdicts[2], errBoom)
	})
}

func TestAHundredWhoAskDuringAReloadShareTheOneThatFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var reloads atomic.Int32
		v := live(t, serve, OnStart(started), OnReload(func(context.Context) error {
			if reloads.Add(1) == 1 {
				<-release
				return nil
			}
			return errBoom
		}))
		inside := From(v.ctx)
		first, others := make(chan error), make(chan error)
		go func() { first <- inside.Reload(t.Context()) }()
		require.Equal(t, Reloading, v.phaseNow())
		for range 100 {
			go func() { others <- inside.Reload(t.Context()) }()
		}
		synctest.Wait()
		close(release)
		require.NoError(t, <-first, "the verdict of the one that was its own")
		for range 100 {
			require.ErrorIs(t, <-others, errBoom, "and not of one that had begun before")
		}
		synctest.Wait()
		require.EqualValues(t, 2, reloads.Load())
		require.NoError(t, v.stopped())
	})
}

func TestAReloadDuringTheStartWaitsUntilTheLifeIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		verdict := make(chan error, 1)
		var took time.Duration
		early := Hooks{Name: "early", OnStart: func(ctx context.Context) error {
			go func() {
				time.Sleep(5 * time.Second) // this hook has returned, and the next one runs
				err := From(ctx).Reload(ctx)
				took = time.Since(begun)
				verdict <- err
			}()
			return nil
		}}
		late := Hooks{
			Name:     "late",
			OnStart:  func(context.Context) error { time.Sleep(10 * time.Second); return nil },
			OnReload: func(context.Context) error { time.Sleep(time.Second); return nil },
		}
		v := live(t, serve, With(early), With(late))
		require.NoError(t, <-verdict)
		require.Equal(t, 11*time.Second, took)
		require.NoError(t, v.stopped())
	})
}

func TestWhatAHookStartedMayReloadWhenTheHookHasReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		change, verdicts := make(chan struct{}), make(chan error)
		watch := func(ctx context.Context) error {
			go func() {
				for range change {
					verdicts <- From(ctx).Reload(ctx)
				}
			}()
			return nil
		}
		v := live(t, serve, OnStart(watch), OnReload(started))
		for range 3 {
			change <- struct{}{}
			require.NoError(t, <-verdicts)
		}
		close(change)
		require.Equal(t, 3, v.status().Reloads)
		require.NoError(t, v.stopped())
	})
}

func TestAHookThatAsksForAReloadIsToldAtOnceThatItCannotWaitForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		refused := map[string]int{}
		fn, opts := visited(func(where string, ctx context.Context) error {
			if where == "fn" || where == "Run" || where == "Every" {
				return nil
			}
			derived, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
			defer cancel()
			begun := time.Now()
			for how, err := range map[string]error{
				"its life, its context":      From(ctx).Reload(ctx),
				"its life, another context":  From(ctx).Reload(context.Background()),
				"the life by other means":    From(From(ctx).Grace()).Reload(ctx),
				"a context that was derived": From(derived).Reload(context.Background()),
			} {
				require.ErrorIs(t, err, ErrReload, "%s: %s", where, how)
				require.ErrorContains(t, err, " asks for a reload, and would wait for itself", "%s: %s", where, how)
				require.ErrorContains(t, err, where, how)
			}
			require.Equal(t, begun, time.Now())
			mu.Lock()
			defer mu.Unlock()
			refused[where]++
			return nil
		})
		v := live(t, fn, opts...)
		begun := time.Now()
		require.NoError(t, v.visitAll())
		require.Equal(t, 61*time.Second, time.Since(begun), "nobody waited for anybody")
		require.Equal(t, map[string]int{
			"OnStart": 1, "ReadyWhen": 1, "OnCheck": 1, "OnReload": 1, "OnSignal": 1, "OnStop": 1, "OnExit": 1,
		}, refused, "and none of them led to a reload")
	})
}

func TestAStopIsTheVerdictOfAReloadThatIsWaitedFor(t *testing.T) {
	stopsInstead := func(t *testing.T, err error) {
		t.Helper()
		require.ErrorIs(t, err, ErrReload)
		require.ErrorContains(t, err, "not reloaded, for it stops")
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
			require.ErrorIs(t, err, context.Canceled, "the one that ran was cut short")
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

func TestTheEndOfItsContextEndsTheWaitingForAReloadAndNotTheReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done bool
		v := live(t, serve, OnStart(started), OnReload(func(context.Context) error { time.Sleep(10 * time.Second); done = true; return nil }))
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errBoom)
		defer cancel()
		begun := time.Now()
		err := From(v.ctx).Reload(ctx)
		require.ErrorIs(t, err, errBoom, "the cause")
		require.NotErrorIs(t, err, ErrReload, "for whether it fails is not known")
		require.Equal(t, time.Second, time.Since(begun))
		time.Sleep(10 * time.Second)
		require.Equal(t, Ready, v.phaseNow())
		require.True(t, done)
		require.NoError(t, From(v.ctx).Reload(t.Context()), "who asks next is told nothing that was meant for another")
		require.NoError(t, v.stopped())
	})
}

func TestEveryoneWhoWaitsForAReloadIsTold(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) { // which fails where one waits forever
			random := rand.New(rand.NewPCG(seed, 0))
			v := live(t, serve, OnStart(started), Every(time.Millisecond, func(ctx context.Context) error { return From(ctx).Reload(ctx) }),
				OnReload(func(context.Context) error { time.Sleep(time.Duration(seed) * time.Millisecond); return nil }))
			inside := From(v.ctx)
			var all sync.WaitGroup
			for i := range 20 {
				pause := time.Duration(1+random.IntN(5)) * time.Millisecond
				all.Go(func() {
					for inside.Phase() < Stopping {
						inside.SetStatus(fmt.Sprint(i))
						time.Sleep(pause)
						if err := inside.Reload(context.Background()); err != nil {
							assert.ErrorIs(t, err, ErrReload)
							break
						}
					}
				})
			}
			time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
			inside.Stop(nil)
			require.NoError(t, v.end())
			all.Wait()
		})
	}
}

func TestStatusShowsWhatTheProgramSaysThatItIsDoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		shown := map[string]string{}
		fn, opts := visited(func(where string, ctx context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			From(ctx).SetStatus("before " + where)
			From(ctx).SetStatus("in " + where)
			shown[where] = From(ctx).of.status().Text
			return nil
		})
		v := live(t, fn, opts...)
		require.NoError(t, v.visitAll())
		require.Len(t, shown, 10)
		for where, text := range shown {
			require.Equal(t, "in "+where, text)
		}
		require.Equal(t, "in OnExit", v.status().Text, "until it says something else")
		From(v.ctx).SetStatus("")
		require.Empty(t, v.status().Text)
	})
}
