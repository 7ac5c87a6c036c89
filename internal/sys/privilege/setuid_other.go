//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package privilege

import "os"

func lookAtStart() execution {
	differs := os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid()
	return execution{differs, differs}
}
