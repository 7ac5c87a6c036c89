package supervise

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeWorker is the state of a worker of a fakeHost.
type fakeWorker int

const (
	none fakeWorker = iota
	begins
	serves
	ends
)

// fakeHost is a supervisor without processes. Its fields are the state outside of the table. The
// walk copies it at each branch.
type fakeHost struct {
	upgrading
	current   fakeWorker
	candidate fakeWorker
	drains    int  // workers that drain
	stops     bool // a stop was requested

	waiting bool // a caller waits for the verdict of an upgrade
	alone   bool // the upgrade is one with NoOverlap
	fault   string

	last    upgradeEvent
	givenUp bool // the caller has given up since the last verdict
}

func (h *fakeHost) perform(a upgradeAction) {
	switch a {
	case startCandidate:
		h.requireThat(h.candidate == none, "a second candidate")
		h.requireThat(!h.alone || h.current == none, "two workers overlap")
		h.candidate = begins
	case askCandidate:
		h.requireThat(h.candidate == serves, "the candidate is asked before it is ready")
	case endCandidate:
		h.requireThat(h.candidate != none, "nothing to end")
		h.candidate = ends
	case promote:
		h.requireThat(h.candidate == serves, "not ready")
		if h.current != none {
			h.drains++
		}
		h.current, h.candidate = serves, none
		h.verdict()
	case endOld:
		if h.current != none {
			h.current = ends
		}
	case restoreOld:
		h.requireThat(h.current == none || h.current == ends, "an old worker is restored beside another worker")
	case reportResult:
		h.requireThat(h.candidate == none, "a verdict while the candidate lives")
		h.requireThat(!h.alone || h.current == serves || h.last == candidateRefused || h.last == workerLost,
			"a verdict before the old program serves again")
		h.verdict()
	case endAll:
		if h.candidate != none {
			h.candidate = ends
		}
		if h.waiting {
			h.verdict()
		}
	}
}

func (h *fakeHost) verdict() {
	h.requireThat(h.waiting, "a verdict, but no caller waits")
	h.waiting, h.givenUp = false, false
}

func (h *fakeHost) requireThat(is bool, fault string) {
	if !is && h.fault == "" {
		h.fault = fault
	}
}

// happen makes an event happen. It returns false if the event cannot happen in this state.
func (h *fakeHost) happen(e upgradeEvent) bool {
	h.last = e
	switch e {
	case upgradeRequested, upgradeAloneRequested:
		if h.handleRequest(e) {
			h.alone = e == upgradeAloneRequested
		}
		return true
	case candidateReady:
		if h.candidate != begins {
			return false
		}
		h.candidate = serves
	case candidateApproved, candidateAnswered:
		if h.candidate != serves || h.state != asking && h.state != askingAlone {
			return false
		}
	case candidateRefused:
		if !h.waiting {
			return false
		}
		h.givenUp = true
	case candidateEnded:
		if h.candidate == none {
			return false
		}
		h.candidate = none
	case workerEnded:
		if h.current == none && h.state != ending {
			return false
		}
		h.current = none
	case workerReady:
		if h.current != none || h.stops || h.state.isHeld() || h.state == frozen {
			return false
		}
		h.current = serves
	case workerLost:
		if h.current != none || h.state.isHeld() {
			return false
		}
	case drainedEnded:
		if h.drains == 0 {
			return false
		}
		h.drains--
	case thawed, stopAsked, freezeRequested:
		if h.state == frozen && e != thawed || h.state != frozen && e == thawed {
			return false
		}
		h.stops = h.stops || e == stopAsked
	}
	h.handle(e)
	return true
}

func (h *fakeHost) handleRequest(e upgradeEvent) bool {
	if h.state != serving {
		h.requireThat(!h.handle(e), "a second upgrade at the same time")
		return false
	}
	h.requireThat(!h.waiting, "two callers wait")
	h.waiting, h.alone = true, e == upgradeAloneRequested
	h.requireThat(h.handle(e), "refused")
	return true
}

