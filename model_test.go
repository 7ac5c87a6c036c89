package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/lifecycle/internal/monotonic"
	"example.com/lifecycle/internal/proctest"
)

// The model: what is true of a daemon whatever is done to it, in whatever order. An interleaving launches real daemons on one PID file,
// with hooks that do what chance says, and up to three actors do to them what chance says as well. Daemons and actors note when
// they did what, by a clock that they share. Afterwards the notes are held against the laws, which are the methods of model that end this file.

// moody is the program of the model:
//
//	moody PIDFILE NAME COMPONENTS GATE SEED
//
// Its hooks fail, take a moment or wait until the file GATE exists, as a random number generator with that seed has it; with seed 0 they do
// nothing. They note on stdout when they begin and end:
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
	opts := []Option{Name(args[1]), PIDFile(args[0])}
	for _, c := range strings.Fields(args[2]) {
		opts = append(opts, With(Hooks{
			Name:     c,
			OnCheck:  hooks.hook("OnCheck", c, 0.1),
			OnStart:  hooks.hook("OnStart", c, 0.08),
			OnReload: hooks.hook("OnReload", c, 0.25),
			OnStop:   hooks.hook("OnStop", c, 0.05),
			OnExit:   hooks.hook("OnExit", c, 0.05),
		}))
	}
	err = Run(body.body, opts...)
	fmt.Printf("Run returned: %v\n", err)
	return ExitCode(err)
})

// mood decides what hooks do. Nothing guards it, for hooks never run beside each other: if they did, the race detector would say so too.
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

// dawdle takes a moment, which the end of ctx cuts short every other time.
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

// tarry waits for a random time, unless ctx ends before.
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

// body waits for its end, unless it leaves before, and may fail.
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

