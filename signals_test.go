package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// inPhase brings a life into a phase. The life stays there until release is called. The hooks of
// component a are traced.
func inPhase(t *testing.T, phase Phase, trace *proctest.Lines) (v *lived, release func()) {
	t.Helper()
	gate := make(chan struct{})
	wait := func(ctx context.Context) error {
		select {
		case <-gate:
		case <-ctx.Done():
		}
		return nil
	}
	b := Hooks{Name: "b", OnStart: started}
	switch phase {
	case Starting:
		b.OnStart = wait
	case Reloading:
		b.OnReload = wait
	case Stopping:
		b.OnStop = wait
	}
	base, cancel := context.WithCancelCause(context.Background())
	t.Cleanup(func() { cancel(nil) })
	// SIGUSR2 is left to the upgrade.
	v = live(t, serve, With(traced(trace, "a")), With(b), BaseContext(base),
		OnSignal(syscall.SIGWINCH, func(context.Context) error { trace.Say("OnSignal"); return nil }))
	switch phase {
	case Reloading:
		v.send(syscall.SIGHUP)
	case Stopping:
		cancel(errBoom)
	case Exited:
		require.NoError(t, v.stopped())
	}
	require.Equal(t, phase, v.phaseNow())
	return v, func() { close(gate); synctest.Wait() }
}

// TestDispatchTable tries every event in every phase and checks the reaction of the life.
func TestDispatchTable(t *testing.T) {
	raise := map[event]func(v *lived){
		stopSignal: func(v *lived) { v.send(syscall.SIGTERM) },
		hangup:     func(v *lived) { v.send(syscall.SIGHUP) },
		terminalGone: func(v *lived) {
			v.host.mu.Lock()
			v.host.hungUp = true
			v.host.mu.Unlock()
			v.send(syscall.SIGHUP)
		},
		reopenSignal: func(v *lived) { v.send(syscall.SIGUSR1) },
		ownSignal:    func(v *lived) { v.send(syscall.SIGWINCH) },
		upgradeSignal: func(v *lived) {
			v.onUpgrade = func(*Upgrade) error { return errBoom }
			v.on(upgradeSignal, nil, syscall.SIGUSR2)
			synctest.Wait()
		},
		stopRequest: func(v *lived) { v.on(stopRequest, errBoom, nil); synctest.Wait() },
	}
	require.Len(t, raise, int(events))
	require.Len(t, dispatch, int(Exited)+1)
	for phase := Starting; phase <= Exited; phase++ {
		for e := range events {
			t.Run(fmt.Sprintf("%v/%d", phase, e), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var trace proctest.Lines
					v, release := inPhase(t, phase, &trace)
					before := trace.All()
					raise[e](v)
					reloadsBefore := v.log.Count("msg=reloaded")
					release()
					came := trace.All()[len(before):]
					switch act := dispatch[phase][e]; act {
					case stop:
						require.NoError(t, v.end())
						require.Equal(t, Exited, v.phaseNow())
					case reload:
						want := 1
						if phase == Reloading { // the running reload and one more
							want = 2
						}
						require.Equal(t, Ready, v.phaseNow())
						require.Equal(t, want, v.log.Count("msg=reloaded"))
					case reopen:
						require.Equal(t, Ready, v.phaseNow())
						require.Equal(t, 1, v.log.Count("nothing to reopen"))
					case upgrade:
						require.Equal(t, Ready, v.phaseNow())
						require.Equal(t, 1, v.log.Count("upgrade refused, the old worker serves"))
					case callHook:
						require.Equal(t, Ready, v.phaseNow())
						require.Contains(t, came, "OnSignal")
					case forceQuit, drop:
						require.NoError(t, v.end())
						require.NotContains(t, came, "OnSignal")
						require.Zero(t, v.log.Count("msg=upgrading"))
						require.Equal(t, reloadsBefore, v.log.Count("msg=reloaded"))
						require.Zero(t, v.log.Count("nothing to reopen"))
						require.Empty(t, v.host.exits())
					default:
						t.Fatalf("no case for action %v", act)
					}
					if v.phaseNow() != Exited {
						require.NoError(t, v.stopped())
					}
					require.Equal(t, trace.Count("OnStart a"), trace.Count("OnStop a"))
					require.Equal(t, trace.Count("OnStart a"), trace.Count("OnExit a"))
				})
			})
		}
	}
}

// Row F8.
func TestAStopSignalMoreThanASecondAfterTheFirstEndsTheProcess(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			v := live(t, serve, OnStart(started), OnStop(func(context.Context) error { <-release; return nil }))
			v.send(syscall.SIGINT)
			time.Sleep(time.Second)
			v.send(sig)
			require.Empty(t, v.host.exits(), "within a second, the signal counts as the same request")
			time.Sleep(time.Nanosecond)
			v.send(sig)
			require.Equal(t, []int{1}, v.host.exits())
			close(release)
			v.end()
		})
	}
}

