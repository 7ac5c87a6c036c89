// Package proc reads /proc for children of this process. A child keeps its PID until this process
// has waited for it. This package sends no signals: a PID alone does not identify a process safely.
package proc

import "os"

// Name returns the name of the command (proc_pid_comm(5)), or "" if it is unknown.
func Name(pid int) string { return name(pid) }

// Catches reports whether the process catches or ignores that signal (proc_pid_status(5)), so that
// the signal does not end it. It returns false if that is unknown.
func Catches(pid int, sig os.Signal) bool { return catches(pid, sig) }
