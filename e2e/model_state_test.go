package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

func (m *model) theStateIsOfThisDaemonAndSaysWhatItDoes(a act) {
	if a.what != "status" && a.what != "state" || a.err != nil {
		return
	}
	l, s := m.life(a.pid), a.status
	if l != nil && s.Name == l.name && s.Phase == lifecycle.Exited && s.Failed != nil {
		return // the record of a failed end stays; nothingGoesBack looks at it
	}
	if l == nil || s.Name != l.name || s.Phase < lifecycle.Starting || s.Phase > lifecycle.Stopping {
		m.broken("the state of another, or of nobody: %s", a)
		return
	}
	started, least, most := 0, -1, 0
	for _, h := range l.hooks {
		stops := h.hook == "OnStop" || h.hook == "OnExit"
		phase := map[string]lifecycle.Phase{"OnStart": lifecycle.Starting, "OnCheck": lifecycle.Reloading, "OnReload": lifecycle.Reloading}[h.hook]
		during := a.began >= h.from && a.ended <= h.to
		switch {
		case during && s.Doing != h.hook+" of "+h.component,
			during && !stops && s.Phase != phase && s.Phase != lifecycle.Stopping,
			a.began >= h.from && stops && s.Phase != lifecycle.Stopping,
			a.began >= h.from && phase == lifecycle.Reloading && s.Phase == lifecycle.Starting:
			m.broken("pid %d ran %s of %s since %d: %s", l.PID(), h.hook, h.component, h.from, a)
		}
		if h.hook == "OnStart" && h.text == "" && h.to <= a.ended {
			started++
		}
	}
	if (s.Phase == lifecycle.Ready || s.Phase == lifecycle.Reloading) && started < len(l.components) {
		m.broken("only %d components had been started: %s", started, a)
	}
	if s.Phase == lifecycle.Stopping {
		most++ // a reload that ended before its first hook
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

// nothingGoesBack compares each status query with the queries that began after it was over. A later
// query must not report an earlier phase, and must not report a daemon that was gone before. A
// daemon that is gone runs no hooks.
func (m *model) nothingGoesBack() {
	for _, x := range m.acts {
		l := m.life(x.pid)
		if l == nil {
			continue
		}
		earliest, _ := x.phases()
		if _, last := l.certainly(); earliest == lifecycle.Exited && last > x.ended {
			m.broken("it was not gone, but ran hooks until %d: %s", last, x)
		}
		for _, y := range m.acts {
			if x.pid != y.pid || x.ended > y.began {
				continue
			}
			_, latest := y.phases()
			if earliest > latest && (earliest < lifecycle.Exited || y.what != "state") {
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

// phases returns the earliest and latest phase that the daemon may have had during the query. Ready
// and Reloading count as one.
func (a act) phases() (earliest, latest lifecycle.Phase) {
	switch {
	case a.pid == 0 || a.what == "state" && a.err != nil:
		return lifecycle.Starting, lifecycle.Exited
	case errors.Is(a.err, lifecycle.ErrNotRunning), a.err == nil && (a.what == "stop" || a.what == "kill"):
		return lifecycle.Exited, lifecycle.Exited
	case a.err == nil && (a.what == "status" || a.what == "state"):
		at := a.status.Phase
		if at == lifecycle.Reloading {
			at = lifecycle.Ready
		}
		return at, at
	case a.err == nil && a.what == "ready":
		return lifecycle.Ready, lifecycle.Ready
	case a.err == nil && a.what == "reload":
		return lifecycle.Ready, lifecycle.Stopping
	}
	return lifecycle.Starting, lifecycle.Stopping
}

// whatIsLeftTellsHowItEnded requires that a clean end leaves no file. After a KILL, the PID file
// and the state must show the death.
func (m *model) whatIsLeftTellsHowItEnded() {
	if _, err := lifecycle.Find(m.pidfile); !errors.Is(err, lifecycle.ErrNotRunning) {
		m.broken("all have ended, but: %v", err)
	}
	var last *modelLife
	abrupt, unclear := false, false
	for _, l := range m.lives {
		abrupt = abrupt || l.abrupt()
		// The daemon may or may not have taken over the stale file.
		unclear = unclear || len(l.hooks) == 0 && l.refusedFor() == 0
		if last == nil || len(l.hooks) > 0 && (len(last.hooks) == 0 || l.hooks[0].from > last.hooks[0].from) {
			last = l
		}
	}
	if !abrupt {
		left, err := os.ReadDir(m.dir)
		if s, readErr := readStatus(proctest.StatePath(m.pidfile)); readErr == nil && s.Failed != nil {
			left = left[1:] // the last daemon has ended with a failure
		}
		if err != nil || len(left) > 0 {
			m.broken("all have ended cleanly, but have left %v, %v", left, err)
		}
		return
	}
	if unclear || !last.killed() || last.hooks[len(last.hooks)-1].to != never && len(last.of("OnExit")) == len(last.started()) {
		return // or the daemon may just have been removing them
	}
	m.met.add("left by a KILL")
	got := callVerb(m.T, m.pidfile, "status")
	if got.Code != 1 || !strings.HasPrefix(got.Stdout, fmt.Sprintf("daemon: dead: pid %d left %s, was ", last.PID(), m.pidfile)) {
		m.broken("pid %d was killed, and status says: %+v", last.PID(), got)
	}
}

// sight counts the cases that occurred.
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
