package lifecycle

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// Row G21.
func TestComponentsStartInOrderAndStopInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		fn := func(ctx context.Context) error {
			trace.Say("fn")
			<-ctx.Done()
			trace.Say("fn returns")
			return nil
		}
		a, b := traced(&trace, "a"), traced(&trace, "b")
		a.Run, b.Run = nil, nil
		v := live(t, fn, With(a), With(b), With(Hooks{Name: "check only", OnCheck: started}))
		require.Equal(t, Ready, v.phaseNow())
		v.send(syscall.SIGHUP)
		require.Equal(t, Ready, v.phaseNow())
		require.NoError(t, v.stopped())
		require.Equal(t, Exited, v.phaseNow())

		// fn returns concurrently with OnStop.
		got := slices.DeleteFunc(trace.All(), func(line string) bool { return line == "fn returns" })
		require.Equal(t, []string{
			"OnStart a", "OnStart b", "fn",
			"OnCheck a", "OnCheck b", "OnReload a", "OnReload b",
			"OnStop b", "OnStop a", "OnExit b", "OnExit a",
		}, got)
		require.Less(t, trace.Index("fn returns"), trace.Index("OnExit b"), "OnExit waits for the bodies")
	})
}

// Row G13.
func TestFnThatReturnsNilEndsTheLifeCleanly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		a := traced(&trace, "a")
		var cause error
		a.Run = func(ctx context.Context) error { <-ctx.Done(); cause = context.Cause(ctx); return ctx.Err() }
		v := live(t, func(context.Context) error { time.Sleep(time.Hour); return nil }, With(a))
		require.NoError(t, v.end())
		require.ErrorIs(t, cause, ErrBodyReturned)
		require.Equal(t, []string{"OnStart a", "OnStop a", "OnExit a"}, trace.All())
	})
}

// Row G14.
func TestRunReturnsTheErrorOfFnUnwrapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		v := live(t, func(context.Context) error { time.Sleep(time.Hour); return errBoom }, With(traced(&trace, "a")))
		require.True(t, v.end() == errBoom, "the same error, not an error that wraps it")
		require.Equal(t, 1, trace.Count("OnStop a"))
		require.Equal(t, 1, trace.Count("OnExit a"))
	})
}

func TestALifeWhoseBodyReturnsBeforeReadyIsNeverReady(t *testing.T) {
	for _, returns := range []error{nil, errBoom} {
		synctest.Test(t, func(t *testing.T) {
			v := live(t, func(context.Context) error { time.Sleep(50 * time.Millisecond); return returns })
			require.Equal(t, returns, v.end())
			require.False(t, v.wasReady())
			require.NotContains(t, v.log.String(), "msg=ready")
		})
	}
}

func TestAnErrorFromBeforeTheStopIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, func(context.Context) error { time.Sleep(time.Second); return context.Canceled })
		require.ErrorIs(t, v.end(), context.Canceled)
	})
}

func TestALifeWithoutOnStartAndReadyWhenIsReadyAfter100ms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve)
		begun := time.Now()
		require.Equal(t, Starting, v.phaseNow())
		time.Sleep(settleTime - time.Since(begun) - 1)
		require.Equal(t, Starting, v.phaseNow())
		time.Sleep(time.Nanosecond)
		require.Equal(t, Ready, v.phaseNow())
		require.NoError(t, v.stopped())
	})
}

// Row G18.
func TestNilFnWaitsForItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, nil, OnStart(func(context.Context) error { return nil }))
		time.Sleep(24 * time.Hour)
		require.Equal(t, Ready, v.phaseNow())
		require.NoError(t, v.stopped())
	})
}

// Row G18.
func TestWrongOptionsAreNamedAndNothingIsStarted(t *testing.T) {
	never := func(context.Context) error { t.Error("called"); return nil }
	var nobody context.Context
	for want, opts := range map[string][]Option{
		"number 2 is nil":                                  {nil},
		`Name(".."): must be a valid file name`:            {Name("..")},
		"OnStart is given twice: use With(Hooks{Name: …})": {OnStart(never), OnStart(never)},
		"OnStop(nil)":                            {OnStop(nil)},
		"ReadyWhen(nil)":                         {ReadyWhen(nil)},
		"Every(0s)":                              {Every(0, never)},
		"Every(1s)":                              {Every(time.Second, nil)},
		"StartTimeout(0s): must be positive":     {StartTimeout(0)},
		"StopTimeout(-1s): must not be negative": {StopTimeout(-time.Second)},
		"ReloadTimeout(0s): must be positive":    {ReloadTimeout(0)},
		"StopDelay(-1s): must not be negative":   {StopDelay(-time.Second)},
		"StopDelay(20s): must be shorter than StopTimeout (20s)":                   {StopDelay(20 * time.Second)},
		`Name("a/b"): must be a valid file name`:                                   {Name("a/b")},
		`PIDFile("/run/a\x00b"): a path cannot contain a NUL byte`:                 {PIDFile("/run/a\x00b")},
		"PIDFileMode(0666): must let the owner":                                    {PIDFileMode(0o666)},
		"BaseContext(nil)":                                                         {BaseContext(nobody)},
		"OnSignal(terminated): lifecycle handles this signal itself (TERM and INT": {OnSignal(syscall.SIGTERM, never)},
		"OnSignal(interrupt): lifecycle handles this signal itself":                {OnSignal(os.Interrupt, never)},
		"OnSignal(hangup): lifecycle handles this signal itself":                   {OnSignal(syscall.SIGHUP, nil)},
		"OnSignal(user defined signal 1): lifecycle handles this signal itself":    {OnSignal(syscall.SIGUSR1, never)},
		"OnSignal(killed): cannot be caught":                                       {OnSignal(syscall.SIGKILL, never)},
		"StopDelay(3s): must be shorter than StopTimeout (2s), which i":            {StopTimeout(2 * time.Second), StopDelay(3 * time.Second)},
	} {
		err := Run(never, slices.Concat([]Option{PIDFile("")}, opts)...)
		require.ErrorContains(t, err, "lifecycle: wrong option: "+want)
		require.Equal(t, 1, ExitCode(err))
	}
}

