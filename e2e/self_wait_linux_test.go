package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// selfish is a program whose daemon waits for itself. Its arguments are the PID file, the log and
// an action:
//
//	ensure  calls Ensure without Args in main, and then lives
//	twice   calls Run with Detach twice, for two daemons
//	main X  calls X before Run in the daemon or its worker
//	hook X  calls X in OnStart
//	fn X    calls X in fn
var selfish = proctest.Register("selfish", func(args []string) int {
	pidfile, where, what := args[0], args[2], args[3]
	opts := []lifecycle.Option{lifecycle.PIDFile(pidfile), lifecycle.LogFile(args[1]), lifecycle.StartTimeout(time.Hour)}
	supervised := strings.HasPrefix(where, "supervised-")
	if supervised {
		opts = append(opts, lifecycle.Supervise(lifecycle.RestartPolicy{MinDelay: -1}))
		where = strings.TrimPrefix(where, "supervised-")
	}
	waits := func(in string) func(context.Context) error {
		return func(ctx context.Context) error {
			if in != where {
				return nil
			}
			return selfWaits[what](ctx, pidfile, opts)
		}
	}
	switch where {
	case "ensure":
		_, err := lifecycle.Ensure(context.Background(), opts...)
		fmt.Println("Ensure:", err)
		if err != nil {
			return 1
		}
		return 0
	case "twice":
		err := lifecycle.Run(nil, append(opts, lifecycle.Detach())...)
		fmt.Println("first Run:", err)
		if err = lifecycle.Run(nil, append(opts, lifecycle.Detach(), lifecycle.PIDFile(pidfile+".other"))...); err != nil {
			fmt.Println("second Run:", err)
		}
		return lifecycle.ExitCode(err)
	}
	// The supervisor holds the PID file before it starts the worker.
	if supervised && withFound(pidfile, func(*lifecycle.Process) error { return nil }) == nil || !supervised && lifecycle.InDaemon() {
		if err := waits("main")(context.Background()); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fn := func(ctx context.Context) error {
		fmt.Println("fn:", waits("fn")(ctx))
		<-ctx.Done()
		return nil
	}
	return lifecycle.Main([]string{"start"}, fn, append(opts, lifecycle.OnStart(waits("hook")))...)
})

// selfWaits are the calls that wait for the daemon.
var selfWaits = map[string]func(ctx context.Context, pidfile string, opts []lifecycle.Option) error{
	"ensure": func(ctx context.Context, _ string, opts []lifecycle.Option) error {
		p, err := lifecycle.Ensure(ctx, opts...)
		if err == nil {
			p.Close()
		}
		return err
	},
	"ready": func(ctx context.Context, pidfile string, _ []lifecycle.Option) error {
		return withFound(pidfile, func(p *lifecycle.Process) error { return p.WaitReady(ctx) })
	},
	"ready in the background": func(_ context.Context, pidfile string, _ []lifecycle.Option) error {
		return withFound(pidfile, func(p *lifecycle.Process) error { return p.WaitReady(context.Background()) })
	},
	"reload": func(_ context.Context, pidfile string, _ []lifecycle.Option) error {
		return withFound(pidfile, func(p *lifecycle.Process) error { return p.Reload(context.Background()) })
	},
	"reopen": func(ctx context.Context, pidfile string, _ []lifecycle.Option) error {
		return withFound(pidfile, func(p *lifecycle.Process) error { return p.Reopen(ctx) })
	},
	"stop": func(_ context.Context, pidfile string, _ []lifecycle.Option) error {
		return withFound(pidfile, func(p *lifecycle.Process) error { return p.Stop(context.Background()) })
	},
	"wait": func(_ context.Context, pidfile string, _ []lifecycle.Option) error {
		return withFound(pidfile, func(p *lifecycle.Process) error { return p.Wait(context.Background()) })
	},
}

func withFound(pidfile string, do func(*lifecycle.Process) error) error {
	p, err := lifecycle.Find(pidfile)
	if err != nil {
		return err
	}
	return errors.Join(do(p), p.Close())
}

func (b *background) selfish(where, what string) proctest.Result {
	b.t.Helper()
	return proctest.Call(b.t, selfish, b.pidfile, b.log, where, what)
}

const (
	waitsBeforeRun = "lifecycle: this process was started as the daemon, but waits for the daemon before it calls Run: set Args so that the main of the daemon calls Run or Main"
	waitsForEnd    = "a process cannot wait for its own end: use Life.Stop"
)

// A call that waits would wait for an hour, the StartTimeout.
func TestAProcessThatWasStartedAsTheDaemonDoesNotWaitForTheDaemon(t *testing.T) {
	t.Parallel()
	wants := map[string]string{"main": waitsBeforeRun, "supervised-main": waitsBeforeRun, "hook": "set PIDFile and Args of another daemon", "supervised-hook": "set PIDFile and Args of another daemon"}
	places := slices.Sorted(maps.Keys(wants))
	for n, what := range slices.Sorted(maps.Keys(selfWaits)) {
		// In the short form, each call has two places, and the next call has the other two.
		for i, where := range places {
			if i%2 != n%2 && proctest.Rounds(1, 2, 2) == 1 {
				continue
			}
			want := wants[where]
			t.Run(where+" "+what, func(t *testing.T) {
				t.Parallel()
				if what == "stop" || what == "wait" {
					if where != "main" {
						want = waitsForEnd
					}
				}
				b := inBackground(t)
				got := b.selfish(where, what)
				require.Equal(t, 1, got.Code, "%+v", got)
				require.Contains(t, got.Stderr, "start failed: ")
				require.Contains(t, got.Stderr, want)
			})
		}
	}
	t.Run("Ensure without Args", func(t *testing.T) {
		t.Parallel()
		b := inBackground(t)
		got := b.selfish("ensure", "")
		require.Equal(t, 1, got.Code)
		require.Contains(t, got.Stdout, "Ensure: lifecycle: died before it was ready; its last words:\n  | Ensure: "+waitsBeforeRun+"\n")
	})
}

func TestABodyOfTheDaemonMayWaitUntilItIsReady(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"fn", "supervised-fn"} {
		b := inBackground(t)
		got := b.selfish(where, "ready")
		require.Equal(t, 0, got.Code, "%+v", got)
		p, err := lifecycle.Find(b.pidfile)
		require.NoError(t, err)
		b.awaitSaid("fn: <nil>\n")
		require.NoError(t, p.Stop(context.Background()))
		require.NoError(t, p.Close())
	}
}

// Otherwise the process of the first daemon would become the second daemon when the first one is
// stopped.
func TestADetachedProcessCannotBecomeASecondDaemon(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	other := b.pidfile + ".other"
	got := b.selfish("twice", "")
	require.Equal(t, 1, got.Code, "%+v", got)
	require.Contains(t, got.Stdout, "first Run: <nil>\n")
	require.Contains(t, got.Stdout, fmt.Sprintf("second Run: lifecycle: the launcher uses the PID file %q, but the daemon uses %q: pass both the same PID file, or set Args so that the main of the daemon calls Run for it (log %s)\n", other, b.pidfile, b.log))
	p, err := lifecycle.Find(b.pidfile)
	require.NoError(t, err)
	require.NoError(t, p.Stop(context.Background()))
	require.NoError(t, p.Close())
	require.Contains(t, b.said(), "second Run: lifecycle: Detach: this process is the daemon of an earlier call of Run, so it cannot be the next one too: set Args so that the main of each daemon calls Run once\n")
	require.NoFileExists(t, other)
	require.NoError(t, os.Remove(other+".state")) // it contains the failure
	requireNothingLeft(t, filepath.Clean(b.pidfile))
}
