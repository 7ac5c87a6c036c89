// Package proc tells of processes that are children of this one: so their PIDs are not given to others before it has waited for them.
package proc

import (
	"os"
	"syscall"
)

// Name is the name of the command (proc_pid_comm(5)), "" if it cannot be told.
func Name(pid int) string { return name(pid) }

// Catches says whether the process has a handler for that signal, or ignores it (proc_pid_status(5)): it does not end of it. Where it cannot be told it is taken
// to have none.
func Catches(pid int, sig os.Signal) bool { return catches(pid, sig) }

// Signal sends a signal to a child.
func Signal(pid int, sig os.Signal) {
	if s, ok := sig.(syscall.Signal); ok {
		kill(pid, s)
	}
}
