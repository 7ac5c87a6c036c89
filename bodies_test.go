package lifecycle

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
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

func TestEveryRunsBesideTheHooksButNeverBesideItself(t *testing.T) {
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
		require.EqualValues(t, 0, inside.Load(), "the stop waits for it")
	})
}

func TestEveryThatFailsOrPanicsIsLoggedAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, OnStart(started), Every(time.Second, fails), Every(time.Second, panics))
		time.Sleep(3500 * time.Millisecond)
		require.Equal(t, 3, v.log.Count(`msg="Every(1s) of app failed" err=boom`))
		require.Equal(t, 3, v.log.Count(`msg="panic in Every(1s) of app"`))
		require.Equal(t, Ready, v.phaseNow())
		require.NoError(t, v.stopped())
	})
}

func TestEveryIsCancelledByAStopAndAbandonedWhereItDoesNotHeedThat(t *testing.T) {
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

func TestEveryThatPanicsDuringTheStopIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, OnStart(started), Every(time.Second, func(ctx context.Context) error { <-ctx.Done(); panic("boom") }))
		time.Sleep(time.Second)
		require.NoError(t, v.stopped())
		require.Equal(t, 1, v.log.Count("panic in Every(1s) of app"))
	})
}
