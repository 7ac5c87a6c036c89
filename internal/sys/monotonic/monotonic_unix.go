//go:build unix && !aix

package monotonic

import (
	"time"

	"golang.org/x/sys/unix"
)

func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return wall()
	}
	return time.Duration(ts.Nano())
}
