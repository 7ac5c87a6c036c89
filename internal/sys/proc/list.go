package proc

import "time"

// Process is an extract of proc_pid_stat(5).
type Process struct {
	PID, Parent, Group, Session int

	Name  string
	ID    string        // as Identity returns it, but also of a zombie; "": unknown
	Began time.Duration // CLOCK_BOOTTIME of its start; it may have started up to Tick later
	Ended bool          // a zombie

	Stopped bool // suspended by a signal (signal(7))
}

// Tick is the resolution of Process.Began: the unit of clock_t in /proc (times(2)).
const Tick = time.Second / 100

// Of returns the process with that PID. ok is false if there is none, or if this is unknown.
func Of(pid int) (p Process, ok bool) { return of(pid) }

// List returns all processes that this process can see, including itself. It reads one process
// after the other. Therefore the list may lack a process that starts or ends during the call. List
// returns nil if there is no /proc of the PID namespace of this process.
func List() []Process { return list() }

// Namespace returns a text that identifies the PID namespace of this process and its clocks. It
// returns "" if they are unknown. A PID identifies a process only inside its namespace. The text
// contains the start of process 1, if this process can see it, because the kernel may reuse the
// inode of a namespace that has ended.
func Namespace() string { return namespace() }
