// Package cgroup puts what a supervisor starts into a control group of its own (cgroups(7), version
// 2), out of which no process can fork. So all of it can be listed, and killed at once.
//
// A control group has one owner. This process divides its own only where it was handed over:
//
//   - systemd has done so, and says it (Delegate=yes): the attribute trusted.delegate or
//     user.delegate of the group is 1 (https://systemd.io/CGROUP_DELEGATION);
//   - or this process is process 1 of a container that has a cgroup namespace of its own, and nobody
//     outside of the container is in the group. Then nobody else divides it, and the one who made the
//     container mounts the groups read-only unless the container is to use them.
//
// It does not where the group has a limit of CPU or memory: a program that adapts to such a limit
// reads it in its own group only, as Go does for GOMAXPROCS, and would not find it any more. No
// controller is enabled, and no process of another group is moved.
package cgroup

import (
	"os"
	"time"
)

// Tree is the control group of this process, which may be divided. A nil Tree has no groups.
type Tree struct{ tree }

// Own returns the control group of this process. An error says why it must not or cannot be
// divided.
func Own() (*Tree, error) { return own() }

// New makes an empty group. It belongs to this process until it is removed, or this process ends.
// The owner says for whom it is, so that Abandoned finds it; "": nobody asks.
func (t *Tree) New(owner string) (*Group, error) {
	if t == nil {
		return nil, os.ErrInvalid
	}
	return t.makeGroup(owner)
}

// Abandoned returns the groups that processes have made for that owner which have ended since, and
// that are not empty. It removes all abandoned groups that are empty, whoever made them.
func (t *Tree) Abandoned(owner string) []*Group {
	if t == nil {
		return nil
	}
	return t.abandoned(owner)
}

// Close releases what the tree holds. Groups stay.
func (t *Tree) Close() {
	if t != nil {
		t.release()
	}
}

// Group is a control group that this process has made. Its methods may be called from any goroutine.
// A nil Group is one that is empty.
type Group struct{ group }

// Dir returns the directory, for the start of a process in the group (CLONE_INTO_CGROUP, clone(2)),
// or nil where there is none. It is closed by Remove.
func (g *Group) Dir() *os.File {
	if g == nil {
		return nil
	}
	return g.dir
}

// Process is a process that Each has pinned, and only until its argument returns.
type Process struct {
	PID int

	fd int // a pidfd
}

// Signal sends a signal to the process, and never to another one with its PID.
func (p Process) Signal(sig os.Signal) error { return p.signal(sig) }

// Each calls do for each process of the group, and of the groups that its processes have made in it.
// It never does so for this process.
//
// An error says that some may have been left out, for now.
func (g *Group) Each(do func(Process)) error {
	if g == nil {
		return nil
	}
	return g.each(do, time.Now().Add(lookTime))
}

// lookTime bounds one look at the processes of a group.
const lookTime = 500 * time.Millisecond

// Kill kills all processes of the group at once, however fast they fork, and returns when none is
// left, or at the deadline. It kills nobody where this process has been moved into the group.
//
// An error says why processes may be left.
func (g *Group) Kill(deadline time.Time) error {
	if g == nil {
		return nil
	}
	return g.kill(deadline)
}

// Populated reports whether a process of the group lives. Zombies do not count.
func (g *Group) Populated() bool { return g != nil && g.populated() }

// Remove removes the group and those that its processes have made in it, and releases it. It returns
// an error if it stays, since a process is in it; then it is abandoned, and removed later.
func (g *Group) Remove() error {
	if g == nil {
		return nil
	}
	return g.remove()
}
