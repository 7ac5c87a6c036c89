//go:build !linux

package detach

// Adopt does nothing: the system has no such thing.
func Adopt() (undo func()) { return func() {} }
