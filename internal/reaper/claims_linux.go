package reaper

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// claims are the PIDs for which this process holds a pidfd (proc_pid_fdinfo(5)), but for those descriptors.
func claims(but ...int) (pids []int, err error) {
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return nil, errors.Join(err, errNoProc)
	}
	entries, err := os.ReadDir("/proc/self/fdinfo")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err != nil || slices.Contains(but, fd) {
			continue
		}
		text, err := os.ReadFile("/proc/self/fdinfo/" + entry.Name())
		if errors.Is(err, os.ErrNotExist) { // closed since
			continue
		}
		if err != nil {
			return nil, err
		}
		_, rest, found := strings.Cut(string(text), "\nPid:\t")
		number, _, _ := strings.Cut(rest, "\n")
		if pid, err := strconv.Atoi(number); found && err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

var errNoProc = errors.New("/proc is not mounted, or of another PID namespace")

// claimsAreMade says whether package os holds pidfds at all. It is asked once: it is a property of the system.
var claimsAreMade = sync.OnceValue(func() bool {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return false
	}
	defer self.Release()
	claimed, err := claims()
	return err == nil && slices.Contains(claimed, os.Getpid())
})

// children are the PIDs of the children, zombies too. The kernel tells of them one after the other, so one that ends meanwhile can hide the next
// (proc_tid_children(5)): then they are listed again.
func children() []int {
	before := list()
	for range 10 {
		now := list()
		if slices.Equal(before, now) {
			break
		}
		before = now
	}
	return before
}

func list() (pids []int) {
	threads, _ := filepath.Glob("/proc/self/task/*/children")
	if len(threads) == 0 { // a kernel without CONFIG_PROC_CHILDREN
		return scan()
	}
	for _, path := range threads {
		text, _ := os.ReadFile(path) // the thread may have ended: then its children are another's
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	slices.Sort(pids)
	return pids
}

// scan is list by asking every process for its parent, field 4 of proc_pid_stat(5).
func scan() (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, _ := os.ReadFile(path)
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}
