package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/monotonic"
)

func (s span) is(hook string, components []string) bool {
	return s.hook == hook && len(components) > 0 && s.component == components[0]
}

// of returns the calls of a hook.
func (d diary) of(hook string) (calls []span) {
	return slices.Collect(func(yield func(span) bool) {
		for _, s := range d.hooks {
			if s.hook == hook && !yield(s) {
				return
			}
		}
	})
}

// started returns the components whose OnStart has succeeded.
func (d diary) started() (components []string) {
	for _, s := range d.of("OnStart") {
		if s.to != never && s.text == "" {
			components = append(components, s.component)
		}
	}
	return components
}

// certainly returns a period during which the daemon certainly held the PID file.
func (d diary) certainly() (from, to time.Duration) {
	if len(d.hooks) == 0 {
		return never, 0
	}
	for _, s := range d.hooks {
		if to = s.to; to == never {
			to = s.from
		}
	}
	return d.hooks[0].from, to
}

// The model contains laws that hold for a daemon after any events in any order. An interleaving
// launches real daemons with one PID file. Their hooks behave at random. Up to three actors send
// them random requests. Daemons and actors record their actions with times of a common clock.
// Afterwards the test checks the records against the laws. The laws are methods of model.

// moody is the program of the model:
//
//	moody PIDFILE NAME COMPONENTS GATE SEED
//
// A random number generator with that seed decides whether a hook fails, takes a moment or waits
// until the file GATE exists. With seed 0, hooks do nothing. They print when they begin and end:
//
//	note TIME begin OnReload a
//	note TIME end OnReload a: the text of the error
var moody = proctest.Register("moody", func(args []string) int {
	seed, err := strconv.ParseUint(args[4], 10, 64)
	if err != nil {
		fmt.Println(err)
		return 2
	}
	hooks := &mood{random: rand.New(rand.NewPCG(seed, 1)), calm: seed == 0, gate: args[3]}
	body := &mood{random: rand.New(rand.NewPCG(seed, 2)), calm: seed == 0, gate: args[3]}
	opts := []lifecycle.Option{lifecycle.Name(args[1]), lifecycle.PIDFile(args[0])}
	for _, c := range strings.Fields(args[2]) {
		opts = append(opts, lifecycle.With(lifecycle.Hooks{
			Name:     c,
			OnCheck:  hooks.hook("OnCheck", c, 0.1),
			OnStart:  hooks.hook("OnStart", c, 0.08),
			OnReload: hooks.hook("OnReload", c, 0.25),
			OnStop:   hooks.hook("OnStop", c, 0.05),
			OnExit:   hooks.hook("OnExit", c, 0.05),
		}))
	}
	err = lifecycle.Run(body.body, opts...)
	fmt.Printf("Run returned: %v\n", err)
	return lifecycle.ExitCode(err)
})

// mood decides what hooks do. It has no lock, because hooks never overlap. If they did, the race
// detector would report it.
type mood struct {
	random *rand.Rand
	calm   bool
	gate   string
	calls  int
}

func jot(what, hook, component string) {
	fmt.Printf("note %d %s %s %s\n", monotonic.Now(), what, hook, component)
}

func (m *mood) hook(name, component string, failing float64) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		m.calls++
		jot("begin", name, component)
		defer func() {
			v := recover()
			switch {
			case v != nil:
				jot("end", name, fmt.Sprintf("%s: panic: %v", component, v))
				panic(v)
			case err != nil:
				jot("end", name, fmt.Sprintf("%s: %v", component, err))
			default:
				jot("end", name, component)
			}
		}()
		if err := m.dawdle(ctx); err != nil || m.calm || m.random.Float64() >= failing {
			return err
		}
		err = fmt.Errorf("on purpose, call %d", m.calls)
		if name == "OnReload" && m.random.IntN(4) == 0 {
			panic(err)
		}
		return err
	}
}

// dawdle takes a moment. In half of the calls, it returns early if ctx ends.
func (m *mood) dawdle(ctx context.Context) error {
	if m.calm {
		return nil
	}
	if m.random.IntN(2) == 0 {
		ctx = context.WithoutCancel(ctx)
	}
	switch m.random.IntN(8) {
	case 0, 1:
		return tarry(ctx, m.random, time.Millisecond)
	case 2:
		return tarry(ctx, m.random, 10*time.Millisecond)
	case 3:
		for {
			if _, err := os.Stat(m.gate); err == nil {
				return nil
			}
			if err := tarry(ctx, m.random, 400*time.Microsecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// tarry waits for a random time, or until ctx ends.
func tarry(ctx context.Context, random *rand.Rand, most time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(randomTime(random, most)):
		return nil
	}
}

func randomTime(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most)))
}

// body waits until its context ends, or returns earlier. It may fail.
func (m *mood) body(ctx context.Context) error {
	jot("begin", "Run", "body")
	defer jot("end", "Run", "body")
	if !m.calm && m.random.IntN(12) == 0 && tarry(ctx, m.random, 20*time.Millisecond) == nil {
		jot("leave", "Run", "body")
		return nil
	}
	<-ctx.Done()
	_ = m.dawdle(context.WithoutCancel(ctx))
	if !m.calm && m.random.IntN(20) == 0 {
		jot("fail", "Run", "body")
		return errors.New("on purpose")
	}
	return ctx.Err()
}

// If LIFECYCLE_SEED is set, the test repeats that interleaving. Use -count, because only the random
// choices are the same. The kernel schedules the processes in another way.
func TestRandomEventsInOneLifeKeepToTheModel(t *testing.T) {
	t.Parallel()
	first, last := proctest.Seeds(t, 60, 1_000)
	met := &sightings{count: map[string]int{}}
	t.Run("interleaving", func(t *testing.T) {
		for seed := first; seed <= last; seed++ {
			t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
				t.Parallel()
				newModel(t, seed, met).run()
			})
		}
	})
	t.Logf("%d interleavings met: %s", last-first+1, met)
}

// sightings counts the cases that occurred, to show that the interleavings reach all of them.
type sightings struct {
	mu    sync.Mutex
	count map[string]int
}

func (s *sightings) add(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[what]++
}

func (s *sightings) String() string {
	var all []string
	for what, n := range s.count {
		all = append(all, fmt.Sprintf("%d %s", n, what))
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Compare(strings.TrimLeft(a, "0123456789"), strings.TrimLeft(b, "0123456789"))
	})
	return strings.Join(all, ", ")
}
