package lifecycle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

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
			require.Equal(t, Ready, inside.Phase(), "the reload is over when Reload returns")
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

		require.NoError(t, try(started, started), "the next reload has its own verdict")
		require.NoError(t, v.stopped())
		require.Equal(t, 5, v.snapshot().Reloads)
	})
}

func TestAReloadWithoutAnythingToReloadSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, OnStart(started))
		require.NoError(t, From(v.ctx).Reload(t.Context()))
		require.NoError(t, v.stopped())
	})
}

func TestReloadFailsAfterAnOnReloadWasAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		v := live(t, serve, OnStart(started), ReloadTimeout(8*time.Second), OnReload(func(context.Context) error { <-release; return nil }))
		begun := time.Now()
		err := From(v.ctx).Reload(t.Context())
		require.Equal(t, 10*time.Second, time.Since(begun))
		require.ErrorIs(t, err, ErrReload)
		require.EqualError(t, err, "lifecycle: OnReload of app: did not return in 8s")
		require.ErrorContains(t, From(v.ctx).Reload(t.Context()), "an earlier reload is still running")
		require.Equal(t, 10*time.Second, time.Since(begun))
		close(release)
		require.NoError(t, v.stopped())
	})
}

func TestBodiesAndEveryMayWaitForAReload(t *testing.T) {
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
		require.EqualValues(t, 1, reloads.Load(), "one reload for both bodies, because both asked before the life was ready")
		time.Sleep(time.Hour)
		require.NoError(t, v.stopped())
		require.EqualValues(t, 2, reloads.Load())
		require.NoError(t, verdicts[0])
		require.NoError(t, verdicts[1])
		require.ErrorIs(t, verdicts[2], errBoom)
	})
}

func TestAHundredRequestsDuringAReloadCauseOneMoreReload(t *testing.T) {
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
		require.NoError(t, <-first, "the verdict of the reload that it requested")
		for range 100 {
			require.ErrorIs(t, <-others, errBoom, "not the verdict of the reload that had begun before")
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

func TestAGoroutineOfAHookMayReloadAfterTheHookHasReturned(t *testing.T) {
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
		require.Equal(t, 3, v.snapshot().Reloads)
		require.NoError(t, v.stopped())
	})
}

func TestReloadInsideAHookReturnsAnErrorAtOnce(t *testing.T) {
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
				require.ErrorContains(t, err, ", which the reload would wait for", "%s: %s", where, how)
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
		require.Equal(t, 61*time.Second, time.Since(begun), "no call waited")
		require.Equal(t, map[string]int{
			"OnStart": 1, "ReadyWhen": 1, "OnCheck": 1, "OnReload": 1, "OnSignal": 1, "OnStop": 1, "OnExit": 1,
		}, refused, "and no call caused a reload")
	})
}

func TestTheEndOfTheContextEndsTheWaitButNotTheReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var done bool
		v := live(t, serve, OnStart(started), OnReload(func(context.Context) error { time.Sleep(10 * time.Second); done = true; return nil }))
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errBoom)
		defer cancel()
		begun := time.Now()
		err := From(v.ctx).Reload(ctx)
		require.ErrorIs(t, err, errBoom, "the cause")
		require.NotErrorIs(t, err, ErrReload, "because the reload has not failed yet")
		require.Equal(t, time.Second, time.Since(begun))
		time.Sleep(10 * time.Second)
		require.Equal(t, Ready, v.phaseNow())
		require.True(t, done)
		require.NoError(t, From(v.ctx).Reload(t.Context()), "the next caller gets the verdict of its own reload")
		require.NoError(t, v.stopped())
	})
}

func TestEveryCallerThatWaitsForAReloadGetsAVerdict(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) { // fails if a goroutine waits forever
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
