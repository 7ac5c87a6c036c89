package handshake

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/sys/ossignal"
)

// TimeoutError reports that a daemon did not call Run in time. If Living is set, the daemon called
// Run, but neither became ready nor ended in time.
type TimeoutError struct {
	Timeout time.Duration
	Living  bool // the daemon called Run
}

func (e *TimeoutError) Error() string {
	if e.Living {
		return "it neither became ready nor ended in " + console.FormatLimit(e.Timeout)
	}
	return "its main did not call Run in " + console.FormatLimit(e.Timeout)
}

// UnkillableError reports that a process still runs after a failed start. Either the kernel refused
// KILL, or the process is in an uninterruptible wait.
type UnkillableError struct {
	PID int
	Err error // of KILL; nil: KILL was sent
}

func (e *UnkillableError) Error() string {
	if e.Err != nil && !errors.Is(e.Err, os.ErrProcessDone) {
		return fmt.Sprintf("the start failed, and pid %d still runs: %v", e.PID, e.Err)
	}
	return fmt.Sprintf("the start failed, and pid %d still runs after KILL", e.PID)
}

func (e *UnkillableError) Unwrap() error { return e.Err }

// KilledError reports that KILL ended a failed start. The daemon might not have undone its start
// completely.
type KilledError struct{ Err error }

func (e *KilledError) Error() string { return e.Err.Error() + "; killed" }

func (e *KilledError) Unwrap() error { return e.Err }

// Died returns the error of a start whose process ended and did not report the reason. lines
// contains the last lines of its output. A nil state means that the exit status is unknown.
func Died(state *os.ProcessState, lines []string) error {
	text := "died before it was ready"
	if how := ExitText(state); how != "" {
		text += " (" + how + ")"
	}
	if len(lines) > 0 {
		text += lastWords + strings.Join(lines, "\n  | ")
	}
	return errors.New(text)
}

// lastWords separates the text of an error from the last lines of the output.
const lastWords = "; its last words:\n  | "

// Summary shortens the text of a failed start to one line. That line contains the first line of the
// output.
func Summary(text string) string {
	text, lines, _ := strings.Cut(text, lastWords)
	if first, _, _ := strings.Cut(lines, "\n"); first != "" {
		text += ": " + first
	}
	return text
}

// ExitText returns a text such as "exit 1" or "signal SIGSEGV". It returns "" for a nil state.
func ExitText(state *os.ProcessState) string {
	if state == nil {
		return ""
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return "signal " + ossignal.Name(status.Signal())
	}
	return fmt.Sprintf("exit %d", state.ExitCode())
}

// maxLines is the greatest number of lines that LastLines returns.
const maxLines = 20

// LastLines returns the sanitized lines of text that show why a process ended: the beginning of a
// crash report of the Go runtime, or else the last lines.
func LastLines(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = console.SanitizeLine(lines[i])
	}
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	at := slices.IndexFunc(lines, beginsCrash)
	if at < 0 {
		return lines[max(0, len(lines)-maxLines):]
	}
	// The runtime may write lines above the report: "runtime: failed to create new OS thread".
	for at > 0 && strings.HasPrefix(lines[at-1], "runtime") {
		at--
	}
	return lines[at:min(len(lines), at+maxLines)]
}

// beginsCrash reports whether the line begins a crash report of the Go runtime. With cgo, the
// report can begin with the name of a signal and continue with all registers.
func beginsCrash(line string) bool {
	what, _, found := strings.Cut(line, ": ")
	return found && (what == "panic" || what == "fatal error" || strings.HasPrefix(what, "SIG") && !strings.Contains(what, " "))
}
