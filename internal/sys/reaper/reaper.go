// Package reaper handles the children that a process has but did not start: orphans that it has
// adopted, as process 1 and subreapers do (PR_SET_CHILD_SUBREAPER(2const)). It never takes an exit
// status that other code in the process waits for, and it never signals a process by its number.
//
// A child belongs to other code while this process holds a pidfd for it, as os/exec does from the
// fork to the end of Wait (pidfd_open(2)). Code that waits by PID alone, with syscall.Wait4, may
// find that its child was reaped.
//
// The functions do nothing if they cannot tell orphans from other children: on Linux before 5.4,
// for lack of pidfds, and without /proc of this PID namespace. They also do nothing on other
// systems than Linux, where no child is adopted.
package reaper

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// Reap waits for the orphans that have ended, and returns their PIDs. It does not block. It visits
// each child at most once: a child that ends meanwhile is left to the next call.
func Reap() (reaped []int) { return reap() }

// Orphan is a process that a function of this package has pinned. It is valid only until that
// function returns.
type Orphan struct {
	PID int

	fd int // a pidfd
}

// Signal sends a signal to the process. It never signals another process with the same PID.
func (o Orphan) Signal(sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return errors.ErrUnsupported
	}
	return o.signal(number)
}

// EachOrphan calls do for each child that is an orphan and has not ended. It uses a few
// descriptors, for any number of orphans. do must not block: meanwhile no child is reaped, and this
// process cannot fork.
//
// If EachOrphan returns an error, it may have missed orphans. A later call can find them.
func EachOrphan(do func(Orphan)) error { return eachOrphan(do) }

// Kill ends all orphans and their descendants, even if they fork faster than they can be counted.
// It first suspends all of them (SIGSTOP), and then kills them. It returns when none is left, or at
// the deadline. After the deadline it takes no longer than one pass over the descendants.
//
// If Kill returns an error, orphans may be left.
func Kill(deadline time.Time) error { return kill(deadline) }
