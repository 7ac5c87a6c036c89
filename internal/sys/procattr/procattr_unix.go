//go:build unix && !aix && !linux

package procattr

import (
	"os"

	"golang.org/x/sys/unix"
)

// reset raises the soft limits that end a process or damage its files. It does not change hard
// limits, because the limits of init are not visible.
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
