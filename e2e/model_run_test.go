package e2e

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
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

// model is one run of daemons and actors, called an interleaving.
type model struct {
	*testing.T
	seed    uint64
	random  *rand.Rand
	dir     string // of the PID file only
	pidfile string
	gate    string
	lives   []*modelLife
	acts    []act
	met     *sightings
}

func newModel(t *testing.T, seed uint64, met *sightings) *model {
	m := &model{T: t, seed: seed, random: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), met: met}
	m.pidfile, m.gate = filepath.Join(m.dir, "moody.pid"), filepath.Join(t.TempDir(), "gate")
	return m
}

func (m *model) run() {
	m.interleave()
	m.end()
	m.judge()
	m.nextStart()
	if m.Failed() {
		m.Logf("what was done:\n%s", m.story())
	}
}

// broken records that a law was broken.
func (m *model) broken(format string, args ...any) {
	m.Helper()
	m.Errorf("LIFECYCLE_SEED=%d: %s", m.seed, fmt.Sprintf(format, args...))
}

// story returns the actions of all actors, in the order in which they began.
func (m *model) story() string {
	var story strings.Builder
	for _, a := range slices.SortedFunc(slices.Values(m.acts), func(a, b act) int { return cmp.Compare(a.began, b.began) }) {
		fmt.Fprintf(&story, "%s\n", a)
	}
	return story.String()
}

// modelLife is a process that was launched as a daemon with the PID file.
type modelLife struct {
	*proctest.Process
	name       string
	components []string
	launched   time.Duration
	reaped     time.Duration // upper bound
	over       chan struct{} // closed when reaped is set

	diary // as far as it was read
}

// interleave launches daemons and lets the actors play.
func (m *model) interleave() {
	var all sync.WaitGroup
	opening := randomTime(m.random, 15*time.Millisecond)
	all.Go(func() {
		time.Sleep(opening)
		if err := os.WriteFile(m.gate, nil, 0o644); err != nil {
			panic(err)
		}
	})
	first := m.launch(1 + m.random.Uint64N(math.MaxInt32))
	actors := make([]*actor, 1+m.random.IntN(3))
	for i := range actors {
		actors[i] = &actor{pidfile: m.pidfile, random: rand.New(rand.NewPCG(m.seed, uint64(i+1)))}
		all.Go(func() { actors[i].play(first.over) })
	}
	for range m.random.IntN(5) / 3 { // sometimes a rival
		breathe(m.random, 20*time.Millisecond)
		m.launch(m.random.Uint64N(2) * m.random.Uint64N(math.MaxInt32))
	}
	all.Wait()
	for _, a := range actors {
		m.acts = append(m.acts, a.acts...)
	}
}

func (m *model) launch(seed uint64) *modelLife {
	l := &modelLife{
		name:       fmt.Sprintf("moody-%d-%d", m.seed, len(m.lives)),
		components: []string{"a", "b"}[:1+m.random.IntN(2)],
		launched:   monotonic.Now(),
		over:       make(chan struct{}),
	}
	l.Process = proctest.Start(m.T, moody, m.pidfile, l.name, strings.Join(l.components, " "), m.gate, strconv.FormatUint(seed, 10))
	go func() {
		<-l.Done
		l.reaped = monotonic.Now()
		close(l.over)
	}()
	m.lives = append(m.lives, l)
	return l
}

func (l *modelLife) ended() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

// breathe waits for a random, usually short time.
func breathe(random *rand.Rand, most time.Duration) {
	switch random.IntN(4) {
	case 0:
	case 1:
		runtime.Gosched()
	case 2:
		time.Sleep(randomTime(random, 300*time.Microsecond))
	case 3:
		time.Sleep(randomTime(random, most))
	}
}

// end ends the daemons that still live, one by one. In half of the runs, it first waits until every
// HUP has led to a reload.
func (m *model) end() {
	ender := &actor{pidfile: m.pidfile, random: m.random}
	defer ender.forget()
	how := []string{"TERM", "TERM", "TERM", "stop", "KILL", "kill"}[m.random.IntN(6)]
	settled := m.random.IntN(2) == 0
	asked := map[int]bool{}
	proctest.Eventually(m.T, func() bool {
		if !slices.ContainsFunc(m.lives, func(l *modelLife) bool { return !l.ended() }) {
			return true
		}
		if ender.find() && !asked[ender.found.PID] {
			asked[ender.found.PID] = true
			if settled {
				m.settle(ender.found.PID)
			}
			ender.to(how)
		}
		return false
	}, "the end after %s; LIFECYCLE_SEED=%d", how, m.seed)
	m.acts = append(m.acts, ender.acts...)
}

// settle waits until every HUP that was sent has led to a later reload, or until the life has
// ended.
func (m *model) settle(pid int) {
	l := m.life(pid)
	if l == nil {
		return
	}
	proctest.Eventually(m.T, func() bool {
		ended := l.ended() // before the diary is read to its end
		l.diary = m.read(l)
		for _, a := range m.acts {
			if a.what == "HUP" && a.pid == pid && a.err == nil && !slices.ContainsFunc(l.attempts, func(t attempt) bool { return t[0].from >= a.began }) {
				return ended || m.cause(l) != never
			}
		}
		m.met.add("HUPs all served")
		return true
	}, "a reload of pid %d for every HUP; LIFECYCLE_SEED=%d", pid, m.seed)
}

func (m *model) life(pid int) *modelLife {
	for _, l := range m.lives {
		if l.PID() == pid {
			return l
		}
	}
	return nil
}

// nextStart starts a daemon after another one was killed. The start must succeed, and must find
// nothing of the old daemon.
func (m *model) nextStart() {
	if m.Failed() || !slices.ContainsFunc(m.lives, (*modelLife).abrupt) {
		return
	}
	m.met.add("next starts after a KILL")
	l := m.launch(0)
	a := &actor{pidfile: m.pidfile, random: m.random}
	defer a.forget()
	proctest.Eventually(m.T, func() bool { return a.find() || l.ended() }, "the next start; LIFECYCLE_SEED=%d", m.seed)
	if a.found == nil || a.found.PID != l.PID() {
		m.broken("the next start, pid %d, is not found", l.PID())
		return
	}
	for step, reloads := range []int{0, 1} {
		ready := a.to("ready")
		now := a.to("status")
		s := now.status
		if ready.err != nil || now.err != nil || s.Name != l.name || s.PID != l.PID() || s.Phase != lifecycle.Ready ||
			s.Reloads != reloads || (s.LastReload == nil) != (reloads == 0) {
			m.broken("the next start says: %v, then %v, %+v", ready.err, now.err, s)
		}
		if step == 0 {
			a.to("reload")
		}
	}
	a.to("stop")
	l.Wait()
	<-l.over
	m.lives, m.acts = []*modelLife{l}, a.acts
	m.judge()
}
