// Package cgroup starts the processes of a supervisor in a control group of their own (cgroups(7),
// version 2). A process cannot leave the group by a fork. Therefore this package can list all
// processes of the group, and kill them at once.
//
// A control group has one owner. This process divides its own group only if the group was delegated
// to it. This is so in two cases:
//
//   - systemd has delegated it, and reports this (Delegate=yes): the attribute trusted.delegate or
//     user.delegate of the group is 1 (https://systemd.io/CGROUP_DELEGATION).
//   - This process is process 1 of a container with a cgroup namespace of its own, and no process
//     outside of the container is in the group. Then no other process divides the group. A
//     container runtime mounts the groups read-only if the container must not use them.
//
// This process does not divide a group with a CPU or memory limit. A program that adapts to such a
// limit, as Go does for GOMAXPROCS, reads the limit only from its own group. It would not find the
// limit in a new group. This package enables no controller, and moves no process of another group.
package cgroup

import (
	"os"
	"time"
)

// Tree is the control group of this process, which this process may divide. A nil Tree has no
// groups.
type Tree struct{ tree }

// Own returns the control group of this process. An error gives the reason why it must not or
// cannot be divided.
func Own() (*Tree, error) { return own() }

// New makes an empty group. The group belongs to this process until it is removed, or this process
// ends. If this process ends first, Abandoned finds the group by owner, unless owner is "".
func (t *Tree) New(owner string) (*Group, error) {
	if t == nil {
		return nil, os.ErrInvalid
	}
	return t.makeGroup(owner)
}

// Adopt returns the group with that name, which another program of this process has made (package
// takeover). It returns an error if the group was removed, or if another process uses it. It tries
// for a second, because another process may be checking whether the group is abandoned.
func (t *Tree) Adopt(name string) (*Group, error) {
	if t == nil {
		return nil, os.ErrInvalid
	}
	return t.adopt(name)
}

// Abandoned returns the populated groups for that owner whose makers have ended. It removes all
// empty abandoned groups, for any owner.
func (t *Tree) Abandoned(owner string) []*Group {
	if t == nil {
		return nil
	}
	return t.abandoned(owner)
}

// Close releases the resources of the tree. Groups stay.
func (t *Tree) Close() {
	if t != nil {
		t.release()
	}
}

// Group is a control group that this process has made. Any goroutine may call its methods. A nil
// Group is empty.
type Group struct{ group }

// Name returns the name of the group in its tree, for [Tree.Adopt]. It returns "" for a nil group.
func (g *Group) Name() string {
	if g == nil {
		return ""
	}
	return g.name
}

// Dir returns the open directory of the group, or nil for a nil group. With it, a process can be
// started in the group (CLONE_INTO_CGROUP, clone(2)). Remove closes the directory.
func (g *Group) Dir() *os.File {
	if g == nil {
		return nil
	}
	return g.dir
}

// Process is a process that Each has pinned. It is valid only until the function that Each calls
// returns.
type Process struct {
	PID int

	fd int // a pidfd
}

// Signal sends a signal to the process. It never signals another process with the same PID.
func (p Process) Signal(sig os.Signal) error { return p.signal(sig) }

// Each calls do for each process in the group and in its nested groups. It skips this process.
//
// If Each returns an error, it may have missed processes. A later call can find them.
func (g *Group) Each(do func(Process)) error {
	if g == nil {
		return nil
	}
	return g.each(do, time.Now().Add(lookTime))
}

// lookTime limits one pass over the processes of a group.
const lookTime = 500 * time.Millisecond

// Kill kills all processes of the group at once, even if they fork fast. It returns when no process
// remains, or at the deadline. It kills no process if this process is in the group.
//
// If Kill returns an error, processes may remain.
func (g *Group) Kill(deadline time.Time) error {
	if g == nil {
		return nil
	}
	return g.kill(deadline)
}

// Populated reports whether the group has a live process. Zombies do not count.
func (g *Group) Populated() bool { return g != nil && g.populated() }

// Remove removes the group and its nested groups, and closes its directory. If a process is still
// in the group, Remove returns an error. The group is then abandoned, and a later Abandoned removes
// it.
func (g *Group) Remove() error {
	if g == nil {
		return nil
	}
	return g.remove()
}
