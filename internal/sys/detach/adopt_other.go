//go:build !linux

package detach

// AdoptOrphans does nothing: this system has no subreapers.
func AdoptOrphans() (undo func()) { return func() {} }
