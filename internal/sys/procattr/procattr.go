// Package procattr resets attributes that child processes inherit, such as limits and priorities. A
// program in the background must not get them from the user who typed start.
package procattr

// Reset resets the attributes that processes inherit from the calling thread from now on. The
// caller must have locked the thread.
//
// A privileged process gets the values that init would pass on. Any other process keeps the choices
// of its user, but Reset raises the soft limits that kill a process or damage its files to the hard
// limits.
//
// Reset returns no error for attributes that it cannot reset; see [Kept].
func Reset() { reset() }

// Kept returns the attributes that this privileged process got from its caller, that init does not
// have, and that could not be reset. For any other process it returns nothing.
func Kept() []string { return kept() }