func TestTheFirstStopSignalDuringAStopDoesNotEndTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		base, cancel := context.WithCancel(t.Context())
		v := live(t, serve, BaseContext(base), OnStart(started), OnStop(func(context.Context) error { <-release; return nil }))
		cancel()
		time.Sleep(10 * time.Second)
		v.send(syscall.SIGTERM)
		require.Empty(t, v.host.exits())
		time.Sleep(2 * time.Second)
		v.send(syscall.SIGTERM)
		require.Equal(t, []int{1}, v.host.exits())
		close(release)
		v.end()
	})
}

// hangingLog is a log on a disk that hangs as soon as the life stops.
type hangingLog struct {
	slog.Handler
	release <-chan struct{}
}

func (l hangingLog) Enabled(context.Context, slog.Level) bool { return true }

func (l hangingLog) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "stop") {
		<-l.release
	}
	return nil
}

func TestQuittingAtOnceDoesNotWaitForALogThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		v := live(t, serve, OnStart(started), Logger(slog.New(hangingLog{release: release})))
		v.send(syscall.SIGTERM)
		time.Sleep(2 * time.Second)
		v.send(syscall.SIGTERM)
		require.Empty(t, v.host.exits())
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, []int{1}, v.host.exits())
		close(release)
		v.end()
	})
}

func TestOnSignalHasItsContextAndItsErrorIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, OnStart(started),
			OnSignal(syscall.SIGUSR2, panics), // the last OnSignal applies
			OnSignal(syscall.SIGUSR2, func(ctx context.Context) error { <-ctx.Done(); return errBoom }),
			OnSignal(syscall.SIGWINCH, fails),
			OnSignal(syscall.SIGALRM, panics))
		begun := time.Now()
		v.send(syscall.SIGUSR2)
		time.Sleep(30 * time.Second)
		v.send(syscall.SIGWINCH)
		v.send(syscall.SIGALRM)
		require.Equal(t, 30*time.Second, time.Since(begun))
		require.Equal(t, 3, v.log.Count(`msg="the OnSignal function failed"`))
		require.Equal(t, 1, v.log.Count("panic in OnSignal(alarm clock) of app"))
		v.send(syscall.SIGUSR2)
		require.NoError(t, v.stopped(), "a stop interrupts it")
	})
}

func TestOnSignalWithNilIgnoresTheSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve, OnStart(started), OnSignal(syscall.SIGUSR2, nil))
		for range 3 {
			v.send(syscall.SIGUSR2)
		}
		require.Equal(t, 1, v.host.listeners()[syscall.SIGUSR2])
		require.NoError(t, v.stopped())
	})
}

func TestTheSignalHandlersOutliveTheLifeByASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := live(t, serve)
		require.NoError(t, v.stopped())
		for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGPIPE} {
			require.Equal(t, 1, v.host.listeners()[sig])
		}
		time.Sleep(signalGrace)
		synctest.Wait()
		for sig, n := range v.host.listeners() {
			require.Zero(t, n, "%v", sig)
		}
	})
}

// After any sequence of signals, the life ends, and every started component has stopped. Row F11.
func TestRandomSignalsKeepTheInvariants(t *testing.T) {
	seeds := 1000
	if testing.Short() {
		seeds = 50
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			random, hooks := rand.New(rand.NewPCG(uint64(seed), 0)), rand.New(rand.NewPCG(uint64(seed), 1))
			var trace proctest.Lines
			var inside, most atomic.Int32
			hook := func(name string) func(context.Context) error {
				return func(context.Context) error {
					trace.Say(name)
					most.Store(max(most.Load(), inside.Add(1)))
					time.Sleep(time.Duration(hooks.IntN(300)) * time.Millisecond)
					inside.Add(-1)
					return nil
				}
			}
			v := live(t, serve, OnStart(hook("OnStart")), OnReload(hook("OnReload")), OnStop(hook("OnStop")), OnExit(hook("OnExit")),
				OnSignal(syscall.SIGUSR2, hook("OnSignal")))
			signals := []os.Signal{syscall.SIGHUP, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM, syscall.SIGINT}
			for range 5 + random.IntN(10) {
				v.host.send(signals[random.IntN(len(signals))])
				time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
			}
			v.send(syscall.SIGTERM)
			if len(v.host.exits()) > 0 { // a second stop signal
				<-v.done
				return
			}
			require.NoError(t, v.end(), "seed %d", seed)
			require.EqualValues(t, 1, most.Load(), "seed %d", seed)
			for _, name := range []string{"OnStop", "OnExit"} {
				require.Equal(t, trace.Count("OnStart"), trace.Count(name), "seed %d: %v", seed, trace.All())
			}
			last := slices.Index(trace.All(), "OnStop")
			require.NotContains(t, trace.All()[max(last, 0):], "OnReload", "seed %d", seed)
		})
	}
}
