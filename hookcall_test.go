package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

type badError struct{}

func (badError) Error() string { panic("even the text panics") }

// Row G6.
func TestAnyPanicIsAnError(t *testing.T) {
	for name, value := range map[string]any{"nil": nil, "error": errBoom, "error that panics": badError{}, "canceled": context.Canceled} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := live(t, func(ctx context.Context) error { <-ctx.Done(); panic(value) })
				err := v.stopped()
				var p *PanicError
				require.ErrorAs(t, err, &p)
				require.NotErrorIs(t, err, context.Canceled, "a panic is no clean end, even with this value")
				require.Contains(t, err.Error(), "panic: ")
				require.Contains(t, v.log.String(), "panic in Run of app")
			})
		})
	}
}

// Row G7.
func TestGoexitIsAnErrorAndNoDeadlock(t *testing.T) {
	goexit := func(context.Context) error { runtime.Goexit(); return nil }
	for _, hook := range []string{"OnStart", "OnReload", "OnStop", "OnExit", "Run", "fn", "Every", "OnSignal"} {
		t.Run(hook, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, fn, opts := Hooks{Name: "a", OnCheck: started}, serve, []Option(nil)
				switch hook {
				case "OnStart":
					h.OnStart = goexit
				case "OnReload":
					h.OnReload = goexit
				case "OnStop":
					h.OnStop = goexit
				case "OnExit":
					h.OnExit = goexit
				case "Run":
					h.Run = goexit
				case "fn":
					fn = goexit
				case "Every":
					opts = append(opts, Every(time.Second, goexit))
				case "OnSignal":
					opts = append(opts, OnSignal(syscall.SIGUSR2, goexit))
				}
				v := live(t, fn, append(opts, With(h))...)
				time.Sleep(10 * time.Second)
				v.send(syscall.SIGHUP)
				v.send(syscall.SIGUSR2)
				err := v.stopped()
				switch hook {
				case "OnReload", "Every", "OnSignal": // the life continues
					require.NoError(t, err)
				default:
					require.ErrorContains(t, err, "runtime.Goexit was called")
					require.Equal(t, 70, ExitCode(err))
				}
				require.Contains(t, v.log.String(), "runtime.Goexit was called")
				require.Contains(t, v.log.String(), "TestGoexit", "the stack names the caller of Goexit")
			})
		})
	}
}

// Row G1.
func TestAPanicInFnStopsTheLifeWithExitCode70(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var trace proctest.Lines
		v := live(t, func(context.Context) error { time.Sleep(time.Minute); panic("boom") }, With(traced(&trace, "a")))
		err := v.end()
		var p *PanicError
		require.ErrorAs(t, err, &p)
		require.Equal(t, 70, ExitCode(err))
		require.Equal(t, 1, trace.Count("OnStop a"))
		require.Equal(t, 1, trace.Count("OnExit a"))
		require.Contains(t, v.log.String(), "TestAPanicInFn")
	})
}

func TestTheStackOfAnAbandonedHookIsFoundAmongManyGoroutinesThatItStarted(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	begun := make(chan struct{})
	spawn(t.Context(), "OnStop of crowd", func(context.Context) error {
		for range 1000 {
			go func() { <-release }() // these goroutines inherit the label
		}
		close(begun)
		<-release
		return nil
	})
	<-begun
	var stack string
	proctest.Eventually(t, func() bool {
		stack = string(stackOf("OnStop of crowd"))
		return strings.Contains(stack, "TestTheStackOf") // the goroutine might not be blocked yet
	}, "the stack")
	require.NotContains(t, stack, "\n", "one frame, and no frame of the other goroutines")
}

func TestAHookThatChangedItsLabelsIsStillNamed(t *testing.T) {
	require.Contains(t, string(stackOf("OnStop of nobody")), "changed its profiler labels")
	done := spawn(t.Context(), "OnStop of db", func(ctx context.Context) error {
		label, _ := pprof.Label(ctx, labelKey)
		return fmt.Errorf("labelled %s", label)
	})
	require.EqualError(t, <-done, "labelled OnStop of db", "so pprof.Do in a hook keeps the label")
}

func BenchmarkHook(b *testing.B) {
	l, err := newLife(nil, []Option{PIDFile(""), Logger(slog.New(slog.DiscardHandler))})
	require.NoError(b, err)
	i := l.interruptible(ErrReload)
	defer i.cancel()
	for b.Loop() {
		if err := i.do("a", "OnReload", started); err != nil {
			b.Fatal(err)
		}
	}
}
