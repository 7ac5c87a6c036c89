// Package execve controls the descriptors, the signals and the name that a program inherits when
// this process executes it (execve(2)).
package execve

import "os"

// CloseOnExec marks all open descriptors from that one on as close-on-exec.
func CloseOnExec(from int) error { return closeOnExec(from) }

// EmptySignalMask unblocks all signals in the calling thread, if threads have signal masks.
func EmptySignalMask() { emptySignalMask() }

// IgnoredSignals returns the ignored signals among those that Go leaves ignored. On systems other
// than Linux it returns all signals that may be ignored. The caller catches only these, because
// each caught signal needs two thread switches.
func IgnoredSignals() []os.Signal { return ignoredSignals() }

// DefaultSignals resets the ignored signals to their default action, and reports whether there were
// any. Call it only right before execve(2), because the Go runtime does not notice the change.
func DefaultSignals() (any bool) { return defaultSignals() }

// DefaultRuntimeSignals resets ignored signals that the Go runtime never changes because libc uses
// them. A Go program cannot catch them.
func DefaultRuntimeSignals() { defaultRuntimeSignals() }

// IgnoreSignal makes the process ignore a signal until restore is called. The Go runtime does not
// notice the change. On systems other than Linux it does nothing.
func IgnoreSignal(sig os.Signal) (restore func()) { return ignoreSignal(sig) }

// DefaultSignal gives a signal its default action until restore is called, unless it is ignored.
// The Go runtime does not notice the change. On systems other than Linux it does nothing.
func DefaultSignal(sig os.Signal) (restore func()) { return defaultSignal(sig) }

// ThisProgram returns a path of this program that works even if its file was deleted or replaced
// since the start.
func ThisProgram() string { return thisProgram() }

// SelfArgs returns the arguments with which ThisProgram or ProcessExecutable must be executed. The
// executed program then gets args. The result differs from args if a loader executes this program
// (ld.so(8)). Then these paths name the loader.
func SelfArgs(args []string) ([]string, error) { return selfArgs(args) }

// ProgramArgs returns the executable and the arguments with which the program at path must be
// executed. The executed program then gets args. If a loader executes this program (ld.so(8)), the
// executable is that loader.
func ProgramArgs(path string, args []string) (exe string, selfArgs []string, err error) {
	return programArgs(path, args)
}

// Replace executes this program again in this process, with these arguments. It returns only if
// that fails.
func Replace(args []string) error { return replace(args) }

// NameProcess sets the name of a process that was started as ProcessExecutable. Without it, the
// name would be "exe" (proc_pid_comm(5)).
func NameProcess(name string) { nameProcess(name) }

// ProcessExecutable is a path of this program, independent of changes to its file, if the system
// has such a path.
const ProcessExecutable = "/proc/self/exe"
