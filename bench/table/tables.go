package main

import (
	"fmt"
	"strings"
)

// table is a table of the page.
type table struct {
	group, title, text string
	columns            []column
}

// column is a metric and its unit in the table. The first column is compared.
type column struct {
	unit, title string
	per         float64
}

var (
	times  = []column{{"median-ms", "median, ms", 1}, {"p90-ms", "9 of 10 within, ms", 1}}
	inside = []column{{"median-ns", "median, µs", 1e3}, {"p99-ns", "99 of 100 within, µs", 1e3}}
	idling = []column{{"rss-kB", "RSS, MiB", 1024}, {"pss-kB", "PSS, MiB", 1024}, {"private-kB", "private, MiB", 1024}, {"wakeups/s", "wake-ups a second", 1}}
)

var tables = []table{
	{"Start", "Start until ready", "The time from the call of the command until its service is ready. lifecycle and s6 report this;\n" +
		"start-stop-daemon waits for sd_notify; go-daemon got code for it. For the others, the time ends when\n" +
		"the socket of the service answers. runit and s6 already run.", times},
	{"Stop", "Stop until the process has ended", "The time from the call of the command until it returns, when the process has ended. go-daemon,\n" +
		"daemonize and python-daemon have no such command: the time is from a TERM to the end of the process.\n" +
		"sv of runit checks every 420 ms. The floor is the end of a child.", times},
	{"StatusCommand", "Status, as a command", "", times},
	{
		"Status", "Status, from Go", "The time from the path of a PID file to the answer. `lifecycle: Status` already has the `Process`.\n" +
			"The floor does not notice that another process has the PID.",
		[]column{{"ns/op", "mean, µs", 1e3}},
	},
	{"Reload", "Reload until its verdict", "The floor is a kill -HUP, and a line that the handler writes to a pipe.", inside},
	{"HUP", "HUP until the reload begins", "", inside},
	{"Crash", "Crash until the program runs again", "The time from a SIGKILL of the program to the first output of the restarted program. The second\n" +
		"floor is a loop that waits and executes. runit and s6 start a program at most once a second.\n" +
		"lifecycle has a negative `MinDelay` here. By default, it waits 100 ms.", times},
	{"Idle", "An idle service", "Measured for two seconds, from 1.5 s after the start. daemonize, start-stop-daemon, runit and s6 run\n" +
		"the service in the foreground.", idling},
	{"Supervisor", "The supervisor of an idle service", "The parent that restarts the service, without the service itself. guard supervises another program,\n" +
		"and shares no page with it.", idling},
}

// ours is the row to compare the others with.
const ours = "lifecycle"

func (r *results) table(w *strings.Builder, t table) {
	fmt.Fprintf(w, "### %s\n\n", t.title)
	if t.text != "" {
		fmt.Fprintf(w, "%s\n\n", t.text)
	}
	head, rule := "|  |", "|---|"
	for _, c := range t.columns {
		head += " " + c.title + " |"
		rule += "---:|"
	}
	reference, compared := r.reference(t)
	if compared {
		head += " × lifecycle |"
		rule += "---:|"
	}
	fmt.Fprintf(w, "%s\n%s\n", head, rule)
	for _, row := range r.rows {
		if row.group != t.group || row.name == "" {
			continue
		}
		line := "| " + label(row.name) + " |"
		for i, c := range t.columns {
			switch value, found := row.metrics[c.unit]; {
			case found:
				line += " " + number(value/c.per) + " |"
			case i == 0 && row.skipped != "":
				line += " " + row.skipped + " |"
			default:
				line += " – |"
			}
		}
		if value, found := row.metrics[t.columns[0].unit]; compared && found {
			line += " " + number(value/reference) + " |"
		} else if compared {
			line += " – |"
		}
		fmt.Fprintln(w, line)
	}
	fmt.Fprintln(w)
}

// reference returns the value to compare with: the first measured value of our rows.
func (r *results) reference(t table) (value float64, found bool) {
	for _, row := range r.rows {
		if row.group == t.group && strings.HasPrefix(row.name, ours) && row.metrics[t.columns[0].unit] > 0 {
			return row.metrics[t.columns[0].unit], true
		}
	}
	return 0, false
}

// label formats the name of a row for the page.
func label(name string) string {
	name = strings.ReplaceAll(strings.TrimPrefix(name, "peer="), "/", ", ")
	if floor, is := strings.CutPrefix(name, "floor="); is {
		return "*floor: " + floor + "*"
	}
	if strings.HasPrefix(name, ours) {
		return "**" + strings.ReplaceAll(name, "=", ": ") + "**"
	}
	return name
}

// number formats a value with two or three digits.
func number(value float64) string {
	switch {
	case value == 0:
		return "0"
	case value >= 99.95:
		return fmt.Sprintf("%.0f", value)
	case value >= 9.995:
		return fmt.Sprintf("%.1f", value)
	case value < 0.1:
		return fmt.Sprintf("%.3f", value)
	}
	return fmt.Sprintf("%.2f", value)
}

// machine writes the facts about the machine.
func (r *results) machine(w *strings.Builder) {
	about := func(key string) string {
		if r.about[key] == "" {
			return "unknown"
		}
		return r.about[key]
	}
	fmt.Fprintf(w, "Measured on %s: %s, %s cores, %s, %s;\nthe load before it was %s.\n\n",
		about("date"), about("cpu"), about("cores"), about("kernel"), about("go"), about("load"))
}
