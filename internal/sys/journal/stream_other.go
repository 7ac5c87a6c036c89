//go:build !linux

package journal

func isStderr(string) bool { return false }
