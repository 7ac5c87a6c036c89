//go:build unix

package proctest

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// Suspend stops the process with STOP. On a system with /proc, it waits until the process is
// stopped. resume sends CONT.
func (p *Process) Suspend() (resume func()) {
	p.t.Helper()
	p.Signal(syscall.SIGSTOP)
	Eventually(p.t, func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		return err == nil && bytes.Contains(text, []byte(") T "))
	}, "pid %d to stand still", p.PID())
	return func() { p.t.Helper(); p.Signal(syscall.SIGCONT) }
}
