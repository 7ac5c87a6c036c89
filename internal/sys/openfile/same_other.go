//go:build unix && !aix && !linux

package openfile

func sameDescription(a, b int) bool { return sameFile(a, b) }
