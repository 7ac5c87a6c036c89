// Package filelock locks a file with flock(2). Other processes can inspect whether the file is
// locked, and by which process, without changing anything.
//
// Only the flock excludes other processes. It belongs to the open file description. Therefore it
// lasts until the last descriptor of that description is closed, in any process. But no system call
// inspects a flock. The only test is to try to lock, and this can make a concurrent start fail. The
// kernel lists the process that took the flock, but that process may have ended. Therefore this
// package also takes two record locks on Linux, far beyond the content of the file
// (fcntl_locking(2)):
//
//   - the presence lock, an open file description lock on byte 1<<62. It lasts as long as the
//     flock, and F_OFD_GETLK shows it.
//   - the owner lock, a POSIX lock on byte (1<<62)+1, of the process that calls [LockOwnership].
//     F_GETLK returns its PID, as the kernel numbers it in the PID namespace of the caller.
//
// On the state file of a daemon, a third record lock is a request to the daemon: see [LockRequest].
//
// All are write locks. Therefore a process that can only read the file cannot forge them. The
// presence lock and the owner lock are only information: the flock works without them. A process
// loses its POSIX locks on a file when it closes any descriptor of the file. Therefore the process
// that calls [LockOwnership] must not open the file a second time.
//
// On the BSDs and macOS, flock and record locks are the same lock. There is no presence lock and no
// owner lock there, and [Inspect] tries the flock. On other systems every function returns
// errors.ErrUnsupported.
package filelock

import (
	"errors"
	"io/fs"
	"os"
)

// ErrHeld reports that another open file description holds the lock.
var ErrHeld = errors.New("locked by another process")

// State describes the locks that [Inspect] found on a file.
type State struct {
	Held    bool // the flock, one of our marks, or a record lock of another program is held
	Present bool // the presence lock or the owner lock is held: the holder uses this package
	Owned   bool // the owner lock is held
	PID     int  // of the process with the owner lock; 0 if it is in another PID namespace
	Other   bool // another program holds a record lock on the file, and PID is its process
	NoMarks bool // this system shows neither presence nor owner locks
}

// TryLock takes the exclusive flock on f. It never blocks. If another open file description holds a
// lock, it returns an error that wraps [ErrHeld].
func TryLock(f *os.File) error { return wrap("flock", f, tryLock(f)) }

// LockPresence takes the presence lock on f, which must be open for writing. It never blocks. If
// another description has any lock on that byte, it returns an error that wraps [ErrHeld]. Any
// process that may read the file can take such a lock.
func LockPresence(f *os.File) error { return wrap("presence lock", f, lockPresence(f)) }

// LockOwnership takes the owner lock on f for this process. f must be open for writing. It never
// blocks; see [LockPresence].
func LockOwnership(f *os.File) error { return wrap("owner lock", f, lockOwnership(f)) }

// LockRequest takes the request lock on f, which must be open for writing: an open file description
// lock on byte (1<<62)+2. It never blocks. If another process holds the lock, LockRequest returns
// an error that wraps [ErrHeld]. Only a process that may write the file can take the lock. The lock
// ends when f is closed. Therefore no request outlives its process.
func LockRequest(f *os.File) error { return wrap("request lock", f, lockRequest(f)) }

// HasRequest reports whether another process holds the request lock on f.
func HasRequest(f *os.File) bool { return hasRequest(f) }

// Inspect returns the locks on f, which may be open only for reading. It never blocks. If it finds
// no mark, it takes a shared flock for a moment. If the file is locked but has no mark, the caller
// must try again, because the lock may belong to another inspection.
func Inspect(f *os.File) (State, error) { return InspectWith(f, func() {}) }

// InspectWith does the same as [Inspect], and calls ifFree if no process holds f. No process can
// lock f during that call. Therefore ifFree never reads data of a later holder.
func InspectWith(f *os.File, ifFree func()) (State, error) {
	s, err := inspect(f, ifFree)
	return s, wrap("flock", f, err)
}

// OtherRecord reports whether another program holds a record lock for writing on the content of f
// (fcntl_locking(2), lockf(3)). Many daemons lock their PID file in this way. pid is 0 if unknown.
func OtherRecord(f *os.File) (pid int, held bool) { return otherRecord(f) }

// LockOwner returns a process that took a flock on that file, or 0 if the system does not report
// it. That process may have passed the lock to another process and ended.
func LockOwner(info fs.FileInfo) (pid int) { return lockOwner(info) }

func wrap(op string, f *os.File, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.Name(), Err: err}
}
