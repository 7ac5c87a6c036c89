package proc

import (
	"cmp"
	"os"
	"strconv"
	"strings"
	"time"

	"example.com/lifecycle/internal/sys/monotonic"
)

func of(pid int) (p Process, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return p, false
	}
	return parseStat(string(text))
}

// parseStat reads the fields of proc_pid_stat(5). The name (2) ends at the last parenthesis,
// because it may contain any text.
func parseStat(text string) (p Process, ok bool) {
	begin, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if begin < 0 || end < begin {
		return p, false
	}
	const behind = 3 // number of the first field after the name
	fields := strings.Fields(text[end+1:])
	if len(fields) <= 22-behind {
		return p, false
	}
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		ok = ok && err == nil
		return n
	}
	ok = true
	p = Process{
		PID: number(strings.TrimSpace(text[:begin])), Name: text[begin+1 : end],
		Parent: number(fields[4-behind]), Group: number(fields[5-behind]), Session: number(fields[6-behind]),
		Began: time.Duration(number(fields[22-behind])) * Tick,
	}
	// The state describes the first thread, which may end before the others.
	switch state, threads := fields[0], number(fields[20-behind]); state {
	case "Z", "X":
		p.Ended = threads <= 1
	case "T":
		p.Stopped = true
	}
	if clock := monotonic.Clock(); clock != "" {
		p.ID = clock + "/" + fields[22-behind]
	}
	return p, ok
}

func list() (all []Process) {
	if !isOurs() {
		return nil
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if p, ok := of(pid); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// isOurs reports whether /proc shows the PID namespace of this process.
func isOurs() bool {
	self, err := os.Readlink("/proc/self")
	return err == nil && self == strconv.Itoa(os.Getpid())
}

func namespace() string {
	inode, err := os.Readlink("/proc/self/ns/pid")
	clock := monotonic.Clock()
	if err != nil || clock == "" || !isOurs() {
		return ""
	}
	first, _ := of(1)
	return inode + "/" + cmp.Or(first.ID, clock)
}
