package lifecycle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
			shown[where] = From(ctx).of.snapshot().Text
			return nil
		})
		v := live(t, fn, opts...)
		require.NoError(t, v.visitAll())
		require.Len(t, shown, 10)
		for where, text := range shown {
			require.Equal(t, "in "+where, text)
		}
		require.Equal(t, "in OnExit", v.snapshot().Text, "until it says something else")
		From(v.ctx).SetStatus("")
		require.Empty(t, v.snapshot().Text)
	})
}
