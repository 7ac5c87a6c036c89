package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

var quiet = Logger(slog.New(slog.DiscardHandler))

// embeddedLife starts an embedded life and waits until it is ready. stopped stops it and returns
// the error of Run.
func embeddedLife(t *testing.T, opts ...Option) (inside *Life, stopped func() error) {
	t.Helper()
	begun, result := make(chan *Life, 1), make(chan error, 1)
	fn := func(ctx context.Context) error { begun <- From(ctx); <-ctx.Done(); return nil }
	go func() {
		result <- Run(fn, slices.Concat([]Option{quiet, OnStart(started)}, opts, []Option{Embedded()})...)
	}()
	select {
	case inside = <-begun:
	case err := <-result:
		require.NoError(t, err)
		require.Fail(t, "the life has ended")
	}
	<-inside.of.Ready()
	return inside, func() error {
		inside.Stop(nil)
		return <-result
	}
}

func TestAHundredEmbeddedLivesRunBesideTheLifeOfTheProcess(t *testing.T) {
	host := &testHost{heard: map[os.Signal][]chan<- os.Signal{}}
	ofProcess := func() error {
		return Run(fails, quiet, PIDFile(""), option(func(c *plan) { c.env = host }))
	}
	const n = 100
	var trace [n]proctest.Lines
	var alive sync.WaitGroup
	alive.Add(n)
	errs := make(chan error)
	for i := range n {
		fn := func(ctx context.Context) error {
			alive.Done()
			alive.Wait() // all lives exist at the same time
			err := From(ctx).Reload(ctx)
			From(ctx).Stop(nil)
			return err
		}
		go func() { errs <- Run(fn, Embedded(), quiet, Name(fmt.Sprint("life ", i)), With(traced(&trace[i], "a"))) }()
	}
	require.Equal(t, errBoom, ofProcess())
	for range n {
		require.NoError(t, <-errs)
	}
	require.Equal(t, errBoom, ofProcess())
	for i := range n {
		require.Equal(t, []string{"OnStart a", "OnCheck a", "OnReload a", "OnStop a", "OnExit a"}, withoutRuns(&trace[i]))
	}
}

func TestAnEmbeddedLifeAndTheLifeOfTheProcessDoNotPreventEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, stop := embeddedLife(t)
		v := live(t, serve)
		_, stopSecond := embeddedLife(t)
		require.ErrorIs(t, Run(nil, PIDFile("")), ErrAlreadyRunning, "the life of the process runs too")
		require.NoError(t, stop())
		require.NoError(t, v.stopped())
		require.NoError(t, stopSecond())
	})
}

func TestFromReturnsTheInnerOfTwoNestedLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var verdict error
		outer, stop := embeddedLife(t, Name("outer"), OnReload(func(ctx context.Context) error {
			outer := From(ctx)
			err := Run(func(ctx context.Context) error {
				inner := From(ctx)
				require.Equal(t, "inner", inner.of.plan.name)
				require.Equal(t, Reloading, outer.Phase())
				verdict = inner.Reload(ctx) // allowed: the hook belongs to outer, not to inner
				inner.Stop(nil)
				return nil
			}, Embedded(), quiet, Name("inner"), BaseContext(ctx), OnStart(started))
			require.Equal(t, Reloading, outer.Phase())
			return err
		}))
		require.NoError(t, outer.Reload(t.Context()))
		require.NoError(t, verdict)
		require.NoError(t, stop())
	})
}

func TestAHookMayWaitForTheReloadOfAnotherLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other, stopOther := embeddedLife(t, OnReload(fails))
		inside, stop := embeddedLife(t, OnReload(func(ctx context.Context) error { return other.Reload(ctx) }))
		require.ErrorIs(t, inside.Reload(t.Context()), errBoom)
		require.NoError(t, stop())
		require.NoError(t, stopOther())
	})
}

