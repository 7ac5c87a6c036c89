// Package execve controls what a program inherits when this process executes it (execve(2)):
// descriptors, signals and its name.
package execve

import "os"

// CloseOnExec marks all open descriptors from that one on as close-on-exec.
func CloseOnExec(from int) error { return closeOnExec(from) }

// EmptySignalMask unblocks all signals in the calling thread, if threads have signal masks.
func EmptySignalMask() { emptySignalMask() }

// IgnoredSignals returns the ignored signals among those that Go leaves ignored. On systems other
// than Linux it returns all that may be ignored. Catching a signal costs two thread switches, so
// callers catch no others.
func IgnoredSignals() []os.Signal { return ignoredSignals() }

// DefaultSignals resets these signals to their default and reports whether there were any. It does
// not change what the Go runtime knows of them, so it is only for use right before execve(2).
func DefaultSignals() (any bool) { return defaultSignals() }

// DefaultRuntimeSignals resets signals that the Go runtime leaves as they are because libc uses
// them, if they are ignored. They cannot be caught.
func DefaultRuntimeSignals() { defaultRuntimeSignals() }

// ThisProgram returns a path of this program that works even if its file was deleted or replaced
// since the start.
func ThisProgram() string { return thisProgram() }

// SelfArgs returns the arguments for executing ThisProgram or ProcessExecutable again, so that the
// program gets args. They differ from args if a loader executes this program (ld.so(8)): then these
// paths are those of the loader.
func SelfArgs(args []string) ([]string, error) { return selfArgs(args) }

// Replace executes this program anew in this process, with these arguments. It returns only an
// error.
func Replace(args []string) error { return replace(args) }

// NameProcess sets the name of a process that was started as ProcessExecutable. Without it, the
// name would be "exe" (proc_pid_comm(5)).
func NameProcess(name string) { nameProcess(name) }

// ProcessExecutable is a path of this program, independent of changes to its file, if the system
// has such a path.
const ProcessExecutable = "/proc/self/exe"