// invariant returns the invariant that this state violates, or "".
func (h *fakeHost) invariant() string {
	switch inProgress := h.state != serving && h.state != frozen && h.state != stopped; {
	case h.fault != "":
		return h.fault
	case h.candidate != none && !inProgress && h.state != stopped:
		return "a candidate, but no caller waits"
	case h.waiting != inProgress:
		return "an upgrade without a caller that waits, or a caller that waits without an upgrade"
	case h.givenUp && h.candidate != none && h.candidate != ends:
		return "a candidate outlives its refusal"
	case h.state == frozen && h.candidate != none:
		return "it is frozen during an upgrade"
	case h.stops && h.state != stopped:
		return "a stop was lost"
	case h.stops && h.candidate != none && h.candidate != ends:
		return "a candidate outlives the stop"
	}
	return ""
}

// walk tries every sequence of one to left events. It reuses the memory of path.
func walk(h *fakeHost, path []upgradeEvent, left int, visit func(h *fakeHost, path []upgradeEvent)) {
	var next fakeHost
	for e := range upgradeEvents {
		next = *h
		next.host = &next
		if !next.happen(e) {
			continue
		}
		path := append(path, e)
		visit(&next, path)
		if left > 1 {
			walk(&next, path, left-1, visit)
		}
	}
}

// longest is the length of the longest sequences in the tests.
const longest = 6

func newPath() []upgradeEvent { return make([]upgradeEvent, 0, longest) }

// reached returns one fakeHost for each state of the table.
func reached(t *testing.T) map[upgradeState]fakeHost {
	found := map[upgradeState]fakeHost{serving: {current: serves}}
	from := found[serving]
	walk(&from, newPath(), 4, func(h *fakeHost, _ []upgradeEvent) {
		if _, ok := found[h.state]; !ok {
			found[h.state] = *h
		}
	})
	require.Len(t, found, int(upgradeStates))
	return found
}

func TestEverySequenceOfEventsKeepsTheInvariantsOfAnUpgrade(t *testing.T) {
	t.Parallel()
	begun, steps := time.Now(), 0
	for from, world := range reached(t) {
		walk(&world, newPath(), longest, func(h *fakeHost, path []upgradeEvent) {
			steps++
			if fault := h.invariant(); fault != "" {
				t.Fatalf("from state %d, after the events %v, in state %d: %s", from, path, h.state, fault)
			}
		})
	}
	require.Greater(t, steps, 100_000)
	t.Log(steps, "steps in", time.Since(begun))
}

// Without NoOverlap, a worker of the old program serves throughout an upgrade, unless it crashes or
// a stop is requested. After a failed upgrade with NoOverlap, such a
// worker serves again.
func TestAWorkerServesThroughoutAnUpgrade(t *testing.T) {
	t.Parallel()
	for from, world := range reached(t) {
		if world.state.isHeld() || world.state == restoring || world.stops {
			continue
		}
		walk(&world, newPath(), longest-1, func(h *fakeHost, path []upgradeEvent) {
			for _, e := range path {
				if e == workerEnded || e == stopAsked || e == upgradeAloneRequested {
					return
				}
			}
			if h.current != serves {
				t.Fatalf("from state %d, after the events %v: no worker serves", from, path)
			}
		})
	}
}

// From every state, the events of the upgrade itself lead to its end.
func TestEveryUpgradeEnds(t *testing.T) {
	t.Parallel()
	for from, world := range reached(t) {
		for range 20 {
			for _, e := range []upgradeEvent{candidateRefused, workerEnded, candidateEnded, workerReady, thawed} {
				world.host = &world
				world.happen(e)
			}
		}
		require.Contains(t, []upgradeState{serving, stopped}, world.state, "from state %d", from)
		require.False(t, world.waiting, "from state %d", from)
	}
	require.Equal(t, reportResult, upgradeSteps[restoring][candidateRefused].act, "the caller may give up during a restoration too")
}
