package lifecycle

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/safefile"
)

// report is the answer of the verb status. Its JSON form is the state of the lock, followed by the
// fields of Status.
type report struct {
	State   string `json:"state"`           // "running", "dead", "not running" or "unknown"
	Error   string `json:"error,omitempty"` // why State or Status is unknown
	PIDFile string `json:"pid_file"`        // the path that was inspected
	*Status        // last Status of a dead daemon; nil if unknown

	line  string // for people
	code  int    // LSB exit code for init scripts
	ready bool
}

func (p program) statusVerb(given flags) (exitCode int) {
	if p.quiet && given["json"] {
		return p.usage("status takes --json or --quiet, not both")
	}
	r := p.look()
	switch {
	case p.quiet && r.code == 4:
		p.say("%s", r.line)
	case p.quiet:
	case given["json"]:
		r.PIDFile, r.Error = bytetext.Escape(r.PIDFile), bytetext.Valid(r.Error)
		if r.Status != nil {
			s := r.asText()
			r.Status = &s
		}
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return p.fail("status", err)
		}
		fmt.Fprintf(p.stdout, "%s\n", console.SanitizeJSON(text))
	default:
		p.sayStatus(r)
		for _, line := range r.details(p) {
			fmt.Fprintf(p.stdout, "  %s\n", line)
		}
	}
	switch {
	case given["ready"] && r.ready:
		return 0
	case given["ready"]:
		return 150
	}
	return r.code
}

