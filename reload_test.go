package lifecycle

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

func started(context.Context) error { return nil }

func TestAFailedOnCheckChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		b := traced(&trace, "b")
		b.OnCheck = fails
		v := live(t, serve, With(traced(&trace, "a")), With(b))
		v.send(syscall.SIGHUP)
		require.Equal(t, Ready, v.phaseNow())
		require.Equal(t, 1, trace.Count("OnCheck a"))
		require.Equal(t, 0, trace.Count("OnReload"))
		require.Contains(t, v.log.String(), `msg="reload rejected, old configuration kept"`)
		require.Contains(t, v.log.String(), `err="OnCheck of b: boom"`)
		require.NoError(t, v.stopped())
	})
}

// Row G3.
func TestAFailedOnReloadEndsTheReloadAndNamesTheAppliedComponents(t *testing.T) {
	for how, bad := range map[string]func(context.Context) error{"error": fails, "panic": panics} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var trace proctest.Lines
				c := traced(&trace, "c")
				c.OnReload = bad
				v := live(t, serve, With(traced(&trace, "a")), With(Hooks{Name: "b", OnCheck: started}), With(c), With(traced(&trace, "d")))
				v.send(syscall.SIGHUP)
				require.Equal(t, Ready, v.phaseNow())
				require.Equal(t, 1, trace.Count("OnReload a"))
				require.Equal(t, 0, trace.Count("OnReload d"))
				require.Contains(t, v.log.String(), "reload failed half-way")
				require.Contains(t, v.log.String(), "applied=[a]")

				var verdict *reloadError
				err := v.tryReload()
				require.ErrorAs(t, err, &verdict)
				require.ErrorIs(t, err, ErrReload)
				require.ErrorContains(t, err, "lifecycle: OnReload of c: ")
				require.ErrorContains(t, err, "(applied before: a)")
				require.NoError(t, v.stopped())
			})
		})
	}
}

// Row G12.
func TestOnReloadThatNeverReturnsIsAbandonedAndFurtherReloadsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var calls atomic.Int32
		v := live(t, serve, ReloadTimeout(8*time.Second), With(Hooks{Name: "db", OnStart: started, OnReload: func(context.Context) error {
			calls.Add(1)
			<-release
			return nil
		}}))
		v.send(syscall.SIGHUP)
		require.Equal(t, Reloading, v.phaseNow())
		time.Sleep(10*time.Second - 1)
		require.Equal(t, Reloading, v.phaseNow())
		time.Sleep(time.Nanosecond)
		require.Equal(t, Ready, v.phaseNow())
		require.Contains(t, v.log.String(), "OnReload of db was abandoned")
		require.Contains(t, v.log.String(), "TestOnReload", "the stack names the function that hangs")
		v.send(syscall.SIGHUP)
		require.Equal(t, Ready, v.phaseNow())
		require.EqualValues(t, 1, calls.Load())
		require.Equal(t, 2, v.log.Count("reload rejected"))
		close(release)
		require.NoError(t, v.stopped())
	})
}

// Row G12.
func TestAStopEndsAReloadThatObeysItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cause error
		v := live(t, serve, With(Hooks{Name: "db", OnStart: started, OnReload: func(ctx context.Context) error {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return ctx.Err()
		}}))
		v.send(syscall.SIGHUP)
		begun := time.Now()
		require.NoError(t, v.stopped())
		require.Equal(t, begun, time.Now())
		require.IsType(t, &StopSignalError{}, cause)
	})
}

// Row G12.
func TestAReloadThatHangsDoesNotUseUpTheTimeOfTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var told, asked time.Time
		fn := func(ctx context.Context) error { <-ctx.Done(); told = time.Now(); return nil }
		v := live(t, fn, With(Hooks{
			Name: "db", OnStart: started,
			OnReload: func(context.Context) error { <-release; return nil },
			OnStop:   func(context.Context) error { asked = time.Now(); return nil },
		}))
		v.send(syscall.SIGHUP)
		begun := time.Now()
		require.NoError(t, v.stopped())
		require.Equal(t, begun, told, "the contexts of the bodies end at once")
		require.Equal(t, 5*time.Second, asked.Sub(begun), "the hooks of the stop wait for the reload, but only for a part of their time")
		require.Contains(t, v.log.String(), "OnReload of db was abandoned")
		close(release)
	})
}

