package lifecycle

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/ossignal"
)

// How a start has ended of which the detached process says nothing.

// unkillableError says that a process that was killed is still there: it is in an uninterruptible wait.
type unkillableError struct{ pid int }

func (e *unkillableError) Error() string {
	return fmt.Sprintf("lifecycle: the start has failed, and pid %d still runs after KILL", e.pid)
}

// killedError says that a start that failed was ended with KILL: not all that was to be undone has been.
type killedError struct{ error }

func (e *killedError) Error() string { return e.error.Error() + "; killed" }

func (e *killedError) Unwrap() error { return e.error }

// diedError says that a process died during its start without a word to its launcher.
type diedError struct {
	how   string
	words []string
}

func (e *diedError) Error() string {
	text := "lifecycle: died before it was ready"
	if e.how != "" {
		text += " (" + e.how + ")"
	}
	if len(e.words) > 0 {
		text += "; its last words:\n  | " + strings.Join(e.words, "\n  | ")
	}
	return text
}

func howEnded(state *os.ProcessState) string {
	if state == nil {
		return ""
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return "signal " + ossignal.Name(status.Signal())
	}
	return fmt.Sprintf("exit %d", state.ExitCode())
}

// maxLastWords is how many lines of them are told.
const maxLastWords = 20

// lastWords are the lines in which a process says what it died of: those of a crash of Go from its beginning on, else the last ones.
func lastWords(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = console.SanitizeLine(lines[i])
	}
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	at := slices.IndexFunc(lines, isCrash)
	if at < 0 {
		return lines[max(0, len(lines)-maxLastWords):]
	}
	for at > 0 && strings.HasPrefix(lines[at-1], "runtime") { // what the runtime knows of the reason: "runtime: failed to create new OS thread"
		at--
	}
	return lines[at:min(len(lines), at+maxLastWords)]
}

// isCrash says whether that is how the Go runtime begins to say that the process dies. With cgo it may begin with a signal, and end with all registers.
func isCrash(line string) bool {
	what, _, found := strings.Cut(line, ": ")
	return found && (what == "panic" || what == "fatal error" || strings.HasPrefix(what, "SIG") && !strings.Contains(what, " "))
}
