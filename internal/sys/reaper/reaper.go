// Package reaper handles orphans: children that this process did not start but has adopted, as
// process 1 or as a subreaper (PR_SET_CHILD_SUBREAPER(2const)). It never takes an exit status that
// other code in the process waits for. It never signals a process by its number.
//
// If this process has a pidfd for a child, the child belongs to other code and is no orphan. Such a
// pidfd is a claim. os/exec has one from the fork to the end of Wait (pidfd_open(2)). Code that
// waits by PID alone, with syscall.Wait4, has no claim. This package may then reap its child.
//
// The functions do nothing if they cannot distinguish orphans from other children. This is so on
// Linux before 5.4, which lacks pidfds, and without /proc of this PID namespace. They also do
// nothing on other systems, where a process adopts no children.
package reaper

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// Reap waits for the orphans that have ended, and returns their PIDs. It does not block. It visits
// each child at most once. The next call reaps a child that ends during this one.
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

// EachOrphan calls do for each child that is an orphan and has not ended. It uses only a few
// descriptors for any number of orphans. do must not block. Until it returns, no child is reaped,
// and this process cannot fork.
//
// If EachOrphan returns an error, it may have missed orphans. A later call can find them.
func EachOrphan(do func(Orphan)) error { return eachOrphan(do) }

// Kill kills all orphans and their descendants, even if they fork all the time. It first suspends
// all of them with SIGSTOP, and then kills them. It returns when none remains, or at the deadline.
// It may exceed the deadline by one pass over the descendants.
//
// If Kill returns an error, orphans may remain.
func Kill(deadline time.Time) error { return kill(deadline) }