func TestHUPsDuringAReloadCauseExactlyOneMoreReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reloads atomic.Int32
		v := live(t, serve, OnStart(started), OnReload(func(context.Context) error {
			reloads.Add(1)
			time.Sleep(time.Second)
			return nil
		}))
		v.send(syscall.SIGHUP)
		for range 1000 {
			v.send(syscall.SIGHUP)
		}
		time.Sleep(time.Hour)
		require.EqualValues(t, 2, reloads.Load())
		require.NoError(t, v.stopped())
	})
}

// Row G19.
func TestHooksNeverRunConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inside, most, calls atomic.Int32
		hook := func(context.Context) error {
			calls.Add(1)
			most.Store(max(most.Load(), inside.Add(1)))
			time.Sleep(time.Second)
			inside.Add(-1)
			return nil
		}
		h := Hooks{OnCheck: hook, OnStart: hook, OnReload: hook, OnStop: hook, OnExit: hook}
		v := live(t, serve, With(h), With(h), OnSignal(syscall.SIGUSR2, hook), OnSignal(syscall.SIGWINCH, hook))
		for range 20 {
			for _, sig := range []syscall.Signal{syscall.SIGUSR2, syscall.SIGHUP, syscall.SIGWINCH, syscall.SIGUSR1} {
				v.send(sig)
				time.Sleep(700 * time.Millisecond)
			}
		}
		require.NoError(t, v.stopped())
		require.EqualValues(t, 1, most.Load())
		require.Greater(t, calls.Load(), int32(30))
	})
}

func TestAReloadSucceedsAfterAFailedReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		v := live(t, serve, OnStart(started), OnReload(func(context.Context) error {
			if n.Add(1) == 1 {
				return errBoom
			}
			return nil
		}))
		v.send(syscall.SIGHUP)
		v.send(syscall.SIGHUP)
		require.Equal(t, 1, v.log.Count("msg=reloaded"))
		require.NoError(t, v.stopped())
	})
}

func TestAReloadWhoseTimeIsOverCallsNoFurtherHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		slow := Hooks{Name: "slow", OnStart: started, OnReload: func(context.Context) error { time.Sleep(9 * time.Second); return nil }}
		v := live(t, serve, ReloadTimeout(8*time.Second), With(slow), With(traced(&trace, "next")))
		v.send(syscall.SIGHUP)
		time.Sleep(9 * time.Second)
		require.Equal(t, Ready, v.phaseNow())
		require.Zero(t, trace.Count("OnReload next"))
		require.Contains(t, v.log.String(), `msg="reload failed half-way"`)
		require.Contains(t, v.log.String(), "OnReload of next: not called: the hooks before it took longer than 8s")
		require.NoError(t, v.stopped())
	})
}

func TestAStopDuringAReloadSkipsTheRemainingHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		slow := Hooks{Name: "slow", OnStart: started, OnReload: func(context.Context) error { time.Sleep(time.Second); return nil }}
		v := live(t, serve, With(slow), With(traced(&trace, "next")))
		v.send(syscall.SIGHUP)
		begun := time.Now()
		require.NoError(t, v.stopped())
		require.Equal(t, time.Second, time.Since(begun))
		require.Zero(t, trace.Count("OnReload next"))
		require.Equal(t, 1, trace.Count("OnStop next"))
		require.Contains(t, v.log.String(), "a stop interrupted the reload")
	})
}

func TestAStopShortensTheWaitForAHookThatExceededItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var trace proctest.Lines
		hang := Hooks{Name: "hang", OnStart: started, OnReload: func(context.Context) error { <-release; return nil }}
		v := live(t, serve, ReloadTimeout(16*time.Second), StopTimeout(4*time.Second), With(hang), With(traced(&trace, "a")))
		v.send(syscall.SIGHUP)
		time.Sleep(17 * time.Second) // 3 s of its grace period remain
		begun := time.Now()
		require.NoError(t, v.stopped())
		require.Equal(t, time.Second, time.Since(begun), "a quarter of StopTimeout")
		require.Equal(t, 1, trace.Count("OnStop a"))
		close(release)
	})
}
