// Package reaper waits for the children that a process has but did not start: orphans that it has adopted, as process 1 and subreapers do
// (PR_SET_CHILD_SUBREAPER(2const)). It never takes an exit status that somebody else in the process waits for.
//
// A child is somebody's while this process holds a pidfd for it, as os/exec does from the fork to the end of Wait (pidfd_open(2)). Who waits by PID alone,
// with syscall.Wait4, may find that his child was waited for. Where there is no pidfd (before Linux 5.4), or no /proc of this PID namespace, nobody
// can be told from anybody, and elsewhere than on Linux nothing is adopted: there both functions do nothing.
package reaper

// Reap waits for the children that have ended and are nobody's, and returns their PIDs. It does not block.
func Reap() (reaped []int) { return reap() }

// Orphans returns the children that have not ended and are nobody's. Where there are no children at all that takes one system call. Until Reap is
// called, a PID of them is given to no other process.
func Orphans() []int { return orphans() }
