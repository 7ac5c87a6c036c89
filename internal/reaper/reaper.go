// Package reaper looks after the children that a process has but did not start: orphans that it has
// adopted, as process 1 and subreapers do (PR_SET_CHILD_SUBREAPER(2const)). It never takes an exit
// status that other code in the process waits for, and it never signals a process by its number.
//
// A child belongs to other code while this process holds a pidfd for it, as os/exec does from the
// fork to the end of Wait (pidfd_open(2)). Code that waits by PID alone, with syscall.Wait4, may
// find that its child was reaped. Where there is no pidfd (before Linux 5.4), or no /proc of this
// PID namespace, the children cannot be told apart, and elsewhere than on Linux nothing is adopted:
// there every function does nothing.
package reaper

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// Reap waits for the orphans that have ended, and returns their PIDs. It does not block, and it
// looks at each child at most once: a child that ends meanwhile is left to the next call.
func Reap() (reaped []int) { return reap() }

// Orphan is a process that one of the functions of this package has pinned, and only until that
// function returns.
type Orphan struct {
	PID int

	fd int // a pidfd
}

// Signal sends a signal to the process, and never to another one with its PID.
func (o Orphan) Signal(sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return errors.ErrUnsupported
	}
	return o.signal(number)
}

// EachOrphan calls do for each child that has not ended and is an orphan. It uses a few
// descriptors, however many orphans there are. Do must not block: no child is reaped meanwhile,
// and this process cannot fork.
//
// An error says that some orphans may have been left out, for now.
func EachOrphan(do func(Orphan)) error { return eachOrphan(do) }

// Kill ends all orphans and what descends from them, also where they fork faster than they can be
// counted: it first suspends all of them (SIGSTOP), and then kills them. It returns when none is
// left, or at the deadline. It never takes longer than one look at the descendants after that.
//
// An error says why orphans may be left.
func Kill(deadline time.Time) error { return kill(deadline) }