func TestSingleHookOptionsFormOneComponentAtThePositionOfTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		say := func(line string) func(context.Context) error {
			return func(context.Context) error { trace.Say(line); return nil }
		}
		v := live(t, serve,
			With(Hooks{OnStart: say("OnStart before")}),
			OnStop(say("OnStop loose")),
			With(Hooks{OnStart: say("OnStart behind"), OnExit: func(context.Context) error { return errBoom }}),
			OnStart(say("OnStart loose")))
		err := v.stopped()
		require.Equal(t, []string{"OnStart before", "OnStart loose", "OnStart behind", "OnStop loose"}, trace.All())
		require.EqualError(t, err, "lifecycle: OnExit of component 3: boom")
		require.Equal(t, "app", v.plan.hooks[1].Name)
	})
}

func TestBaseContextProvidesValuesAndItsEndIsAStop(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		base, cancel := context.WithCancelCause(context.WithValue(context.Background(), key{}, "value"))
		var trace proctest.Lines
		say := func(ctx context.Context) error { trace.Say(ctx.Value(key{}).(string)); return nil }
		var cause error
		fn := func(ctx context.Context) error { <-ctx.Done(); cause = context.Cause(ctx); return say(ctx) }
		v := live(t, fn, BaseContext(base),
			With(Hooks{OnCheck: say, OnStart: say, OnReload: say, OnStop: say, OnExit: say}), Every(time.Minute, say))
		v.send(syscall.SIGHUP)
		time.Sleep(time.Minute)
		synctest.Wait()
		cancel(errBoom)
		require.NoError(t, v.end())
		require.Equal(t, errBoom, cause)
		require.Len(t, trace.All(), 7)
	})
}

func TestABaseContextThatHasEndedStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, cancel := context.WithCancel(t.Context())
		cancel()
		never := func(context.Context) error { t.Error("called"); return nil }
		v := live(t, serve, BaseContext(base), ReadyWhen(never))
		require.NoError(t, v.end())
		require.False(t, v.wasReady())
	})
}

// Row G22.
func TestASecondRunInOneProcessIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve)
		err := Run(nil, PIDFile(""))
		require.ErrorIs(t, err, ErrAlreadyRunning)
		var already *AlreadyRunningError
		require.ErrorAs(t, err, &already)
		require.Equal(t, os.Getpid(), already.PID)
		require.ErrorContains(t, err, "already running in this process")
		require.NoError(t, v.stopped())
		require.NoError(t, live(t, serve).stopped(), "a second Run is allowed after the first has returned")
	})
}

// Row G16.
func TestRunInsideAHookIsRefusedAndDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		again := func(context.Context) error { return Run(nil, PIDFile("")) }
		v := live(t, serve, OnStart(again))
		require.ErrorIs(t, v.end(), ErrAlreadyRunning)
	})
}

// Row G20.
func TestNoGoroutineRemainsAfterALife(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 50 {
		synctest.Test(t, func(t *testing.T) { // the bubble fails if a goroutine remains
			v := live(t, serve, Every(time.Millisecond, serve), OnSignal(syscall.SIGUSR2, serve), OnReload(serve))
			v.send(syscall.SIGHUP)
			require.NoError(t, v.stopped())
		})
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), before+2)
}

func TestPhaseHasAName(t *testing.T) {
	var names bytes.Buffer
	for p := Starting - 1; p <= Exited+1; p++ {
		names.WriteString(p.String() + " ")
	}
	require.Equal(t, "unknown starting ready reloading stopping exited unknown ", names.String())
}

// Row I10.
func TestTenThousandEmbeddedLivesLeakNothing(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("TMPDIR", dir)
	goroutines, descriptors := runtime.NumGoroutine(), openDescriptors(t)
	reload := func(ctx context.Context) error { return From(ctx).Reload(ctx) }
	lives := func(n int) {
		for range n {
			require.NoError(t, Run(reload, Embedded(), quiet, PIDFile("app.pid"), With(Hooks{OnStart: started, OnReload: started, OnExit: started}),
				OnSignal(syscall.SIGUSR2, started), Every(time.Minute, started)))
		}
	}
	lives(1000)
	before := heap()
	lives(9000)
	require.Less(t, heap()-before, int64(1<<20), "the heap must not grow during the last 9,000 lives")
	proctest.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines }, "%d goroutines", goroutines)
	require.LessOrEqual(t, openDescriptors(t), descriptors)
	require.Empty(t, folder(t, dir))
}

// heap returns the number of bytes in use on the heap.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // frees the memory of the first life
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// openDescriptors returns the number of open descriptors of this process, or 0 if that is unknown.
func openDescriptors(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	return len(folder(t, "/proc/self/fd"))
}

func folder(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
