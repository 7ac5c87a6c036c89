package reaper

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// children returns the PIDs of the children, including zombies. The kernel lists them one by one. A
// child that ends at that moment can hide the next child (proc_tid_children(5)). Therefore children
// repeats the listing until no new PID appears. Some of the processes may have ended by then.
func children() (pids []int) {
	for range 4 {
		before := len(pids)
		pids = slices.Compact(slices.Sorted(slices.Values(append(pids, childrenOf(os.Getpid())...))))
		if len(pids) == before {
			break
		}
	}
	return pids
}

// childrenOf lists the children of a process once. Adopted children usually belong to its first
// thread, which is listed first.
func childrenOf(parent int) (pids []int) {
	dir := "/proc/" + strconv.Itoa(parent) + "/task"
	threads, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, thread := range threads {
		text, err := os.ReadFile(dir + "/" + thread.Name() + "/children")
		if err != nil && !procHasChildren() {
			return scan(parent)
		}
		for field := range strings.FieldsSeq(string(text)) { // empty if the thread has ended
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// procHasChildren reports whether the kernel has CONFIG_PROC_CHILDREN.
func procHasChildren() bool {
	_, err := os.Stat("/proc/thread-self/children")
	return err == nil
}

// scan does the same as childrenOf on kernels without CONFIG_PROC_CHILDREN. It reads the parent of
// every process.
func scan(parent int) (pids []int) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if s, ok := statOf(pid); ok && s.parent == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stat contains some fields of proc_pid_stat(5).
type stat struct {
	state  byte
	parent int
	began  string // in ticks since boot
}

// stopped reports whether the first thread is suspended.
func (s stat) stopped() bool { return s.state == 'T' || s.state == 't' }

func statOf(pid int) (s stat, ok bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return s, false
	}
	return parseStat(string(text))
}

// parseStat reads the fields after the name. It skips the name, because a process can set its name
// to any text.
func parseStat(text string) (s stat, ok bool) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return s, false
	}
	parent, err := strconv.Atoi(fields[1])
	return stat{fields[0][0], parent, fields[19]}, err == nil
}
