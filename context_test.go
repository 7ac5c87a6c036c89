package lifecycle

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// visited returns fn and the options with every function that a life calls. Each function calls
// visit with its name. The bodies then wait until their context ends.
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

// visitAll makes the life call each of its functions, and then ends the life.
func (v *lived) visitAll() error {
	time.Sleep(time.Second)
	v.send(syscall.SIGHUP)
	v.send(syscall.SIGUSR2)
	time.Sleep(time.Minute)
	return v.stopped()
}

func TestOutsideALifeTheMethodsOfLifeDoNothing(t *testing.T) {
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

func TestFromReturnsTheLifeAndItsPhaseInEveryHookAndBody(t *testing.T) {
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
				return errBoom // ReadyWhen is called again, after the bodies have called visit
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

func TestTheRollbackOfAFailedStartHasThePhaseStopping(t *testing.T) {
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
		require.ErrorIs(t, inside.Grace().Err(), context.Canceled, "Grace ends with the life")
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
			<-From(ctx).of.stopCtx.Done()
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
		require.Equal(t, 8*time.Second, ended.Sub(asked), "from the stop request, not from the end of StopDelay")
		require.ErrorIs(t, v.end(), ErrStopTimeout)
		close(release)
		synctest.Wait()
	})
}

func TestWorkInProgressMayFinishBeforeABodyReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var result error
		v := live(t, func(ctx context.Context) error {
			worked := make(chan error)
			go func() {
				work, cancel := context.WithTimeoutCause(From(ctx).Grace(), 10*time.Second, errBoom)
				defer cancel()
				<-work.Done() // represents 10 s of work
				worked <- context.Cause(work)
			}()
			<-ctx.Done()
			result = <-worked
			return nil
		}, OnStart(started))
		time.Sleep(5 * time.Second)
		asked := time.Now()
		require.NoError(t, v.stopped())
		require.Equal(t, errBoom, result, "the work ended before its context")
		require.Equal(t, 5*time.Second, time.Since(asked))
	})
}

func TestStatusShowsTheTextOfSetStatus(t *testing.T) {
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
		require.Equal(t, "in OnExit", v.snapshot().Text, "until the program sets another text")
		From(v.ctx).SetStatus("")
		require.Empty(t, v.snapshot().Text)
	})
}
