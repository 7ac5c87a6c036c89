package pidfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/filelock"
	"example.com/lifecycle/internal/sys/safefile"
)

const (
	// AcquireTime is how long [Acquire] retries while it does not know which process holds the file.
	// The holder may be an inspection, which locks the file only for a moment, or another start that
	// has not yet written its PID.
	AcquireTime = time.Second
	// startTime is how long Acquire retries while a daemon holds the file and has not written its
	// PID. A launcher holds the lock while the program of the daemon loads.
	startTime = 5 * time.Second

	// These are minimum numbers of tries, because on a stalled machine a time limit can expire after
	// one try.
	minTries        = 100
	minTriesUnknown = 1000
)

// HeldError reports that a daemon of this library holds the file.
type HeldError struct {
	PID int // 0: the daemon is in another PID namespace or has not written its PID
}

func (e *HeldError) Error() string { return fmt.Sprintf("held by a daemon (pid %d)", e.PID) }

const needsFlock = "the file system must support flock(2): use a local one such as /run"

var (
	// errMoved reports that the path no longer names the locked file.
	errMoved = errors.New("another process keeps replacing the file")
	// errMarkTaken reports that another process holds a lock on the bytes of our marks. Any process
	// that can read a stale file can set such a lock. Acquire then replaces the file with a new one.
	errMarkTaken = errors.New("another process holds the lock that marks the daemon")
)

// Acquire locks the PID file at path for this process and empties it. It creates a missing file
// with exactly this mode, and reuses a stale file. The caller then writes the PID with
// [Lock.WritePID].
//
// It returns a [*HeldError] if a daemon holds the file, and an [*OtherHolderError] if another
// program holds it. If the file contains other data than a PID, Acquire returns an error and does
// not change the file.
func Acquire(path string, mode fs.FileMode) (*Lock, error) { return acquire(path, mode, true) }

// AcquireForChild is [Acquire] for a launcher. The child inherits the lock, and sets the owner lock
// itself.
func AcquireForChild(path string, mode fs.FileMode) (*Lock, error) {
	return acquire(path, mode, false)
}

func acquire(path string, mode fs.FileMode, own bool) (*Lock, error) {
	start := time.Now()
	acceptNoMark := false
	for try := 1; ; try++ {
		lock, holder, err := attempt(path, mode, own, acceptNoMark)
		moved, isHeld := errors.Is(err, errMoved), errors.Is(err, filelock.ErrHeld)
		last := time.Since(start) > AcquireTime && try >= minTries
		lastOfStart := time.Since(start) > startTime && try >= minTries
		switch {
		case err == nil:
			return lock, nil
		case errors.Is(err, errMarkTaken):
			acceptNoMark = true
		case isHeld && holder.Daemon && (holder.Known || lastOfStart):
			return nil, &HeldError{PID: holder.PID}
		case isHeld && !holder.Daemon && last && (holder.Held || try >= minTriesUnknown):
			return nil, holder.Unidentified(path)
		case safefile.OutcomeOf(err) == safefile.Denied:
			return nil, deniedBy(path, err)
		case !isHeld && (last || !moved):
			return nil, err
		}
		time.Sleep(time.Millisecond)
	}
}

// attempt tries once to open, lock and initialize the file. Inspections by this process wait until
// attempt returns, because they recognize a file of this process only when its lock is registered.
// If the error wraps filelock.ErrHeld, attempt returns the holder.
func attempt(path string, mode fs.FileMode, own, acceptNoMark bool) (*Lock, Holder, error) {
	held.mu.Lock()
	defer held.mu.Unlock()
	f, holder, err := tryAcquire(path, mode)
	if err != nil {
		return nil, holder, err
	}
	lock := newLock(path, f)
	err = lock.initialize(mode, own)
	if acceptNoMark && errors.Is(err, errMarkTaken) {
		err = nil
	}
	if err != nil {
		_, _ = lock.file.Remove()
		return nil, holder, err
	}
	if own {
		held.add(lock)
	}
	return lock, holder, nil
}