func TestAnEmbeddedLifeHandlesNoSignals(t *testing.T) {
	heard := make(chan os.Signal, 2)
	signals := []os.Signal{syscall.SIGUSR2, syscall.SIGHUP}
	signal.Notify(heard, signals...) // because the signals must not end this process
	defer signal.Stop(heard)

	host := &testHost{heard: map[os.Signal][]chan<- os.Signal{}}
	var called atomic.Int32
	count := func(context.Context) error { called.Add(1); return nil }
	inside, stop := embeddedLife(t, OnReload(count), OnSignal(syscall.SIGUSR2, count), OnSignal(syscall.SIGWINCH, nil),
		option(func(c *plan) { c.env = host }))
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	for _, sig := range signals {
		require.NoError(t, self.Signal(sig))
		require.Equal(t, sig, <-heard)
	}
	require.Empty(t, host.listeners(), "the life asked for no signals")
	require.Equal(t, Ready, inside.Phase())
	require.NoError(t, stop())
	require.Zero(t, called.Load())
	require.Empty(t, host.listeners())
}

func TestRepeatedStopsOfAnEmbeddedLifeDoNotEndTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := &testHost{heard: map[os.Signal][]chan<- os.Signal{}}
		slow := func(context.Context) error { time.Sleep(10 * time.Second); return nil }
		inside, stop := embeddedLife(t, OnStop(slow), option(func(c *plan) { c.env = host }))
		for range 5 {
			require.True(t, inside.of.Deliver(syscall.SIGTERM))
			time.Sleep(1500 * time.Millisecond)
		}
		require.NoError(t, stop())
		require.Empty(t, host.exits())
	})
}

func TestAnEmbeddedLifeMakesNoFilesAndNamesTheOptionsThatItIgnores(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, opts := range map[string][]Option{
		"before": {Embedded(), PIDFile(filepath.Join(dir, "app.pid")), PIDFileMode(0o600)},
		"behind": {PIDFile(filepath.Join(dir, "app.pid")), PIDFileMode(0o600), Embedded()},
	} {
		t.Run(name, func(t *testing.T) {
			var log proctest.Lines
			descriptors := openDescriptors(t)
			_, stop := embeddedLife(t, append(opts, Name("app"), Logger(slog.New(slog.NewTextHandler(&log, nil))))...)
			require.Empty(t, folder(t, dir))
			require.LessOrEqual(t, openDescriptors(t), descriptors)
			require.NoError(t, stop())
			require.Empty(t, folder(t, dir))
			require.Equal(t, 1, log.Count("ignores"), log.String())
			require.Equal(t, 1, log.Count(`msg="an embedded life ignores options that need a process" options="PIDFile, PIDFileMode"`), log.String())
		})
	}
	for name, opts := range map[string][]Option{"none": nil, "no PID file": {PIDFile("")}} {
		t.Run(name, func(t *testing.T) {
			var log proctest.Lines
			_, stop := embeddedLife(t, append(opts, Logger(slog.New(slog.NewTextHandler(&log, nil))))...)
			require.NoError(t, stop())
			require.Empty(t, folder(t, dir))
			require.Zero(t, log.Count("ignores"), log.String())
		})
	}
}

func TestAnEmbeddedLifeRefusesWrongOptions(t *testing.T) {
	require.ErrorContains(t, Run(nil, Embedded(), quiet, PIDFileMode(0o666)), "lifecycle: wrong option: PIDFileMode(0666)")
	require.ErrorContains(t, Run(nil, Embedded(), quiet, Name("a/b")), `lifecycle: wrong option: Name("a/b")`)
}

