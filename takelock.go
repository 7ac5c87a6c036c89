package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"example.com/lifecycle/internal/filelock"
	"example.com/lifecycle/internal/safefile"
)

// How a start comes to hold the PID file.

const (
	// patience is how long a start tries again while it cannot tell who holds the file: a look from outside holds it for an
	// instant, and another start does so before it has written who it is.
	patience = time.Second
	// patienceForStart is how long it tries where a daemon holds it for certain: a launcher holds the lock while the program of the daemon loads.
	patienceForStart = 5 * time.Second
)

// lockPIDFile takes the lock; it is for the caller to write the PID then, by sign. It is named after this process, unless it is for
// another one. It returns an *AlreadyRunningError where another daemon has it.
//
// It is tempting to read the number first and to ask whether that process lives. But a number proves nothing, and two
// who look at the same moment both find the place free.
func lockPIDFile(path string, mode fs.FileMode, named bool, log *slog.Logger) (*pidLock, error) {
	if err := makeDefaultDir(path, ".pid", DefaultPIDFile); err != nil {
		return nil, pidFileError(path, err)
	}
	squatted := false
	begun := time.Now()
	for try := 1; ; try++ {
		f, holder, err := tryPIDFile(path, mode)
		held, moved := errors.Is(err, filelock.ErrHeld), errors.Is(err, errMoved)
		// Time alone proves nothing: on a machine that stands still now and then it can be over after one look.
		last := time.Since(begun) > patience && try >= 100
		lastOfStart := time.Since(begun) > patienceForStart && try >= 100
		switch {
		case err == nil:
			lock := newPIDLock(path, f, log)
			err := lock.claim(mode, named, !squatted)
			if err == nil {
				return lock, nil
			}
			lock.release()
			if err != errSquatted {
				return nil, pidFileError(path, err)
			}
			squatted = true
		case held && holder.daemon && (holder.known || lastOfStart):
			return nil, &AlreadyRunningError{PID: holder.pid, PIDFile: path}
		case held && !holder.daemon && last && (holder.held || try >= 1000):
			return nil, pidFileError(path, foreign(path))
		case !held && (last || !moved):
			return nil, pidFileError(path, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// errForeign says that the holder set no mark, where a daemon of this library would have.
var errForeign = errors.New("locked by another program")

// errMoved says that the path named another file by the time the first one was locked.
var errMoved = errors.New("the file is replaced again and again while it is being locked")

// errSquatted says that somebody, who needs only be able to read the stale file, holds a lock where our mark goes. Nobody does
// yet in the new file that takes its place.
var errSquatted = errors.New("the place of the mark is taken")

// tryPIDFile opens and locks the file once, and writes nothing. With filelock.ErrHeld it says who has it.
func tryPIDFile(path string, mode fs.FileMode) (_ *os.File, h holder, err error) {
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
		h, lookErr := readHolder(f)
		return nil, h, errors.Join(err, lookErr)
	case err != nil:
		// Where nobody can lock, nobody holds the file that we have just made, so it can go although it is not locked.
		if seen, _ := filelock.Look(f); created && !seen.Marked {
			_ = safefile.Remove(f, path)
		}
		return nil, h, fmt.Errorf("%w: the file system must know flock(2), use a local one such as /run", err)
	}
	// Between our open and our lock, who held the file can have unlinked it, and then our lock protects nothing.
	// FreeBSD's flopen(3) is about this.
	if same, err := safefile.Same(f, path); err != nil || !same {
		return nil, h, errors.Join(err, errMoved)
	}
	return f, h, nil
}

// discard removes a file that this start has made but may not use: under the lock, like everybody.
func discard(f *os.File, path string) {
	if filelock.TryLock(f) == nil {
		_ = safefile.Remove(f, path)
	}
}

// clearStale removes what a daemon that was killed, or that may not remove it, has left: under the lock, like everybody, and with the checks of
// a start. Where it may not have the lock for longer than a process takes to die, somebody else has the file.
func (c *config) clearStale() {
	for deadline := time.Now().Add(patienceForDeath); ; time.Sleep(time.Millisecond) {
		if _, err := os.Lstat(c.pidFile); err != nil {
			return
		}
		f, _, err := tryPIDFile(c.pidFile, c.pidFileMode)
		if err == nil {
			newPIDLock(c.pidFile, f, slog.New(slog.DiscardHandler)).clear()
			return
		}
		if !errors.Is(err, filelock.ErrHeld) || time.Now().After(deadline) {
			return
		}
	}
}

// claim makes the locked file ours. It is emptied before anything else, so that a number in a held file is always that of the
// holder. Where it cannot be marked because of a squatter, it returns errSquatted if choosy.
func (p *pidLock) claim(mode fs.FileMode, named, choosy bool) error {
	if err := p.File.Truncate(0); err != nil {
		return err
	}
	info, err := p.File.Stat()
	if err == nil && info.Mode().Perm() != mode && safefile.Owner(info) == os.Geteuid() {
		err = p.File.Chmod(mode)
	}
	if err != nil {
		return err
	}
	// Advice to those who look; the flock is held without it.
	err = filelock.Mark(p.File)
	if named {
		err = errors.Join(err, filelock.Name(p.File))
	}
	if choosy && errors.Is(err, filelock.ErrHeld) {
		return errSquatted
	}
	if err != nil {
		p.log.Debug("the PID file is locked, but not marked", "err", err)
	}
	return nil
}

// adoptPIDFile takes over the lock that the launcher took, and puts this process's name on it. It does not trust the launcher: who has a lock already is
// given it again, without a gap (flock(2)), and anybody else only if it is free.
func adoptPIDFile(path string, f *os.File, mode fs.FileMode, log *slog.Logger) (*pidLock, error) {
	if f == nil {
		return nil, pidFileError(path, errors.New("the launcher has not given it"))
	}
	err := filelock.TryLock(f)
	if errors.Is(err, filelock.ErrHeld) {
		err = errors.New("what the launcher has given is locked by another process")
	}
	lock := newPIDLock(path, f, log)
	if err == nil {
		var same bool
		if same, err = safefile.Same(f, path); err == nil && !same {
			err = errors.New("it was deleted or replaced during the start")
		}
	}
	if err == nil {
		err = lock.claim(mode, true, false)
	}
	if err != nil {
		return nil, pidFileError(path, err)
	}
	return lock, nil
}
