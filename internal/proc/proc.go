// Package proc reads what /proc says of children of this process: a child keeps its PID until this
// process has waited for it. Nothing here sends a signal, since a PID alone is not enough for that.
package proc

import "os"

// Name returns the name of the command (proc_pid_comm(5)), or "" where that is unknown.
func Name(pid int) string { return name(pid) }

// Catches reports whether the process has a handler for that signal, or ignores it
// (proc_pid_status(5)), so that the signal does not end it. It returns false where that is unknown.
func Catches(pid int, sig os.Signal) bool { return catches(pid, sig) }
