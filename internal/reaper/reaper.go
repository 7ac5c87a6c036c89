// Package reaper waits for the children that a process has but did not start: orphans that it has adopted, as process 1 and subreapers do
// (PR_SET_CHILD_SUBREAPER(2const)). It never takes an exit status that somebody else in the process waits for.
package reaper

// Reap waits for the children that have ended and that nobody in this process waits for, and returns their PIDs. It does not block. A child for which
// this process holds a pidfd, as os/exec does (pidfd_open(2)), is left to who holds that. Elsewhere than on Linux it does nothing.
func Reap() (reaped []int) { return reap() }

// Orphans returns the children that have not ended and for which this process holds no pidfd. Where there are no children at all that takes one
// system call. Elsewhere than on Linux there are none.
func Orphans() []int { return orphans() }
