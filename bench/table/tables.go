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
	{"Start", "Start until ready", "From the call of the command until its service is ready, where somebody tells (lifecycle; s6; start-stop-daemon, which is made to wait for " +
		"sd_notify; go-daemon, which has been helped to); else until the socket of the service answers. runit and s6 run already.", times},
	{"Stop", "Stop until gone", "From the call of the command until it returns, when the process is gone. go-daemon, daemonize and python-daemon have none: " +
		"there it is a TERM and the end of the process. sv of runit looks every 420 ms. The floor is the end of a child.", times},
	{"StatusCommand", "Status, as a command", "", times},
	{
		"Status", "Status, from Go", "From the path of a PID file to the answer; `lifecycle: Status` has the daemon at hand. The floor does not notice that the process is another one.",
		[]column{{"ns/op", "mean, µs", 1e3}},
	},
	{"Reload", "Reload until its verdict", "The floor is a kill -HUP and a line in a pipe, from the handler.", inside},
	{"HUP", "HUP until the code that reloads", "", inside},
	{"Crash", "Crash until it lives again", "From a SIGKILL of the program to the first thing that it says when it runs again. The second floor is a loop that waits and executes. " +
		"runit and s6 start a program once in a second at most; lifecycle has a negative `MinDelay` here, and waits 100 ms by default.", times},
	{"Idle", "An idle service", "From 1.5 s after its start, for two seconds. With daemonize, start-stop-daemon, runit and s6 it is the service in the foreground.", idling},
	{"Supervisor", "Its idle supervisor", "The parent that starts it again, without the service. That of guard supervises another program, so it shares no page with it.", idling},
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
	fmt.Fprintf(w, "Measured on %s: %s, %s cores, %s, %s; the load before it was %s.\n\n",
		about("date"), about("cpu"), about("cores"), about("kernel"), about("go"), about("load"))
}
