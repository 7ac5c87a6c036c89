package e2e

import (
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/proctest"
)

// diary contains the records of a daemon.
type diary struct {
	hooks    []span // in the order in which they began
	attempts []attempt
	// readyAt is how many hooks had begun when the daemon reported ready, or -1 if it did not.
	readyAt int
	body    span          // zero if it was not called
	bodyAt  int           // how many hooks had begun when the body ended
	left    time.Duration // when the body returned without a stop request
	failed  bool          // the body failed on purpose
	text    string
}

// span is a call of a hook.
type span struct {
	hook, component string
	from, to        time.Duration // to is never if the call did not end
	text            string        // of its error
}

// attempt is one reload: its calls of OnCheck and OnReload.
type attempt []span

func (t attempt) last() span { return t[len(t)-1] }

// applied returns the components that took over the new configuration.
func (t attempt) applied() (components []string) {
	for _, s := range t {
		if s.hook == "OnReload" && s.to != never && s.text == "" {
			components = append(components, s.component)
		}
	}
	return components
}

var notePattern = proctest.Pattern(`^note (\d+) (\w+) (\w+) (\w+)(?:: (.*))?\n`)

// read reads the records of a daemon so far. It reports a broken law if hooks overlap.
func (m *model) read(l *modelLife) diary {
	d := diary{readyAt: -1, left: never, text: l.Out.String()}
	for line := range strings.Lines(d.text) {
		if strings.Contains(line, "INFO ready pid=") {
			d.readyAt = len(d.hooks)
		}
		note := notePattern().FindStringSubmatch(line)
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

func (l *modelLife) within(a act) bool {
	from, to := l.certainly()
	return a.began >= from && a.ended <= to
}

func (l *modelLife) killed() bool {
	return l.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
}

// quit reports whether another stop signal came more than a second after the first. That happens if
// the machine stalls.
func (l *modelLife) quit() bool { return l.Out.Count("quitting at once") > 0 }

func (l *modelLife) abrupt() bool { return l.killed() || l.quit() }

var refusal = proctest.Pattern(`Run returned: lifecycle: already running \(pid (\d+)\)`)

// refusedFor returns the PID of the daemon whose lock refused this start, or 0 if it was started.
func (l *modelLife) refusedFor() (pid int) {
	if found := refusal().FindStringSubmatch(l.text); found != nil {
		pid, _ = strconv.Atoi(found[1])
	}
	return pid
}

// first returns the time of the first of these actions on the daemon.
func (m *model) first(l *modelLife, what ...string) time.Duration {
	at := never
	for _, a := range m.acts {
		if a.pid == l.PID() && slices.Contains(what, a.what) {
			at = min(at, a.began)
		}
	}
	return at
}

// cause returns the time of the event that ended the life.
func (m *model) cause(l *modelLife) time.Duration {
	at := min(l.left, m.first(l, "TERM", "stop", "KILL", "kill"))
	for _, s := range l.of("OnStart") {
		if s.text != "" {
			at = min(at, s.to)
		}
	}
	return at
}
