//go:build unix && !aix && !linux

package lifeline

import "os"

// madeByUs is true only where it must be so, for who made a socket pair is not told.
func madeByUs(int) bool { return os.Getuid() == os.Geteuid() && os.Getgid() == os.Getegid() }
