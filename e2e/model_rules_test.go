package e2e

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle"
)

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

// aReloadChecksAllAndThenAppliesInOrder requires that a reload ends with its first error, and that
// only the last reload may be cut short.
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
		if first := m.first(l, "TERM", "stop"); l.reaped-first < time.Second {
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

// whatIsHeldIsFound requires that every action succeeds while a daemon holds the PID file.
func (m *model) whatIsHeldIsFound(a act) {
	gone := errors.Is(a.err, lifecycle.ErrNotRunning)
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

// whatIsFoundIsHeld requires that no action reaches a daemon that has ended.
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
	var failed *lifecycle.HookError
	switch {
	case a.err == nil:
		if !slices.ContainsFunc(l.attempts, func(t attempt) bool {
			return t[0].from >= a.began && t.last().to <= a.ended && slices.Equal(t.applied(), l.components)
		}) {
			m.broken("no such reload has succeeded: %s", a)
		}
		m.met.add("reloads accepted")
	case errors.As(a.err, &failed) && strings.Contains(failed.Err.Error(), "on purpose"):
		if !errors.Is(a.err, lifecycle.ErrReload) || !slices.ContainsFunc(l.attempts, func(t attempt) bool {
			return t[0].from >= a.began && t.last().to <= a.ended && t.last().is(failed.Hook, []string{failed.Component}) &&
				t.last().text == failed.Err.Error() && slices.Equal(t.applied(), appliedIn(a.err))
		}) {
			m.broken("no such reload has failed: %s", a)
		}
		m.met.add("reloads rejected")
	case a.hasty && errors.Is(a.err, context.DeadlineExceeded):
		m.met.add("reloads not waited for")
	case errors.Is(a.err, context.DeadlineExceeded), !stopped:
		m.broken("nothing has ended the life, but there was no verdict: %s", a)
	case a.what == "reload" && !errors.Is(a.err, lifecycle.ErrReload) && !errors.Is(a.err, lifecycle.ErrNotRunning):
		m.broken("failed: %s", a)
	default:
		m.met.add("reloads overtaken by the end")
	}
}

// appliedIn returns the components that, according to the error of a reload, use the new
// configuration.
func appliedIn(err error) []string {
	_, rest, _ := strings.Cut(err.Error(), " (applied before: ")
	names, _, found := strings.Cut(rest, ")")
	if !found {
		return nil
	}
	return strings.Split(names, ", ")
}
