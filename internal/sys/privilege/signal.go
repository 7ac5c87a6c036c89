package privilege

import "os"

// MaySignal reports whether this process may send signals to a process of that user (kill(2)). A
// security module may still forbid it.
func MaySignal(uid int) bool {
	return uid == os.Getuid() || uid == os.Geteuid() || mayKill()
}
