package pidfile

import (
	"bytes"
	"os"
	"strconv"
)

const maxSize = 64 // bytes; longer content is no PID

// parsePID returns the PID in a PID file, or 0. A PID has decimal digits, no leading zero, and at
// most one newline behind them. It is at most maxPID. Any other content is no PID, not even in
// part: "12abc" is not 12.
func parsePID(text []byte) int {
	digits := bytes.TrimSuffix(text, []byte("\n"))
	if len(text) > maxSize || len(digits) == 0 || len(digits) > 10 || digits[0] == '0' {
		return 0
	}
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0
		}
	}
	pid, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || pid > maxPID() {
		return 0
	}
	return int(pid)
}

// maxPID returns the largest PID of this system. If the system does not report it, maxPID returns
// the maximum of Linux (proc_sys_kernel(5), pid_max).
func maxPID() int64 {
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err == nil {
		if limit, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err == nil {
			return limit
		}
	}
	return 1 << 22
}
