// Package execve settles what a program inherits that this process executes (execve(2)): descriptors, signals and its name.
package execve

import "os"

// CloseOnExec has every open descriptor from that one on closed in what is executed.
func CloseOnExec(from int) error { return closeOnExec(from) }

// EmptySignalMask unblocks all signals in the thread that calls it, where the system has masks for threads.
func EmptySignalMask() { emptySignalMask() }

// IgnoredSignals are those that Go leaves ignored where it was started so, as far as they may be ignored. To catch one takes two switches of threads, so
// none is caught that need not be.
func IgnoredSignals() []os.Signal { return ignoredSignals() }

// DefaultSignals sets those to their default, and says whether there were any. What Go knows of them stays: it is for right before something is executed.
func DefaultSignals() (any bool) { return defaultSignals() }

// DefaultRuntimeSignals sets the signals to their default that the Go runtime leaves as it finds them, because libc uses them, if
// they are ignored. They cannot be caught.
func DefaultRuntimeSignals() { defaultRuntimeSignals() }

// ThisProgram is the path of this program, also where its file was deleted or replaced since it was started.
func ThisProgram() string { return thisProgram() }

// NameProcess gives the process the name of the program where it was started as ProcessExecutable, of which the name is exe (proc_pid_comm(5)).
func NameProcess(name string) { nameProcess(name) }

// ProcessExecutable is this program, whatever has become of its file, where the system has that.
const ProcessExecutable = "/proc/self/exe"
