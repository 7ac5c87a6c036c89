// Package filelock locks a file with flock(2), and lets other processes see that it is locked and
// by whom, without changing anything.
//
// Only the flock excludes. It belongs to the open file description, so it lasts until the last
// descriptor of that description is closed, in any process. But it tells nothing: the only test is
// to try it, which can make a start fail that happens at the same moment, and the kernel reports
// the process that took the lock, which may have ended. So on Linux two record locks stand beside
// it, far behind any content (fcntl_locking(2)):
//
//   - the presence lock, an open file description lock on byte 1<<62. It goes with the flock,
//     and F_OFD_GETLK shows it.
//   - the owner lock, a POSIX lock on byte (1<<62)+1, of the process that calls [LockOwnership].
//     F_GETLK returns its PID, as the kernel numbers it in the PID namespace of the caller.
//
// Both are write locks, so a descriptor that was opened for reading cannot forge them. Both are
// advice: where they are not available, the flock serves alone. A process loses its POSIX locks on
// a file when it closes any descriptor of it, so the process that calls [LockOwnership] must not
// open the file a second time.
//
// On the BSDs and macOS flock and record locks are one and the same. There are no such marks there,
// and [Inspect] tries the lock. On other systems every function returns errors.ErrUnsupported.
package filelock

import (
	"errors"
	"io/fs"
	"os"
)

// ErrHeld is returned where another open file description holds the lock.
var ErrHeld = errors.New("locked by another process")

// State is what [Inspect] saw of a file.
type State struct {
	Held    bool // the flock, the presence lock or the owner lock is held
	Present bool // the presence lock or the owner lock is held: the holder uses this package
	Owned   bool // the owner lock is held
	PID     int  // of the process with the owner lock; 0 if it is in another PID namespace
	NoMarks bool // this system shows no presence and no owner lock, so their absence means nothing
}

// TryLock takes the exclusive flock on f. It never blocks: where another open file description
// holds a lock, it returns an error that wraps [ErrHeld].
func TryLock(f *os.File) error { return wrap("flock", f, tryLock(f)) }

// LockPresence takes the presence lock on f, which must be open for writing. It never blocks: where
// another description has any lock on that byte, it returns an error that wraps [ErrHeld]. A
// process needs no more than the right to read the file to have such a lock.
func LockPresence(f *os.File) error { return wrap("presence lock", f, lockPresence(f)) }

// LockOwnership takes the owner lock on f for this process. f must be open for writing. It never
// blocks; see [LockPresence].
func LockOwnership(f *os.File) error { return wrap("owner lock", f, lockOwnership(f)) }

// Inspect returns who holds f, which may be open for reading only. It never blocks. Where it finds
// neither mark, it takes the flock shared for an instant. So a caller that finds a file locked but
// not marked must try again before it believes that.
func Inspect(f *os.File) (State, error) { return InspectWith(f, func() {}) }

// InspectWith is [Inspect]. Where nobody holds f, it calls ifFree while nobody can lock f: what
// ifFree reads was not written by a holder that came after the inspection.
func InspectWith(f *os.File, ifFree func()) (State, error) {
	s, err := inspect(f, ifFree)
	return s, wrap("flock", f, err)
}

// LockOwner returns a process that took a flock on that file, or 0 if the system does not tell.
// That process may have passed the lock to another one, and ended.
func LockOwner(info fs.FileInfo) (pid int) { return lockOwner(info) }

func wrap(op string, f *os.File, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.Name(), Err: err}
}
