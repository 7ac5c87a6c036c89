// Package privilege permanently gives up root and the root directory of a process.
package privilege

// notDropped begins the text of the error if some privileges were not given up, or if the process
// can regain them.
const notDropped = "privileges were kept: "

// Identity describes the user that a process becomes.
type Identity struct {
	UID, GID int
	Groups   []int // all of them
}

// Drop makes dir the root directory and the working directory of this process (chroot(2)), unless
// dir is "". Then it changes the real, effective and saved groups, group and user of all threads
// (credentials(7)), unless to is nil. It verifies the IDs of every thread if the system reports
// them. It also verifies that the process cannot become root again.
//
// If dir is set and a descriptor of a directory is open, Drop returns an error and changes nothing.
// An open directory would allow the process to leave the new root. After any other error, the
// change may be incomplete.
func Drop(dir string, to *Identity) error { return drop(dir, to) }
