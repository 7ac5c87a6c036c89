// Package proc reads /proc, for children of this process, and for the processes that an earlier one
// has left. A child keeps its PID until its parent has waited for it. This package sends no
// signals: a PID alone does not identify a process safely.
package proc

import "os"

// Name returns the name of the command (proc_pid_comm(5)), or "" if it is unknown.
func Name(pid int) string { return name(pid) }

// Identity returns a text that no other process of this machine has: the boot and the start of the
// process. It returns "" if they are unknown, or if the process has ended.
func Identity(pid int) string { return identity(pid) }

// Descends reports whether this process is a descendant of the process with that PID. It returns
// false if the ancestors are unknown.
func Descends(ancestor int) bool { return descends(ancestor) }

// Disposition is what a process does with a signal (signal(7)).
type Disposition int

const (
	Default Disposition = iota // or unknown; most signals then end the process
	Ignores
	Catches // it has a handler, or waits for the blocked signal (sigwait(3), signalfd(2))
)

// DispositionOf returns what a process does with a signal (proc_pid_status(5)).
func DispositionOf(pid int, sig os.Signal) Disposition { return dispositionOf(pid, sig) }
