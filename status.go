package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"example.com/lifecycle/internal/safefile"
)

// report is the answer of the verb status. Its JSON is that of the Status with what the lock says before it.
type report struct {
	State   string `json:"state"`           // "running", "dead", "not running" or "unknown"
	Error   string `json:"error,omitempty"` // why it is unknown, or cannot be said what it is doing
	PIDFile string `json:"pid_file"`        // at which it was looked
	*Status        // of a dead one, what it said last

	line  string // for people
	code  int    // of the LSB for init scripts
	ready bool
}

func (p program) statusVerb(given flags) (exitCode int) {
	r := p.look()
	if given["--json"] {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return p.fail("status", err)
		}
		fmt.Fprintf(p.stdout, "%s\n", escapeUnprintable(text))
	} else {
		p.sayStatus(r)
		for _, line := range r.details(p) {
			fmt.Fprintf(p.stdout, "  %s\n", line)
		}
	}
	switch {
	case given["--ready"] && r.ready:
		return 0
	case given["--ready"]:
		return 150
	}
	return r.code
}

// look finds out what there is to say.
func (p program) look() report {
	r := report{State: "running", PIDFile: p.pidFile}
	var daemon *Process
	var err error
	for range 3 { // one that has ended between the two looks may have left something, or have been followed by another
		if daemon, err = Find(p.pidFile); err != nil {
			break
		}
		defer daemon.Close()
		var s Status
		if s, err = daemon.Status(); err == nil {
			r.Status, r.ready = &s, s.Phase == Ready || s.Phase == Reloading
			r.line = runningText(s)
			return r
		}
		if !errors.Is(err, ErrNotRunning) {
			break
		}
	}
	var gone *NotRunningError
	switch {
	case errors.As(err, &gone):
		r.lookBack(gone)
	case errors.Is(err, errElsewhere):
		r.Error = p.text(err)
		r.line = "running (in another PID namespace)"
	case daemon != nil:
		r.Error = p.text(err)
		r.line = fmt.Sprintf("running (pid %d); what it is doing cannot be told: %s", daemon.PID, printable(r.Error))
	default:
		r.State, r.Error, r.code = "unknown", p.text(err), 4
		r.line = "unknown: " + printable(r.Error)
	}
	return r
}

// lookBack finds out what is left of a daemon that does not run, or not with this PID file.
func (r *report) lookBack(gone *NotRunningError) {
	s, err := lastState(gone.PIDFile)
	if err == nil && (gone.Stale && s.PID == gone.PID || s.PIDFileLost || s.GaveUp != "") {
		r.Status = &s
	}
	if !gone.Stale {
		r.State, r.code = "not running", 3
		r.line = fmt.Sprintf("not running (nobody holds %s)", gone.PIDFile)
		return
	}
	r.State, r.code = "dead", 1
	r.line = fmt.Sprintf("dead: pid %d left %s", gone.PID, gone.PIDFile)
	if r.Status != nil && s.PID == gone.PID {
		r.line += fmt.Sprintf(", was %s %s ago", s.Phase, agoText(time.Since(s.Since)))
		if s.Doing != "" {
			r.line += ", in " + printable(s.Doing)
		}
	}
}

// lastState is what the state file says, whoever wrote it, as long as he could have written the PID file.
func lastState(pidFile string) (Status, error) {
	path := statePath(pidFile)
	info, err := os.Lstat(path)
	if err != nil {
		return Status{}, err
	}
	owner := safefile.Owner(info)
	if named, err := os.Lstat(pidFile); err == nil {
		owner = safefile.Owner(named)
	}
	return readStateOnce(path, owner)
}

// runningText is the first line on a daemon that runs: ready (pid 4127, version 1.2) for 3h12m.
func runningText(s Status) string {
	who := fmt.Sprintf("pid %d", s.PID)
	if s.Worker != 0 {
		who += fmt.Sprintf(", worker %d", s.Worker)
	}
	if s.Version != "" {
		who += ", version " + printable(s.Version)
	}
	if !s.NextRestart.IsZero() {
		return restartingText(s, who)
	}
	text := fmt.Sprintf("%s (%s) for %s", s.Phase, who, agoText(time.Since(s.Since)))
	if s.Doing != "" {
		text += ", " + printable(s.Doing) + " running"
	}
	switch s.Restarts {
	case 0:
		return text
	case 1:
		text += ", 1 restart"
	default:
		text += fmt.Sprintf(", %d restarts, last", s.Restarts)
	}
	if s.LastExit != nil {
		text += fmt.Sprintf(" %s ago: %s", agoText(time.Since(s.LastExit.At)), printable(s.LastExit.text()))
	}
	return text
}

