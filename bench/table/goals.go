package main

import (
	"fmt"
	"strings"
)

// goal is a limit that was set before the first measurement. A text that starts with "not a goal"
// marks a value that a reader may mistake for a goal.
type goal struct {
	text        string
	of, against measurement // limit applies to of/against, or to of alone if against is empty
	limit       float64
	per         float64
	unit        string
}

// measurement is one metric of one benchmark.
type measurement struct{ group, name, unit string }

var goals = []goal{
	{"a start takes at most 1.5 times as long as with go-daemon", measurement{"Start", "lifecycle", "median-ms"}, measurement{"Start", "peer=go-daemon", "median-ms"}, 1.5, 1, " ×"},
	{"a crashed program runs again within 1.5 times its execution", measurement{"Crash", "lifecycle", "median-ms"}, measurement{"Crash", "floor=execution", "median-ms"}, 1.5, 1, " ×"},
	{"not a goal: the same, compared with death and execution", measurement{"Crash", "lifecycle", "median-ms"}, measurement{"Crash", "floor=death and execution", "median-ms"}, 1.5, 1, " ×"},
	{"a crashed program runs again sooner than with runit", measurement{"Crash", "lifecycle", "median-ms"}, measurement{"Crash", "peer=runit", "median-ms"}, 1, 1, " ×"},
	{"a crashed program runs again sooner than with s6", measurement{"Crash", "lifecycle", "median-ms"}, measurement{"Crash", "peer=s6", "median-ms"}, 1, 1, " ×"},
	{"the supervisor has less than 6 MiB of RSS, with cgo", measurement{"Supervisor", "lifecycle", "rss-kB"}, measurement{}, 6, 1024, " MiB"},
	{"the supervisor, without cgo", measurement{"Supervisor", "lifecycle/without cgo", "rss-kB"}, measurement{}, 6, 1024, " MiB"},
	{"the supervisor of guard, with cgo", measurement{"Supervisor", "guard", "rss-kB"}, measurement{}, 6, 1024, " MiB"},
	{"the supervisor of guard, without cgo", measurement{"Supervisor", "guard/without cgo", "rss-kB"}, measurement{}, 6, 1024, " MiB"},
	{"an idle daemon is never woken", measurement{"Idle", "lifecycle", "wakeups/s"}, measurement{}, 0, 1, " a second"},
	{"the supervisor of an idle daemon is never woken", measurement{"Supervisor", "lifecycle", "wakeups/s"}, measurement{}, 0, 1, " a second"},
	{"the supervisor of guard is never woken", measurement{"Supervisor", "guard", "wakeups/s"}, measurement{}, 0, 1, " a second"},
}

func (r *results) goals(w *strings.Builder) {
	fmt.Fprint(w, "### Goals\n\n| goal | measured | |\n|---|---:|---|\n")
	for _, g := range goals {
		value, found := r.metric(g.of.group, g.of.name, g.of.unit)
		value /= g.per
		if found && g.against.group != "" {
			var beside float64
			beside, found = r.metric(g.against.group, g.against.name, g.against.unit)
			value /= beside
		}
		switch {
		case !found:
			fmt.Fprintf(w, "| %s | – | not measured |\n", g.text)
		case value <= g.limit:
			fmt.Fprintf(w, "| %s | %s%s | met |\n", g.text, number(value), g.unit)
		default:
			fmt.Fprintf(w, "| %s | %s%s | **missed** |\n", g.text, number(value), g.unit)
		}
	}
	fmt.Fprintln(w)
}
