//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package privilege

import (
	"os"

	"golang.org/x/sys/unix"
)

// lookAtStart comes before anything in this process has changed its user, which issetugid(2) counts too.
func lookAtStart() execution {
	differs := os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid()
	return execution{differs || unix.Issetugid(), true} // there are no capabilities of files
}
