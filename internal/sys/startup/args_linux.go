package startup

import (
	"os"
	"strings"
)

// commandLine reads the arguments from proc_pid_cmdline(5).
func commandLine(now []string) []string {
	text, err := os.ReadFile("/proc/self/cmdline")
	if err != nil || len(text) == 0 || text[len(text)-1] != 0 {
		return choose(now, nil)
	}
	return choose(now, strings.Split(string(text[:len(text)-1]), "\x00"))
}
