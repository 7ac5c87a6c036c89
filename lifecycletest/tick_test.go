package lifecycletest_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/lifecycletest"
)

func TestTickCallsTheFunctionsOfEveryWithThatInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls proctest.Lines
		say := func(what string, err error) func(context.Context) error {
			return func(context.Context) error { fmt.Fprint(&calls, what, " "); return err }
		}
		life := lifecycletest.Start(t, nil, lifecycle.OnStart(nothing),
			lifecycle.Every(time.Minute, say("a", nil)),
			lifecycle.Every(90*time.Second, say("b", errBoom)),
			lifecycle.Every(60*time.Second, say("c", nil)),
			lifecycle.Every(24*time.Hour, func(context.Context) error { panic("oh") }))
		ticks := func(name string) (called string, err error) {
			calls.Reset()
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
		require.Equal(t, lifecycle.Ready, life.Phase(), "errors of the functions do not stop the life")
	})
}

func TestATickWithAnUnknownIntervalFailsTheTest(t *testing.T) {
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
func TestATickWaitsForARunningCall(t *testing.T) {
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
		require.EqualValues(t, 1, calls.Load(), "in a bubble, the interval itself also passes")
		require.NoError(t, life.Tick("1m"))
		require.Equal(t, 80*time.Second, time.Since(begun))
		require.EqualValues(t, 2, calls.Load())

		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { assert.NoError(t, life.Tick("")) })
		}
		all.Wait()
		require.Equal(t, 110*time.Second, time.Since(begun))
		require.EqualValues(t, 1, most.Load(), "never concurrently with itself")
	})
}

func TestATickReturnsWhenTheLifeStops(t *testing.T) {
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
		require.ErrorIs(t, <-tick, context.Canceled, "the error of the function")
	})
}
