// Package procattr resets attributes that child processes inherit, such as limits and priorities. A
// daemon must not inherit them from the user who starts it.
package procattr

// Reset resets the attributes that new processes inherit from the calling thread. The caller must
// have locked the thread.
//
// A privileged process gets the values that init would pass on. Any other process keeps the choices
// of its user. Only the soft limits that kill a process or damage its files are raised to the hard
// limits.
//
// Reset returns no error for attributes that it cannot reset; see [Kept].
func Reset() { reset() }

// Kept returns the attributes that this privileged process inherited from its caller and could not
// reset to the values of init. It returns nothing for a process without privileges.
func Kept() []string { return kept() }