// look finds the daemon and returns its report.
func (p program) look() report {
	r := report{State: "running", PIDFile: p.life.plan.pidFile}
	var daemon *Process
	var err error
	for range 3 { // between find and Status, a daemon may end and another one may start
		if daemon, err = p.life.plan.find(); err != nil {
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
	case errors.Is(err, pidfile.ErrOtherNamespace):
		r.Error = p.text(err)
		r.line = "running (in another PID namespace)"
	case daemon != nil:
		r.Error = p.text(err)
		r.line = fmt.Sprintf("running (pid %d); cannot read its state: %s", daemon.PID, console.SanitizeInline(r.Error))
	default:
		r.State, r.Error, r.code = "unknown", p.text(err), 4
		if safefile.OutcomeOf(err) == safefile.Denied {
			r.Error += ": ask as root or as the user of the daemon"
		}
		r.line = "unknown: " + console.SanitizeInline(r.Error)
	}
	return r
}

// lookBack sets the report of a daemon that does not run, or that has lost its PID file.
func (r *report) lookBack(gone *NotRunningError) {
	s, err := lastState(gone.PIDFile)
	if err == nil && !s.PIDFileLost && s.Left == "" {
		if left := s.living().Survivors(); len(left) > 0 {
			s.Left = "processes of its worker still run: " + strings.Join(left, ", ")
		}
	}
	if err == nil && (gone.Stale && s.PID == gone.PID || s.PIDFileLost || s.Failed != nil || s.Left != "") {
		r.Status = &s
	}
	if !gone.Stale {
		r.State, r.code = "not running", 3
		r.line = fmt.Sprintf("not running (nobody holds %s)", bytetext.Escape(gone.PIDFile))
		if r.Status != nil && s.Failed != nil {
			r.line = "not running; " + s.failedText()
		}
		return
	}
	r.State, r.code = "dead", 1
	r.line = fmt.Sprintf("dead: pid %d left %s", gone.PID, bytetext.Escape(gone.PIDFile))
	if r.Status != nil && s.PID == gone.PID {
		r.line += fmt.Sprintf(", was %s %s ago", s.Phase, console.FormatAge(time.Since(s.Since)))
		if s.Doing != "" {
			r.line += ", in " + console.SanitizeInline(s.Doing)
		}
	}
}

// runningText returns the first line for a running daemon, such as: ready (pid 4127, version 1.2)
// for 3h12m.
func runningText(s Status) string {
	who := fmt.Sprintf("pid %d", s.PID)
	if s.Worker != 0 {
		who += fmt.Sprintf(", worker %d", s.Worker)
	}
	if version := cmp.Or(s.WorkerVersion, s.Version); version != "" {
		who += ", version " + console.SanitizeInline(version)
	}
	if !s.NextRestart.IsZero() {
		return restartingText(s, who)
	}
	text := fmt.Sprintf("%s (%s) for %s", s.Phase, who, console.FormatAge(time.Since(s.Since)))
	if s.Doing != "" {
		text += ", " + console.SanitizeInline(s.Doing) + " running"
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
		text += fmt.Sprintf(" %s ago: %s", console.FormatAge(time.Since(s.LastExit.At)), console.SanitizeInline(s.LastExit.text()))
	}
	return text
}

// restartingText returns the first line for a supervisor that restarts its worker, such as:
// restarting (pid 4127), attempt 4 of 10 in 6 s; last: exit 1.
func restartingText(s Status, who string) string {
	text := fmt.Sprintf("restarting (%s), attempt %d", who, s.Attempt)
	if s.AttemptLimit > 0 {
		text += fmt.Sprintf(" of %d", s.AttemptLimit)
	}
	text += " in " + console.FormatElapsed(max(0, time.Until(s.NextRestart)))
	if s.LastExit != nil {
		text += "; last: " + console.SanitizeInline(s.LastExit.text())
	}
	return text
}

// lostText describes a daemon that has lost its PID file.
func lostText(s Status) string {
	return fmt.Sprintf("pid %d may still run: its PID file was deleted or replaced", s.PID)
}

// details returns the lines below the first one.
func (r report) details(p program) (lines []string) {
	s := r.Status
	if s == nil {
		return nil
	}
	if text := s.keeperText(); text != "" && r.State == "running" {
		lines = append(lines, text)
	}
	if s.Text != "" && r.State == "running" {
		lines = append(lines, console.SanitizeInline(s.Text))
	}
	if r.State == "running" {
		lines = append(lines, s.upgradeDetails(p)...)
	}
	if v := s.LastReload; v != nil && v.Error != "" {
		what := "rejected"
		if len(v.Applied) > 0 {
			what = "failed half-way"
		}
		lines = append(lines, fmt.Sprintf("last reload %s %s ago: %s", what, console.FormatAge(time.Since(v.At)), console.SanitizeInline(p.text(v.Err()))))
	}
	if v := s.LastReopen; v != nil && v.Error != "" {
		lines = append(lines, fmt.Sprintf("the log could not be reopened %s ago: %s", console.FormatAge(time.Since(v.At)), console.SanitizeInline(p.text(v.Err()))))
	}
	if s.Left != "" {
		lines = append(lines, console.SanitizeInline(s.Left))
	}
	if s.GaveUp != "" && s.Failed == nil {
		lines = append(lines, console.SanitizeInline(s.GaveUp))
	}
	if s.PIDFileLost {
		lines = append(lines, lostText(*s))
	}
	if s.LogFile != "" {
		lines = append(lines, "log: "+console.SanitizeInline(s.LogFile))
	}
	return lines
}

// failedText describes the failure of a life, such as: failed 2m ago: the port is taken (exit 1).
func (s Status) failedText() string {
	d := s.Failed
	err := d.Err()
	what := errorText(s.Name, err)
	if (d.Hook == "OnStop" || d.Hook == "OnExit") && !d.TimedOut {
		what = trimPrefix(err)
	}
	what = strings.Join(append([]string{what}, d.Also...), "; ")
	text := fmt.Sprintf("failed %s ago: %s", console.FormatAge(time.Since(d.At)), console.SanitizeInline(what))
	said := strings.Contains(what, fmt.Sprintf("exit %d", d.Code)) || strings.Contains(what, "before it was ready (")
	if d.Code != 0 && !said {
		text += fmt.Sprintf(" (exit %d)", d.Code)
	}
	return text
}

// notReady returns the phase of the running daemon, for the message of a refused start. It returns
// "" if the daemon is ready or its state is unknown.
func (p program) notReady(running *AlreadyRunningError) string {
	if running.here {
		return ""
	}
	look := func() (pidfile.Holder, error) { return inspectPIDFile(running.PIDFile) }
	switch s, err := readState(running.PIDFile, look); {
	case err != nil:
	case s.Phase == Starting:
		return ", not ready yet"
	case s.Phase >= Stopping:
		return ", stopping"
	}
	return ""
}

// colour returns the colour of the state on a terminal. Green means that the daemon is ready.
// Yellow means that it may soon be ready. Red means that it needs help.
func (r report) colour() console.Colour {
	switch {
	case r.ready:
		return console.Green
	case r.State == "running":
		return console.Yellow
	case r.State == "not running" && (r.Status == nil || r.Failed == nil):
		return ""
	}
	return console.Red
}

// sayStatus prints the first line. It begins with the state, in colour.
func (p program) sayStatus(r report) {
	name := console.SanitizeMessage(p.life.plan.name + ": ")
	line := strings.TrimPrefix(console.SanitizeMessage(p.life.plan.name+": "+r.line), name)
	state := strings.TrimRight(line[:max(0, strings.IndexAny(line, "(:"))], " ")
	line = name + console.Colourize(p.stdout, r.colour(), state) + line[len(state):]
	_, _ = io.WriteString(p.stdout, line+"\n")
}

// keeperText returns the text about KeptBy for people, or "" for a detached daemon.
func (s Status) keeperText() string {
	switch s.KeptBy {
	case keptForeground:
		return "runs in the foreground"
	case keptProcess1:
		return "runs as process 1 of its container"
	case keptManager:
		text := "managed by " + s.managerName()
		if s.Unit != "" {
			text += ", unit " + console.SanitizeInline(s.Unit)
		}
		return text
	}
	return ""
}