// tryAcquire tries once to open and lock the file. It writes nothing.
func tryAcquire(path string, mode fs.FileMode) (_ *os.File, h Holder, err error) {
	if err := safefile.GuardWrite(path); err != nil {
		return nil, h, err
	}
	f, created, err := safefile.Create(path, mode)
	if err != nil {
		return nil, h, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := safefile.CheckOwner(f); err != nil {
		if created {
			discard(f, path)
		}
		return nil, h, err
	}
	switch err := filelock.TryLock(f); {
	case errors.Is(err, filelock.ErrHeld):
		h, readErr := readHolder(f)
		if errors.Is(readErr, errData) {
			return nil, h, readErr
		}
		return nil, h, errors.Join(err, readErr)
	case err != nil:
		// On a file system without locks, no process can hold the new file, so remove it without a
		// lock.
		if seen, _ := filelock.Inspect(f); created && !seen.Present {
			_ = safefile.Remove(f, path)
		}
		return nil, h, lockError(err)
	}
	// The holder may have removed the file after this process opened it and before this process locked
	// it. The lock would then protect nothing. See flopen(3) of FreeBSD.
	if same, err := safefile.Same(f, path); err != nil || !same {
		return nil, h, errors.Join(err, errMoved)
	}
	if pid, held := filelock.OtherRecord(f); held {
		return nil, h, &OtherHolderError{PID: pid, Name: programOf(pid)}
	}
	return f, h, checkContent(f)
}

// lockError adds advice to an error of a lock if the file system has no locks.
func lockError(err error) error {
	at := new(fs.PathError)
	for _, errno := range []syscall.Errno{syscall.ENOLCK, syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.EINVAL} {
		if errors.Is(err, errno) && errors.As(err, &at) {
			return &fs.PathError{Op: at.Op, Path: at.Path, Err: fmt.Errorf("%w: %s", at.Err, needsFlock)}
		}
	}
	return err
}

// deniedBy returns the error for a file that this user may not write. If the user may see which
// process holds the file, the error names that process.
func deniedBy(path string, err error) error {
	switch h, lookErr := Inspect(path); {
	case lookErr != nil || !h.Held:
		return err
	case h.Daemon:
		return &HeldError{PID: h.PID}
	default:
		return h.Unidentified(path)
	}
}

// discard removes, under the lock, a file that tryAcquire has created and may not use.
func discard(f *os.File, path string) {
	if filelock.TryLock(f) == nil {
		_ = safefile.Remove(f, path)
	}
}

// initialize empties the locked file, sets its mode and sets the marks. It empties the file first,
// because the number in a held file must be the PID of its holder. It returns errMarkTaken if
// another process holds a lock on the bytes of the marks.
func (l *Lock) initialize(mode fs.FileMode, own bool) error {
	f := l.file.File
	if err := f.Truncate(0); err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && safefile.Owner(info) == os.Geteuid() {
		err = safefile.SetMode(f, mode)
	}
	if err != nil {
		return err
	}
	// These locks only serve inspections. This process holds the flock even if they fail.
	l.markErr = filelock.LockPresence(f)
	if own {
		l.markErr = errors.Join(l.markErr, filelock.LockOwnership(f))
	}
	if errors.Is(l.markErr, filelock.ErrHeld) {
		return errMarkTaken
	}
	return nil
}

// Inherit returns the lock that a launcher has acquired with [AcquireForChild], and sets the owner
// lock. It does not trust the launcher, and locks f again. The kernel grants the flock if this
// process already has it (flock(2)), or if the lock is free.
func Inherit(path string, f *os.File, mode fs.FileMode) (*Lock, error) {
	if f == nil {
		return nil, errors.New("the launcher did not pass it")
	}
	held.mu.Lock()
	defer held.mu.Unlock()
	err := filelock.TryLock(f)
	if errors.Is(err, filelock.ErrHeld) {
		err = errors.New("another process has locked the file that the launcher passed")
	}
	lock := newLock(path, f)
	if err == nil {
		var same bool
		if same, err = safefile.Same(f, path); err == nil && !same {
			err = errors.New("it was deleted or replaced during the start")
		}
	}
	if err == nil {
		err = lock.initialize(mode, true)
	}
	if err != nil && !errors.Is(err, errMarkTaken) {
		return nil, err
	}
	held.add(lock)
	return lock, nil
}

// RemoveStale removes the file of a process that was killed or lacks the permission to remove it.
// It locks the file and makes the checks of [Acquire]. It calls cleanup before it removes the file.
// It retries until timeout, because a dying process still holds its lock.
func RemoveStale(path string, mode fs.FileMode, timeout time.Duration, cleanup func()) {
	for deadline := time.Now().Add(timeout); ; time.Sleep(time.Millisecond) {
		if _, err := os.Lstat(path); err != nil {
			return
		}
		f, _, err := tryAcquire(path, mode)
		if err == nil {
			_, _ = newLock(path, f).ReleaseStale(cleanup)
			return
		}
		if !errors.Is(err, filelock.ErrHeld) || time.Now().After(deadline) {
			return
		}
	}
}

// Adopt returns the lock that the previous program of this process has kept with [Lock.Keep]. The
// file already contains the PID, so Adopt writes nothing. It never releases a lock: it only ensures
// that this process has each of the three locks. It returns an error if another process holds the
// file. It also adopts a file that was deleted or replaced, and [Lock.DetectLost] then reports
// that.
func Adopt(path string, f *os.File) (*Lock, error) {
	if f == nil {
		return nil, errors.New("the previous program did not pass it")
	}
	held.mu.Lock()
	defer held.mu.Unlock()
	if err := filelock.TryLock(f); err != nil {
		return nil, lockError(err)
	}
	lock := newLock(path, f)
	lock.written = true
	lock.markErr = filelock.LockPresence(f)
	if err := filelock.LockOwnership(f); lock.markErr == nil {
		lock.markErr = err
	}
	held.add(lock)
	return lock, nil
}
