// Package privilege gives up what a process was started with: the root directory and root, for good.
package privilege

import "errors"

// ErrNotDropped says that not everything was given up, or that it can be had again. The process must end.
var ErrNotDropped = errors.New("privileges were kept")

// Identity is who a process is to become.
type Identity struct {
	UID, GID int
	Groups   []int // all of them
}

// Drop makes dir the root directory of this process, and its working directory (chroot(2)), unless dir is "". Then it makes all threads
// those of that identity: groups, group and user, each real, effective and saved (credentials(7)), unless to is nil. Where the
// system tells, every thread is looked at; and that root cannot be had again is tried.
//
// It refuses to change the root directory while a descriptor is open on a directory, through which it could be left. After any other error the process
// is neither what it was nor what it was to be.
func Drop(dir string, to *Identity) error { return drop(dir, to) }
