// Package filelock holds a file under flock(2) and lets a stranger see, without touching it, that it is held and by whom.
//
// The flock is the lock: it alone excludes. It is bound to the open file description, so it lasts until the last
// descriptor of that description is closed, in whatever process. What it cannot do is tell: a look at it is a try-lock that
// can make a start fail which happens at the same moment, and the kernel reports the process that took it, which may
// be long gone. So on Linux two record locks stand beside it, far behind any content (fcntl_locking(2)):
//
//   - the mark, an open file description lock on byte 1<<62. It goes wherever the flock goes, and F_OFD_GETLK shows it.
//   - the name, a POSIX lock on byte (1<<62)+1, of the process that calls [Name]. F_GETLK answers its PID, as the kernel
//     numbers it in the PID namespace of who asks.
//
// Both are write locks, so a descriptor that was opened for reading can forge neither. Both are advice: where they cannot be
// had, the flock serves alone. A POSIX lock is lost as soon as its process closes any descriptor of the file, so whoever
// calls [Name] does not open the file a second time.
//
// On the BSDs and macOS flock and record locks are one and the same, so there is neither mark nor name and [Look] is the
// try-lock. Elsewhere every function answers errors.ErrUnsupported.
package filelock

import (
	"errors"
	"io/fs"
	"os"
)

// ErrHeld says that another open file description holds the lock.
var ErrHeld = errors.New("locked by another process")

// State is what [Look] saw of a file.
type State struct {
	Held   bool // somebody holds the flock, or says so by mark or name
	Marked bool // who holds it has set the mark or the name: it is one of ours
	Named  bool // who holds it has set the name
	PID    int  // of who set the name; 0 when that process is not in the PID namespace of the caller
	Blind  bool // marks and names cannot be seen here, so their absence says nothing
}

// TryLock takes the exclusive flock on f. It never blocks: where another open file description holds a lock, it returns
// an error that wraps [ErrHeld].
func TryLock(f *os.File) error { return wrap("flock", f, tryLock(f)) }

// Mark sets the mark on f, which must be open for writing. It never blocks: where another description has a lock of any kind in its
// place, which takes no more than the right to read the file, it returns an error that wraps [ErrHeld].
func Mark(f *os.File) error { return wrap("mark", f, mark(f)) }

// Name sets the name of this process on f, which must be open for writing. It never blocks; see [Mark].
func Name(f *os.File) error { return wrap("name", f, name(f)) }

// Look says who holds f, which may be open for reading only. It never blocks. Where there is neither mark nor name
// it takes the flock shared for an instant, so whoever finds a file locked but not marked tries again before it believes it.
func Look(f *os.File) (State, error) { return LookInside(f, func() {}) }

// LookInside is Look, and calls ifFree where nobody holds f, in the instant in which nobody can: what it sees is not of somebody who
// came since.
func LookInside(f *os.File, ifFree func()) (State, error) {
	s, err := look(f, ifFree)
	return s, wrap("flock", f, err)
}

// Taker returns a process that took a flock on that file, of those that the system tells of, or 0. It may have left the lock to another, and ended.
func Taker(info fs.FileInfo) (pid int) { return taker(info) }

func wrap(op string, f *os.File, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.Name(), Err: err}
}
