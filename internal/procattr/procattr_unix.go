//go:build unix && !aix && !linux

package procattr

import (
	"os"

	"golang.org/x/sys/unix"
)

// reset raises what ends a process or damages its files. Hard limits stay: what init has is not to
// be seen.
func reset() {
	for _, resource := range []int{unix.RLIMIT_CPU, unix.RLIMIT_FSIZE, unix.RLIMIT_DATA} {
		var limit unix.Rlimit
		if unix.Getrlimit(resource, &limit) == nil && limit.Cur != limit.Max {
			limit.Cur = limit.Max
			_ = unix.Setrlimit(resource, &limit)
		}
	}
	if os.Geteuid() == 0 {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0)
	}
}

func kept() []string { return nil }
