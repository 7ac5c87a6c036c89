package monotonic

import (
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return now()
	}
	return time.Duration(ts.Nano())
}

// clockID does not change in a process: a process with threads cannot enter a time namespace.
var clockID = sync.OnceValue(func() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, _ := os.Readlink("/proc/self/ns/time") // missing before Linux 5.6
	return strings.TrimSpace(string(boot)) + strings.NewReplacer("time:[", "/", "]", "").Replace(namespace)
})
