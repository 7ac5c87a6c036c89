package reaper

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// claims returns the PIDs for which this process has a pidfd (proc_pid_fdinfo(5)). It ignores the
// descriptors in but.
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

var errNoProc = errors.New("/proc is not mounted, or belongs to another PID namespace")

// claimsAreMade reports whether package os uses pidfds on this system.
var claimsAreMade = sync.OnceValue(func() bool {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return false
	}
	defer self.Release()
	claimed, err := claims()
	return err == nil && slices.Contains(claimed, os.Getpid())
})
