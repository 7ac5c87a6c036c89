// Package procattr resets what a process passes on to the programs that it starts, and that the
// program in the background must not have from whoever typed start: limits, priorities and the
// like.
package procattr

// Reset resets what the calling thread, which must be locked, passes on to what it forks from now
// on.
//
// A privileged process gets what init would give it. Any other process keeps what its user chose,
// but soft limits that kill a process or damage its files are raised to the hard ones.
//
// What cannot be reset stays without an error; see [Kept].
func Reset() { reset() }

// Kept returns what this privileged process has from its caller, and init does not: it could not be
// reset. It returns nothing for any other process.
func Kept() []string { return kept() }
