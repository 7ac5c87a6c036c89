// Package procattr resets attributes that child processes inherit, such as limits and priorities. A
// daemon must not inherit them from the user who starts it.
package procattr

// Reset resets the attributes that new processes inherit from the calling thread. The caller must
// have locked the thread.
//
// A privileged process gets the values that init would pass on. Any other process keeps the choices
// of its user, but Reset raises the soft limits that kill a process or damage its files to the hard
// limits.
//
// Reset returns no error for attributes that it cannot reset; see [Kept].
func Reset() { reset() }

// Kept returns the attributes of the caller that this privileged process could not reset and that
// init does not have. For a process without privileges it returns nothing.
func Kept() []string { return kept() }
