//go:build !unix || aix

package procattr

func reset() {}

func kept() []string { return nil }
