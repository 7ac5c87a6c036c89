//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package privilege

import (
	"os"

	"golang.org/x/sys/unix"
)

// lookAtStart must run before this process changes its user, because issetugid(2) reports that too.
func lookAtStart() execution {
	differs := os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid()
	return execution{differs || unix.Issetugid(), true} // this system has no file capabilities
}