// Each case runs twice, as the life of a process and embedded. The test stops a life after two
// minutes.
func TestAnEmbeddedLifeFailsLikeAnyOtherLife(t *testing.T) {
	var release chan struct{}
	hang := func(context.Context) error { <-release; return nil }
	goexit := func(context.Context) error { runtime.Goexit(); return nil }
	exits := func(context.Context) error { return WithExitCode(errBoom, 9) }
	reloads := func(ctx context.Context) error { return From(ctx).Reload(ctx) }

	type outcome struct {
		text string
		code int
		took time.Duration
	}
	const stop = 2 * time.Minute
	for name, c := range map[string]struct {
		fn   func(context.Context) error
		opts []Option
		want outcome
	}{
		"nothing":       {serve, nil, outcome{"", 0, stop}},
		"fn fails":      {fails, nil, outcome{"boom", 1, 0}},
		"its own code":  {exits, nil, outcome{"boom", 9, 0}},
		"fn panics":     {panics, nil, outcome{"panic: boom", 70, 0}},
		"fn goes":       {goexit, nil, outcome{"panic: runtime.Goexit was called", 70, 0}},
		"fn hangs":      {hang, nil, outcome{"lifecycle: Run of app: did not return in 20s", 1, stop + 20*time.Second}},
		"fn may not":    {reloads, []Option{OnReload(fails)}, outcome{"lifecycle: OnReload of app: boom", 1, settleTime}},
		"start fails":   {serve, []Option{OnStart(fails)}, outcome{"lifecycle: OnStart of app: boom", 1, 0}},
		"start panics":  {serve, []Option{OnStart(panics)}, outcome{"lifecycle: OnStart of app: panic: boom", 70, 0}},
		"start hangs":   {serve, []Option{OnStart(hang)}, outcome{"lifecycle: OnStart of app: did not return in 60s", 1, 65 * time.Second}},
		"not ready":     {serve, []Option{ReadyWhen(fails)}, outcome{"lifecycle: ReadyWhen of app: not ready after 60s: boom", 1, time.Minute}},
		"Every fails":   {serve, []Option{Every(time.Second, fails), Every(time.Second, panics)}, outcome{"", 0, stop}},
		"OnStop hangs":  {serve, []Option{OnStop(hang)}, outcome{"lifecycle: OnStop of app: did not return in 20s", 1, stop + 20*time.Second + 100*time.Millisecond}},
		"all that ends": {serve, []Option{OnStop(fails), OnExit(exits)}, outcome{"lifecycle: OnStop of app: boom\nlifecycle: OnExit of app: boom", 1, stop}},
	} {
		for how, run := range map[string]func(t *testing.T, opts []Option) error{
			"process":  func(t *testing.T, opts []Option) error { return live(t, c.fn, opts...).end() },
			"embedded": func(_ *testing.T, opts []Option) error { return Run(c.fn, append(opts, quiet, Embedded())...) },
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					release = make(chan struct{})
					defer close(release)
					base, cancel := context.WithTimeout(t.Context(), stop)
					defer cancel()
					begun := time.Now()
					err := run(t, slices.Concat(c.opts, []Option{Name("app"), BaseContext(base)}))
					got := outcome{"", ExitCode(err), time.Since(begun)}
					if err != nil {
						got.text = err.Error()
					}
					require.Equal(t, c.want, got)
				})
			})
		}
	}
}

func TestAnEmbeddedLifeHasTheSameErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := func(fn func(context.Context) error, opts ...Option) error {
			return Run(fn, append(opts, quiet, Embedded())...)
		}
		require.True(t, run(fails) == errBoom, "the error of a body is unwrapped")
		var h *HookError
		require.ErrorAs(t, run(serve, With(Hooks{Name: "db", OnStart: fails})), &h)
		require.Equal(t, HookError{"db", "OnStart", errBoom}, *h)
		var p *PanicError
		require.ErrorAs(t, run(panics), &p)
		require.Contains(t, string(p.Stack), "lifecycle.panics")
		require.ErrorIs(t, run(serve, OnStart(serve)), ErrStartTimeout)
		require.ErrorIs(t, run(func(ctx context.Context) error { From(ctx).Stop(nil); return nil }, OnExit(serve)), ErrStopTimeout)
		require.ErrorIs(t, run(func(ctx context.Context) error { return From(ctx).Reload(ctx) }, OnReload(fails)), ErrReload)
	})
}
