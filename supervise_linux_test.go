package lifecycle

import (
	"fmt"
	"os"
	"strings"

	"example.com/lifecycle/internal/proctest"
)

// told waits until the daemon says something of itself.
func (b *background) told(what string, enough func(Status) bool) (s Status) {
	b.t.Helper()
	proctest.Eventually(b.t, func() bool {
		found, err := Find(b.pidfile)
		if err != nil {
			return false
		}
		defer found.Close()
		s, err = found.Status()
		return err == nil && enough(s)
	}, "%s", what)
	return s
}

// worker waits until there is another worker that is ready than that one, and returns its PID.
func (b *background) worker(than int) (pid int) {
	b.t.Helper()
	return b.told("another worker to be ready", func(s Status) bool { return s.Worker != 0 && s.Worker != than && s.Phase == Ready }).Worker
}

// lives says whether there is such a process. A zombie is none.
func lives(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.HasPrefix(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " Z")
}
