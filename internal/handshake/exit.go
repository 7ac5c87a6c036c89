package handshake

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/ossignal"
)

// TimeoutError says that a daemon did not come to Run in time, or that it came there and neither became ready nor ended.
type TimeoutError struct {
	Timeout time.Duration
	Living  bool // it came to Run
}

func (e *TimeoutError) Error() string {
	if e.Living {
		return "it neither became ready nor ended in " + console.FormatLimit(e.Timeout)
	}
	return "its main did not come to Run in " + console.FormatLimit(e.Timeout)
}

// UnkillableError says that a killed process is still there: it is in an uninterruptible wait.
type UnkillableError struct{ PID int }

func (e *UnkillableError) Error() string {
	return fmt.Sprintf("the start has failed, and pid %d still runs after KILL", e.PID)
}

// KilledError says that a failed start was ended with KILL, so not everything that was to be undone has been.
type KilledError struct{ Err error }

func (e *KilledError) Error() string { return e.Err.Error() + "; killed" }

func (e *KilledError) Unwrap() error { return e.Err }

// ExitError says that a process ended during its start and did not say why.
type ExitError struct {
	How   string   // as ExitText; "" where that cannot be told
	Lines []string // what it wrote last
}

func (e *ExitError) Error() string {
	text := "died before it was ready"
	if e.How != "" {
		text += " (" + e.How + ")"
	}
	if len(e.Lines) > 0 {
		text += "; its last words:\n  | " + strings.Join(e.Lines, "\n  | ")
	}
	return text
}

// ExitText returns "exit 1" or "signal SIGSEGV", and "" for a nil state.
func ExitText(state *os.ProcessState) string {
	if state == nil {
		return ""
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return "signal " + ossignal.Name(status.Signal())
	}
	return fmt.Sprintf("exit %d", state.ExitCode())
}

// maxLines is how many lines LastLines returns at most.
const maxLines = 20

// LastLines returns the lines of text that say why a process ended, sanitised: a crash of Go from its beginning on, else
// the last lines.
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
	// The runtime may say more above: "runtime: failed to create new OS thread".
	for at > 0 && strings.HasPrefix(lines[at-1], "runtime") {
		at--
	}
	return lines[at:min(len(lines), at+maxLines)]
}

// beginsCrash reports whether the Go runtime begins its account of a crash with this line. With cgo that may be the name
// of a signal, followed by all registers.
func beginsCrash(line string) bool {
	what, _, found := strings.Cut(line, ": ")
	return found && (what == "panic" || what == "fatal error" || strings.HasPrefix(what, "SIG") && !strings.Contains(what, " "))
}
