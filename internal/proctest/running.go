package proctest

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Running returns the processes that have arg among their arguments, on systems with /proc. A
// zombie has no arguments. Running excludes a tracer, which has the arguments of its program and
// ends after it.
func Running(arg string) (pids []int) {
	eachProcess("cmdline", func(pid int, text string) {
		args := strings.Split(text, "\x00")
		if slices.Contains(args, arg) && args[0] != "strace" {
			pids = append(pids, pid)
		}
	})
	return pids
}

// eachProcess calls do for each process, with the content of /proc/PID/file. It does not list the
// directory of a process, because that takes ten times as long.
func eachProcess(file string, do func(pid int, text string)) {
	proc, err := os.Open("/proc")
	if err != nil {
		return
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			text, _ := os.ReadFile("/proc/" + name + "/" + file) // empty for a zombie
			do(pid, string(text))
		}
	}
}

// IsOver reports whether a process has ended, on systems with /proc. It may still be a zombie. Its
// number may be the ID of a thread by then.
func IsOver(pid int) bool {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	return !bytes.Contains(text, fmt.Appendf(nil, "\nTgid:\t%d\n", pid)) || ended().Match(text)
}

var ended = Pattern(`(?m)^State:\t[ZX]`)
