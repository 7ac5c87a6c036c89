// Package takeover executes another program in this process (execve(2)), and passes a state and
// open files to it. The PID stays the same. The new program keeps the children, the locks of the
// open files, and the data that their sockets have received.
//
//	this program ── seal a memfd, clear FD_CLOEXEC, execve ──► init of this package in the new one
//
// # Signals
//
// The kernel resets the handlers of a program that executes another one. The Go runtime of the new
// program installs new handlers a moment later. Until then, the five signals of a daemon have these
// effects:
//
//   - USR1 and USR2 are blocked when the program is executed. They wait in the kernel until the
//     new program catches them. In the first takeover of a process, they are lost between the call
//     of Abort and the execve. In later takeovers, none is lost.
//   - HUP is ignored from the call of Abort until the new program catches it. It can be lost, but
//     it does not end the process.
//   - INT and TERM end the process from the call of Abort until the new program catches them. They
//     cannot wait, because the Go runtime unblocks them in every thread. But a stop is never lost.
//
// The init function of this package catches all five; see [Handoff]. If other packages of the
// program are initialised before this one, their init functions prolong that moment.
package takeover

import (
	"encoding/json"
	"os"
)

// Spec describes the program to execute.
type Spec struct {
	Path  string   // absolute path of its binary; it uses this library
	Args  []string // with the name of the program first
	Env   []string // the whole environment
	Dir   string   // working directory; "": the current one
	State any      // passed as JSON

	// Files are passed to the program. They are open file descriptions of this process, with their
	// locks and their data. All other descriptors from 3 on must be close-on-exec.
	Files []*os.File

	// Held is the channel that gets USR1 and USR2, and no other signal. Execute calls signal.Stop for
	// it before it calls Abort. No other channel may get these two signals. nil: they may be lost.
	Held chan<- os.Signal

	// Abort is called in the thread that executes the program, right before it does. If Abort
	// returns an error, the program is not executed. Abort must return an error if a signal has
	// arrived that State does not contain. Abort must not wait for another goroutine that forks.
	// nil: it is not called.
	Abort func() error
}

// Execute executes the program in this process. on calls its argument in the thread that executes
// it; see worker.OnForkThread. Execute returns only if it fails. Then everything is as before,
// except for two things: the caller must call signal.Notify for Held again, and children get the
// raised limit of open files of this process.
//
// On systems other than Linux it returns errors.ErrUnsupported.
func Execute(on func(func()), s Spec) error { return execute(on, s) }

// Handoff is what the previous program of this process has passed to this program.
type Handoff struct {
	State json.RawMessage
	Files []*os.File // in the order of Spec.Files; they are close-on-exec

	// Signals gets HUP, INT and TERM, and Held gets USR1 and USR2. They already contain the signals
	// that have arrived since the program was executed. The program must read both.
	Signals, Held chan os.Signal
}

// inherited is package state because it is set once per process, before main.
var inherited *Handoff

// Inherited returns the handoff of this process, or nil if this program is the first one of this
// process.
func Inherited() *Handoff { return inherited }
