package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/statefile"
	"example.com/lifecycle/internal/sys/monotonic"
)

// actor finds the daemon, does one random action after another to it, and records the results.
type actor struct {
	pidfile string
	random  *rand.Rand
	found   *lifecycle.Process // may be out of date
	hasty   bool               // it does not wait for verdicts
	acts    []act
}

// act is an action of an actor and its result.
type act struct {
	what         string
	pid          int // of the daemon; 0 if there was none
	began, ended time.Duration
	status       lifecycle.Status
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

// play usually waits until there is a daemon, and then does random actions.
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

// chances contains the actions of an actor. A more probable action occurs more often.
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

// note does an action and records its times.
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
		if a.found, n.err = lifecycle.Find(a.pidfile); n.err == nil {
			n.pid = a.found.PID
		}
	}).err == nil
}

// to performs an action on the daemon that the actor has found.
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
			if n.err != nil && strings.Contains(n.err.Error(), " stopped, but ") {
				n.err = nil // it is gone: its hooks fail on purpose, and others kill it
			}
		case "kill":
			n.err = a.found.Kill(ctx)
		case "status":
			n.status, n.err = a.found.Status()
		case "state": // read the file, which may be of another or a dead daemon
			n.status, n.err = statusIn(proctest.StatePath(a.pidfile))
			n.pid = n.status.PID
		}
	})
}

// never is the time of an event that does not happen.
const never = time.Duration(math.MaxInt64)

// statusIn reads a state file of the test.
func statusIn(path string) (s lifecycle.Status, err error) {
	object, err := statefile.Read(path, os.Geteuid())
	if err != nil {
		return lifecycle.Status{}, err
	}
	return s, json.Unmarshal(object, &s)
}
