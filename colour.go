package lifecycle

import (
	"io"
	"os"
	"strings"

	"example.com/lifecycle/internal/terminal"
)

// On a terminal the state in the answer of status has a colour, to be seen at a glance: green is well, yellow passes by itself or not, red does not.

const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	normal = "\x1b[0m"
)

// colour is that of what is reported, "" for none.
func (r report) colour() string {
	switch {
	case r.ready:
		return green
	case r.State == "running":
		return yellow
	case r.State == "not running" && (r.Status == nil || r.GaveUp == ""):
		return ""
	}
	return red
}

// coloured gives text that colour where out shows it, and nobody has asked for none.
func coloured(out io.Writer, colour, text string) string {
	f, ok := out.(*os.File)
	if colour == "" || !ok || !terminal.Is(f) || !obeysCodes() || noColour() {
		return text
	}
	return colour + text + normal
}

// obeysCodes says whether the terminal is one that can do more than write.
func obeysCodes() bool {
	kind := os.Getenv("TERM")
	return kind != "" && kind != "dumb"
}

// noColour says whether escape codes are not wanted (no-color.org).
func noColour() bool { return os.Getenv("NO_COLOR") != "" }

// sayStatus prints the line for people. The state comes first in it.
func (p program) sayStatus(r report) {
	name := harmless(p.name + ": ")
	line := strings.TrimPrefix(harmless(p.name+": "+r.line), name)
	state := strings.TrimRight(line[:max(0, strings.IndexAny(line, "(:"))], " ")
	line = name + coloured(p.stdout, r.colour(), state) + line[len(state):]
	_, _ = io.WriteString(p.stdout, line+"\n")
}
