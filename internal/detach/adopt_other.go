//go:build !linux

package detach

// AdoptOrphans does nothing: the system has no such thing.
func AdoptOrphans() (undo func()) { return func() {} }