// restartingText is that of one whose worker is started again: restarting (pid 4127), attempt 4 of 10 in 6 s; last: exit 1.
func restartingText(s Status, who string) string {
	text := fmt.Sprintf("restarting (%s), attempt %d", who, s.Attempt)
	if s.AttemptLimit > 0 {
		text += fmt.Sprintf(" of %d", s.AttemptLimit)
	}
	text += " in " + tookText(max(0, time.Until(s.NextRestart)))
	if s.LastExit != nil {
		text += "; last: " + printable(s.LastExit.text())
	}
	return text
}

// lostText is about a daemon whose PID file is not where it was.
func lostText(s Status) string {
	return fmt.Sprintf("pid %d, which may still run, has seen its PID file deleted or replaced", s.PID)
}

// details are the lines below the first.
func (r report) details(p program) (lines []string) {
	s := r.Status
	if s == nil {
		return nil
	}
	if s.Text != "" && r.State == "running" {
		lines = append(lines, printable(s.Text))
	}
	if v := s.LastReload; v != nil && v.Error != "" {
		what := "rejected"
		if len(v.Applied) > 0 {
			what = "failed half-way"
		}
		lines = append(lines, fmt.Sprintf("last reload %s %s ago: %s", what, agoText(time.Since(v.At)), printable(p.text(v.Err()))))
	}
	if v := s.LastReopen; v != nil && v.Error != "" {
		lines = append(lines, fmt.Sprintf("the log could not be reopened %s ago: %s", agoText(time.Since(v.At)), printable(p.text(v.Err()))))
	}
	if s.GaveUp != "" {
		lines = append(lines, printable(s.GaveUp))
	}
	if s.PIDFileLost {
		lines = append(lines, lostText(*s))
	}
	return lines
}

// notReady says what the daemon that refuses a start is doing where that is not what one would expect of it.
func (p program) notReady(running *AlreadyRunningError) string {
	if running.here {
		return ""
	}
	look := func() (holder, error) { return lookAt(running.PIDFile) }
	switch s, err := readState(running.PIDFile, look); {
	case err != nil:
	case s.Phase == Starting:
		return ", not ready yet"
	case s.Phase == Stopping:
		return ", stopping"
	}
	return ""
}

// printable is a text that came from elsewhere, on one line and without what a terminal would take for a command.
func printable(text string) string {
	return strings.ReplaceAll(visible(strings.TrimSpace(text)), "\t", " ")
}

// harmless is a text of which others may have written a part: their lines cannot be taken for ours.
func harmless(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = visible(line)
		if i > 0 && !strings.HasPrefix(line, wordsMark) {
			lines[i] = wordsMark + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

// wordsMark stands before lines that are not ours.
const wordsMark = "  | "

// visible is a line without what a terminal would take for a command.
func visible(line string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case unicode.IsSpace(r):
			return ' '
		case unprintable(r):
			return unicode.ReplacementChar
		}
		return r
	}, line)
}

// unprintable says that r is a control or format character.
func unprintable(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// escapeUnprintable escapes in JSON what printable replaces: encoding/json does so for the first 32 characters only.
func escapeUnprintable(text []byte) string {
	var b strings.Builder
	for _, r := range string(text) {
		if r == '\n' || !unprintable(r) {
			b.WriteRune(r)
		} else {
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		}
	}
	return b.String()
}

// tookText is a duration that somebody has waited for: 38 ms, 1.2 s, 3m12s.
func tookText(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	}
	return d.Round(time.Second).String()
}

// agoText is how long ago something was, no finer than people want to know: 12s, 5m, 3h12m, 4d3h. A clock that was set back makes it 0s.
func agoText(d time.Duration) string {
	minutes := int(d.Minutes())
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case minutes < 60:
		return fmt.Sprintf("%dm", minutes)
	case minutes < 24*60 && minutes%60 == 0:
		return fmt.Sprintf("%dh", minutes/60)
	case minutes < 24*60:
		return fmt.Sprintf("%dh%dm", minutes/60, minutes%60)
	}
	return fmt.Sprintf("%dd%dh", minutes/60/24, minutes/60%24)
}