// TestWhateverIsDone… repeats one interleaving where LIFECYCLE_SEED says which. What chance decides is the same then, but not how
// the kernel shares out the processor: -count helps.
func TestWhateverIsDoneToItInWhateverOrderItKeepsToTheModel(t *testing.T) {
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

// sightings counts what the interleavings have met, to show that they get everywhere.
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

// model is one interleaving.
type model struct {
	*testing.T
	seed    uint64
	random  *rand.Rand
	dir     string // of the PID file, and of nothing else
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

// broken says that a law was broken.
func (m *model) broken(format string, args ...any) {
	m.Helper()
	m.Errorf("LIFECYCLE_SEED=%d: %s", m.seed, fmt.Sprintf(format, args...))
}

// story is what the actors did, in the order in which they began it.
func (m *model) story() string {
	var story strings.Builder
	for _, a := range slices.SortedFunc(slices.Values(m.acts), func(a, b act) int { return cmp.Compare(a.began, b.began) }) {
		fmt.Fprintf(&story, "%s\n", a)
	}
	return story.String()
}

// modelLife is a process that was launched to live on the PID file.
type modelLife struct {
	*proctest.Process
	name       string
	components []string
	launched   time.Duration
	reaped     time.Duration // at the latest
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
	for range m.random.IntN(5) / 3 { // a rival, or mostly none
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

// breathe lets a random moment pass, mostly a short one.
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

// end ends the daemons that still live, each once, half of the times after every HUP has become a reload.
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

// settle waits until every HUP that was sent has become a reload that began after it, unless something has ended the life.
func (m *model) settle(pid int) {
	l := m.life(pid)
	if l == nil {
		return
	}
	proctest.Eventually(m.T, func() bool {
		ended := l.ended() // before its diary is read to its end
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

// nextStart is that after a daemon was killed: it works, and finds nothing of what was.
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
		if ready.err != nil || now.err != nil || s.Name != l.name || s.PID != l.PID() || s.Phase != Ready ||
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

// actor does one thing after the other to whichever daemon it finds, and notes it.
type actor struct {
	pidfile string
	random  *rand.Rand
	found   *Process // which may be out of date
	hasty   bool     // it does not want to wait for a verdict
	acts    []act
}

// act is what an actor did, and what came of it.
type act struct {
	what         string
	pid          int // of the daemon; 0 if there was none
	began, ended time.Duration
	status       Status
	err          error
	hasty        bool
}

func (a act) String() string {
	text := fmt.Sprintf("%d to %d: %s of pid %d: %v", a.began, a.ended, a.what, a.pid, a.err)
	if a.status.Name != "" {
		text += fmt.Sprintf(" %s %s %q reloads=%d %+v", a.status.Name, a.status.Phase, a.status.Doing, a.status.Reloads, a.status.LastReload)
	}
	return text
}

// play waits, except at times, until there is a daemon, and then does what comes to mind.
func (a *actor) play(firstOver <-chan struct{}) {
	defer a.forget()
	for early := a.random.IntN(5) == 0; !early && !a.find(); time.Sleep(100 * time.Microsecond) {
		select {
		case <-firstOver:
			early = true
		default:
		}
	}
	for range 1 + a.random.IntN(12) {
		breathe(a.random, 4*time.Millisecond)
		what := chances[a.random.IntN(len(chances))]
		if (a.found != nil && a.random.IntN(2) == 0) || a.find() {
			a.hasty = a.random.IntN(5) == 0
			a.to(what)
		}
	}
}

// chances has everything that an actor can do to a daemon as often as it should come to mind.
var chances = slices.Concat(
	slices.Repeat([]string{"HUP"}, 25), slices.Repeat([]string{"reload"}, 20), slices.Repeat([]string{"status"}, 26),
	slices.Repeat([]string{"state"}, 8), slices.Repeat([]string{"ready"}, 6), slices.Repeat([]string{"TERM"}, 4),
	slices.Repeat([]string{"stop"}, 2), slices.Repeat([]string{"KILL"}, 2), slices.Repeat([]string{"kill"}, 1))

func (a *actor) forget() {
	if a.found != nil {
		_ = a.found.Close()
		a.found = nil
	}
}

// note does something and notes when.
func (a *actor) note(n act, do func(*act)) act {
	n.began = monotonic.Now()
	do(&n)
	n.ended = monotonic.Now()
	a.acts = append(a.acts, n)
	return n
}

func (a *actor) find() (found bool) {
	a.forget()
	return a.note(act{what: "find"}, func(n *act) {
		if a.found, n.err = Find(a.pidfile); n.err == nil {
			n.pid = a.found.PID
		}
	}).err == nil
}

// to does something to the daemon that it has found.
func (a *actor) to(what string) act {
	n, patience := act{what: what, pid: a.found.PID, hasty: a.hasty && what == "reload"}, proctest.Patience
	if n.hasty {
		patience = randomTime(a.random, 3*time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return a.note(n, func(n *act) {
		switch what {
		case "HUP":
			n.err = a.found.Signal(syscall.SIGHUP)
		case "TERM":
			n.err = a.found.Signal(syscall.SIGTERM)
		case "KILL":
			n.err = a.found.Signal(syscall.SIGKILL)
		case "reload":
			n.err = a.found.Reload(ctx)
		case "ready":
			n.err = a.found.WaitReady(ctx)
		case "stop":
			n.err = a.found.Stop(ctx)
		case "kill":
			n.err = a.found.Kill(ctx)
		case "status":
			n.status, n.err = a.found.Status()
		case "state": // as it stands in the file, which may be that of another or a dead one by now
			n.status, n.err = readStateOnce(statePath(a.pidfile), 0)
			n.pid = n.status.PID
		}
	})
}

// never is when something ends that does not end.
const never = time.Duration(math.MaxInt64)

// diary is what a daemon has noted.
type diary struct {
	hooks    []span // in the order in which they began
	attempts []attempt
	readyAt  int           // how many hooks had begun when it said that it is ready; -1 if it did not
	body     span          // zero if it was not called
	bodyAt   int           // how many hooks had begun when the body ended
	left     time.Duration // when the body left by itself
	failed   bool          // the body failed on purpose
	text     string
}

// span is a call of a hook.
type span struct {
	hook, component string
	from, to        time.Duration // never where it did not end
	text            string        // of its error
}

func (s span) is(hook string, components []string) bool {
	return s.hook == hook && len(components) > 0 && s.component == components[0]
}

// attempt is a reload: the OnCheck and OnReload that were called for it.
type attempt []span

func (t attempt) last() span { return t[len(t)-1] }

// applied are the components that took over the new configuration.
func (t attempt) applied() (components []string) {
	for _, s := range t {
		if s.hook == "OnReload" && s.to != never && s.text == "" {
			components = append(components, s.component)
		}
	}
	return components
}

var notePattern = regexp.MustCompile(`^note (\d+) (\w+) (\w+) (\w+)(?:: (.*))?\n`)

// read reads what a daemon has noted so far. Hooks that run beside each other break a law already here.
func (m *model) read(l *modelLife) diary {
	d := diary{readyAt: -1, left: never, text: l.Out.String()}
	for line := range strings.Lines(d.text) {
		if strings.Contains(line, "INFO ready pid=") {
			d.readyAt = len(d.hooks)
		}
		note := notePattern.FindStringSubmatch(line)
		if note == nil {
			continue
		}
		nanoseconds, _ := strconv.ParseInt(note[1], 10, 64)
		at, what, s := time.Duration(nanoseconds), note[2], span{hook: note[3], component: note[4], text: note[5]}
		open := len(d.hooks) > 0 && d.hooks[len(d.hooks)-1].to == never
		switch {
		case what == "leave":
			d.left = at
		case what == "fail":
			d.failed = true
		case s.hook == "Run" && what == "begin":
			d.body = span{hook: "Run", component: "body", from: at, to: never}
		case s.hook == "Run":
			d.body.to, d.bodyAt = at, len(d.hooks)
		case what == "begin" && !open:
			s.from, s.to = at, never
			d.hooks = append(d.hooks, s)
		case what == "end" && open && d.hooks[len(d.hooks)-1].is(s.hook, []string{s.component}):
			d.hooks[len(d.hooks)-1].to, d.hooks[len(d.hooks)-1].text = at, s.text
		default:
			m.broken("pid %d: a hook ran beside another one: %s", l.PID(), line)
		}
	}
	for _, s := range d.hooks {
		switch {
		case s.is("OnCheck", l.components):
			d.attempts = append(d.attempts, attempt{s})
		case s.hook == "OnCheck" || s.hook == "OnReload":
			if len(d.attempts) == 0 {
				d.attempts = append(d.attempts, attempt{})
			}
			last := len(d.attempts) - 1
			d.attempts[last] = append(d.attempts[last], s)
		}
	}
	return d
}

// of are the calls of a hook.
func (d diary) of(hook string) (calls []span) {
	return slices.Collect(func(yield func(span) bool) {
		for _, s := range d.hooks {
			if s.hook == hook && !yield(s) {
				return
			}
		}
	})
}

// started are the components whose OnStart has succeeded.
func (d diary) started() (components []string) {
	for _, s := range d.of("OnStart") {
		if s.to != never && s.text == "" {
			components = append(components, s.component)
		}
	}
	return components
}

// certainly is from when to when at least it held the PID file.
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

func (l *modelLife) within(a act) bool {
	from, to := l.certainly()
	return a.began >= from && a.ended <= to
}

func (l *modelLife) killed() bool {
	return l.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
}

// quit says that another stop signal came more than a second after the first, which happens where the machine stood still.
func (l *modelLife) quit() bool { return l.Out.Count("quitting at once") > 0 }

func (l *modelLife) abrupt() bool { return l.killed() || l.quit() }

var refusal = regexp.MustCompile(`Run returned: lifecycle: already running \(pid (\d+)\)`)

// refusedFor is the daemon for which this one was not started, 0 if it was.
func (l *modelLife) refusedFor() (pid int) {
	if found := refusal.FindStringSubmatch(l.text); found != nil {
		pid, _ = strconv.Atoi(found[1])
	}
	return pid
}

// first is when one of these was done to the daemon for the first time.
func (m *model) first(l *modelLife, what ...string) time.Duration {
	at := never
	for _, a := range m.acts {
		if a.pid == l.PID() && slices.Contains(what, a.what) {
			at = min(at, a.began)
		}
	}
	return at
}

// cause is when that came which ended the life.
func (m *model) cause(l *modelLife) time.Duration {
	at := min(l.left, m.first(l, "TERM", "stop", "KILL", "kill"))
	for _, s := range l.of("OnStart") {
		if s.text != "" {
			at = min(at, s.to)
		}
	}
	return at
}

// From here on: the laws.

func (m *model) judge() {
	for _, l := range m.lives {
		l.diary = m.read(l)
	}
	for _, l := range m.lives {
		m.hooksComeInOrderAndAsOftenAsTheyMust(l)
		m.theBodyReturnsBeforeOnExit(l)
		m.reloadsAreAskedFor(l)
		m.itEndsForACauseAndWithItsCode(l)
	}
	m.neverTwoAtOnce()
	for _, a := range m.acts {
		m.whatIsHeldIsFound(a)
		m.whatIsFoundIsHeld(a)
		m.aVerdictIsOfAReloadThatBeganLater(a)
		m.theStateIsOfThisDaemonAndSaysWhatItDoes(a)
	}
	m.nothingGoesBack()
	m.whatIsLeftTellsHowItEnded()
	m.sight()
}

func (m *model) hooksComeInOrderAndAsOftenAsTheyMust(l *modelLife) {
	stage := map[string]int{"OnStart": 0, "OnCheck": 1, "OnReload": 1, "OnStop": 2, "OnExit": 3}
	if !slices.IsSortedFunc(l.hooks, func(a, b span) int { return cmp.Compare(stage[a.hook], stage[b.hook]) }) {
		m.broken("pid %d: the hooks are out of order", l.PID())
	}
	starts, started := l.of("OnStart"), l.started()
	for i, s := range starts {
		if i >= len(l.components) || s.component != l.components[i] || i < len(starts)-1 && i >= len(started) {
			m.broken("pid %d: OnStart of %s is number %d", l.PID(), s.component, i+1)
		}
	}
	if len(l.attempts) > 0 && (len(started) < len(l.components) || l.readyAt != len(starts)) {
		m.broken("pid %d: a reload, but %d OnStart have succeeded, and it was ready after %d hooks", l.PID(), len(started), l.readyAt)
	}
	for i, t := range l.attempts {
		m.aReloadChecksAllAndThenAppliesInOrder(l, t, i == len(l.attempts)-1)
	}
	slices.Reverse(started)
	for _, hook := range []string{"OnStop", "OnExit"} {
		var called []string
		for _, s := range l.of(hook) {
			called = append(called, s.component)
		}
		if l.abrupt() && len(called) < len(started) && slices.Equal(called, started[:len(called)]) {
			continue
		}
		if !slices.Equal(called, started) {
			m.broken("pid %d: %s of %v, where %v were started", l.PID(), hook, called, started)
		}
	}
}

func (m *model) theBodyReturnsBeforeOnExit(l *modelLife) {
	called, exits := l.body.from > 0, len(l.of("OnExit"))
	if len(l.attempts) > 0 && !called && !l.abrupt() {
		m.broken("pid %d: a reload, but no body", l.PID())
	}
	if called && exits > 0 && (l.body.to == never || l.bodyAt > len(l.hooks)-exits) {
		m.broken("pid %d: OnExit at hook %d, the body returned at hook %d", l.PID(), len(l.hooks)-exits, l.bodyAt)
	}
}

// aReloadChecksAllAndThenAppliesInOrder: it ends with the first error, and only the last one may be cut short.
func (m *model) aReloadChecksAllAndThenAppliesInOrder(l *modelLife, t attempt, last bool) {
	var must []span
	for _, hook := range []string{"OnCheck", "OnReload"} {
		for _, c := range l.components {
			must = append(must, span{hook: hook, component: c})
		}
	}
	for i, s := range t {
		if i >= len(must) || !must[i].is(s.hook, []string{s.component}) || i < len(t)-1 && s.text != "" {
			m.broken("pid %d: a reload that does not go on like this: %+v", l.PID(), t)
			return
		}
	}
	if len(t) < len(must) && t.last().text == "" && !last {
		m.broken("pid %d: a reload without an end: %+v", l.PID(), t)
	}
}

func (m *model) reloadsAreAskedFor(l *modelLife) {
	asked := 0
	for _, a := range m.acts {
		if a.pid == l.PID() && (a.what == "HUP" && a.err == nil || a.what == "reload") {
			asked++
		}
	}
	if len(l.attempts) > asked {
		m.broken("pid %d: %d reloads of %d HUPs", l.PID(), len(l.attempts), asked)
	}
}

func (m *model) itEndsForACauseAndWithItsCode(l *modelLife) {
	want := 0
	for _, s := range l.hooks {
		if s.hook != "OnCheck" && s.hook != "OnReload" && strings.Contains(s.text, "on purpose") || l.failed {
			want = 1
		}
	}
	status := l.Cmd.ProcessState.Sys().(syscall.WaitStatus)
	refusedFor := l.refusedFor()
	switch {
	case l.killed():
		if status.Signal() != syscall.SIGKILL || m.first(l, "KILL", "kill") > l.reaped {
			m.broken("pid %d: killed by %v", l.PID(), status.Signal())
		}
		return
	case l.quit():
		want = 1
		if first := m.first(l, "TERM", "stop"); l.reaped-first < insistAfter {
			m.broken("pid %d: quit %v after the first TERM", l.PID(), l.reaped-first)
		}
	case refusedFor != 0:
		want = 1
		other := m.life(refusedFor)
		if other == nil || other == l || other.reaped < l.launched || other.launched > l.reaped || len(l.hooks) > 0 {
			m.broken("pid %d: refused because of pid %d", l.PID(), refusedFor)
		}
	case m.cause(l) > l.reaped:
		m.broken("pid %d: ended without a cause", l.PID())
	}
	if status.ExitStatus() != want {
		m.broken("pid %d: exit code %d, must be %d", l.PID(), status.ExitStatus(), want)
	}
}

func (m *model) neverTwoAtOnce() {
	for i, l := range m.lives {
		from, to := l.certainly()
		for _, other := range m.lives[:i] {
			if otherFrom, otherTo := other.certainly(); from <= otherTo && otherFrom <= to {
				m.broken("pid %d and pid %d lived at the same time", other.PID(), l.PID())
			}
		}
	}
}

// whatIsHeldIsFound: while a daemon has the PID file, nothing that is done to it fails.
func (m *model) whatIsHeldIsFound(a act) {
	gone := errors.Is(a.err, ErrNotRunning)
	for _, l := range m.lives {
		if (a.what == "find" || a.pid == l.PID()) && gone && l.within(a) {
			m.broken("pid %d held the PID file all the time: %s", l.PID(), a)
		}
		if a.what == "find" && !gone && a.pid != l.PID() && l.within(a) {
			m.broken("it was pid %d that held the PID file: %s", l.PID(), a)
		}
		if a.what == "status" && a.pid == l.PID() && a.err != nil && l.within(a) {
			m.broken("it had a state all the time: %s", a)
		}
	}
	switch a.what {
	case "find", "HUP", "TERM", "KILL":
		if a.err != nil && !gone {
			m.broken("failed: %s", a)
		}
	case "stop", "kill":
		if a.err != nil {
			m.broken("failed: %s", a)
		}
	}
}

// whatIsFoundIsHeld: nothing reaches a daemon that has ended.
func (m *model) whatIsFoundIsHeld(a act) {
	if a.err != nil || a.what == "state" || a.what == "stop" || a.what == "kill" {
		return
	}
	l := m.life(a.pid)
	if l == nil || a.began >= l.reaped || a.ended <= l.launched {
		m.broken("found what was not there: %s", a)
	}
	if a.what != "ready" {
		return
	}
	if starts := l.of("OnStart"); len(l.started()) < len(l.components) || starts[len(starts)-1].to > a.ended {
		m.broken("was not ready: %s", a)
	}
}

func (m *model) aVerdictIsOfAReloadThatBeganLater(a act) {
	l := m.life(a.pid)
	if l == nil || a.what != "reload" && a.what != "ready" || a.what == "ready" && a.err == nil {
		return
	}
	stopped := m.cause(l) <= a.ended
	var failed *HookError
	var verdict *reloadError
	switch {
	case a.err == nil:
		if !slices.ContainsFunc(l.attempts, func(t attempt) bool {
			return t[0].from >= a.began && t.last().to <= a.ended && slices.Equal(t.applied(), l.components)
		}) {
			m.broken("no such reload has succeeded: %s", a)
		}
		m.met.add("reloads accepted")
	case errors.As(a.err, &failed) && strings.Contains(failed.Err.Error(), "on purpose"):
		if !errors.Is(a.err, ErrReload) || !errors.As(a.err, &verdict) || !slices.ContainsFunc(l.attempts, func(t attempt) bool {
			return t[0].from >= a.began && t.last().to <= a.ended && t.last().is(failed.Hook, []string{failed.Component}) &&
				t.last().text == failed.Err.Error() && slices.Equal(t.applied(), verdict.applied)
		}) {
			m.broken("no such reload has failed: %s", a)
		}
		m.met.add("reloads rejected")
	case a.hasty && errors.Is(a.err, context.DeadlineExceeded):
		m.met.add("reloads not waited for")
	case errors.Is(a.err, context.DeadlineExceeded), !stopped:
		m.broken("nothing has ended the life, but there was no verdict: %s", a)
	case a.what == "reload" && !errors.Is(a.err, ErrReload) && !errors.Is(a.err, ErrNotRunning):
		m.broken("failed: %s", a)
	default:
		m.met.add("reloads overtaken by the end")
	}
}

func (m *model) theStateIsOfThisDaemonAndSaysWhatItDoes(a act) {
	if a.what != "status" && a.what != "state" || a.err != nil {
		return
	}
	l, s := m.life(a.pid), a.status
	if l == nil || s.Name != l.name || s.Phase < Starting || s.Phase > Stopping {
		m.broken("the state of another, or of nobody: %s", a)
		return
	}
	started, least, most := 0, -1, 0
	for _, h := range l.hooks {
		stops := h.hook == "OnStop" || h.hook == "OnExit"
		phase := map[string]Phase{"OnStart": Starting, "OnCheck": Reloading, "OnReload": Reloading}[h.hook]
		during := a.began >= h.from && a.ended <= h.to
		switch {
		case during && s.Doing != h.hook+" of "+h.component,
			during && !stops && s.Phase != phase && s.Phase != Stopping,
			a.began >= h.from && stops && s.Phase != Stopping,
			a.began >= h.from && phase == Reloading && s.Phase == Starting:
			m.broken("pid %d ran %s of %s since %d: %s", l.PID(), h.hook, h.component, h.from, a)
		}
		if h.hook == "OnStart" && h.text == "" && h.to <= a.ended {
			started++
		}
	}
	if (s.Phase == Ready || s.Phase == Reloading) && started < len(l.components) {
		m.broken("only %d components had been started: %s", started, a)
	}
	if s.Phase == Stopping {
		most++ // one that was cut short before its first hook
		if m.cause(l) > a.ended {
			m.broken("nothing has ended the life: %s", a)
		}
	}
	for _, t := range l.attempts {
		if t[0].from <= a.began {
			least++
		}
		if t[0].from <= a.ended {
			most++
		}
	}
	if s.Reloads < least || s.Reloads > most || (s.LastReload == nil) != (s.Reloads == 0) {
		m.broken("there had been between %d and %d reloads: %s", least, most, a)
	}
	m.met.add(s.Phase.String())
}

// nothingGoesBack: of two looks of which one was over before the other began, the later one sees no earlier phase, and no daemon that
// was gone; and a daemon that is gone runs no hooks.
func (m *model) nothingGoesBack() {
	for _, x := range m.acts {
		l := m.life(x.pid)
		if l == nil {
			continue
		}
		earliest, _ := x.phases()
		if _, last := l.certainly(); earliest == Exited && last > x.ended {
			m.broken("it was not gone, but ran hooks until %d: %s", last, x)
		}
		for _, y := range m.acts {
			if x.pid != y.pid || x.ended > y.began {
				continue
			}
			_, latest := y.phases()
			if earliest > latest && (earliest < Exited || y.what != "state") {
				m.broken("the phases go back:\n%s\n%s", x, y)
			}
			if x.status.PID == 0 || y.status.PID == 0 {
				continue
			}
			v, w := x.status.LastReload, y.status.LastReload
			if x.status.Reloads > y.status.Reloads || v != nil && v.Began > w.Began ||
				v != nil && v.Began == w.Began && x.status.Reloads < y.status.Reloads {
				m.broken("the reloads go back:\n%s\n%s", x, y)
			}
		}
	}
}

// phases are between which two phases the daemon was at some moment of a look. Ready and Reloading count as one.
func (a act) phases() (earliest, latest Phase) {
	switch {
	case a.pid == 0 || a.what == "state" && a.err != nil:
		return Starting, Exited
	case errors.Is(a.err, ErrNotRunning), a.err == nil && (a.what == "stop" || a.what == "kill"):
		return Exited, Exited
	case a.err == nil && (a.what == "status" || a.what == "state"):
		at := a.status.Phase
		if at == Reloading {
			at = Ready
		}
		return at, at
	case a.err == nil && a.what == "ready":
		return Ready, Ready
	case a.err == nil && a.what == "reload":
		return Ready, Stopping
	}
	return Starting, Stopping
}

// whatIsLeftTellsHowItEnded: nothing after a clean end, and a PID file and state that tell of its death after a KILL.
func (m *model) whatIsLeftTellsHowItEnded() {
	if _, err := Find(m.pidfile); !errors.Is(err, ErrNotRunning) {
		m.broken("all have ended, but: %v", err)
	}
	var last *modelLife
	abrupt, unclear := false, false
	for _, l := range m.lives {
		abrupt = abrupt || l.abrupt()
		unclear = unclear || len(l.hooks) == 0 && l.refusedFor() == 0 // it may have taken over what was left, or not
		if last == nil || len(l.hooks) > 0 && (len(last.hooks) == 0 || l.hooks[0].from > last.hooks[0].from) {
			last = l
		}
	}
	if !abrupt {
		if left, err := os.ReadDir(m.dir); err != nil || len(left) > 0 {
			m.broken("all have ended cleanly, but have left %v, %v", left, err)
		}
		return
	}
	if unclear || !last.killed() || last.hooks[len(last.hooks)-1].to != never && len(last.of("OnExit")) == len(last.started()) {
		return // or it may have been about to remove them itself
	}
	m.met.add("left by a KILL")
	got := callVerb(m.T, m.pidfile, "status")
	if got.Code != 1 || !strings.HasPrefix(got.Stdout, fmt.Sprintf("daemon: dead: pid %d left %s, was ", last.PID(), m.pidfile)) {
		m.broken("pid %d was killed, and status says: %+v", last.PID(), got)
	}
}

// sight counts what was met.
func (m *model) sight() {
	for _, a := range m.acts {
		if a.what != "find" && a.what != "reload" && a.err == nil {
			m.met.add(a.what)
		}
	}
	for _, l := range m.lives {
		switch {
		case l.killed():
			m.met.add("daemons killed")
		case l.refusedFor() != 0:
			m.met.add("starts refused")
		case l.readyAt < 0:
			m.met.add("daemons ended before they were ready")
		default:
			m.met.add("daemons ended")
		}
	}
}
