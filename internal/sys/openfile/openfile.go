// Package openfile compares and duplicates open files.
package openfile

import "os"

// Same reports whether two descriptors refer to the same open file description (open(2)). The two
// ends of a pipe are not the same, although they have the same inode.
func Same(a, b *os.File) bool { return same(a, b) }

// Duplicate returns a second descriptor of an open file, with another name. It is close-on-exec.
// Both descriptors share the file offset and the flags (dup(2)).
func Duplicate(f *os.File, name string) (*os.File, error) { return duplicate(f, name) }
