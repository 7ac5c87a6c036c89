package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/safefile"
	"example.com/lifecycle/internal/statefile"
)

// ErrAlreadyRunning says that another daemon holds the PID file. The error that wraps it is an
// [*AlreadyRunningError].
var ErrAlreadyRunning = errors.New("lifecycle: already running")

// ErrUnsafePIDFile says that another user can decide what the PID file says or what its path names:
// it is a symbolic link, a hard link, a FIFO or the like, everybody can write it, others can write
// a directory on the way to it, or it belongs to another user. Nothing was locked, written or
// signalled.
var ErrUnsafePIDFile = errors.New("lifecycle: unsafe PID file")

// AlreadyRunningError names the daemon that holds the PID file. It wraps [ErrAlreadyRunning].
type AlreadyRunningError struct {
	PID     int // 0 if the holder is in another PID namespace or has not written its PID yet
	PIDFile string
	here    bool // it is another Run of this process
}

func (e *AlreadyRunningError) Error() string {
	switch {
	case e.PID == 0:
		return fmt.Sprintf("lifecycle: already running (pid not known here), PID file %s", e.PIDFile)
	case e.here:
		return fmt.Sprintf("lifecycle: already running in this process (pid %d): one Run at a time", e.PID)
	}
	return fmt.Sprintf("lifecycle: already running (pid %d), PID file %s", e.PID, e.PIDFile)
}

func (e *AlreadyRunningError) Unwrap() error { return ErrAlreadyRunning }

// PIDFile sets the file that holds the PID of the daemon, one line as the FHS wants it, and that is
// locked with flock(2) for as long as the daemon lives: the lock, not the number, is what keeps a
// second one out. A stale file is taken over in place. It should be on a local file system. A
// relative path is taken from the working directory of the start. "" means none: then nothing keeps
// a second one out, and the verbs stop, reload and status cannot find it. By default,
// DefaultPIDFile of the name.
func PIDFile(path string) Option {
	return option(func(c *config) {
		c.pidFile, c.pidFileSet = path, true
		c.processOnly("PIDFile", path != "")
	})
}

// PIDFileMode sets the permissions of the PID file, exactly, whatever the umask, unless the file is
// there already and belongs to another user. Anyone who can read the file of a daemon that crashed
// can lock it and so keep the next one from starting: use 0600 where other users are hostile.
// Others can never be given the right to write. The state file gets the same permissions. By
// default, 0644.
func PIDFileMode(mode fs.FileMode) Option {
	return option(func(c *config) {
		if mode&^fs.ModePerm != 0 || mode&0o600 != 0o600 || mode&0o022 != 0 {
			c.refuse("PIDFileMode(%#o): the owner must be able to read and write the file and nobody else to write it", mode)
		}
		c.pidFileMode = mode
		c.processOnly("PIDFileMode", true)
	})
}

// acquireLock locks the PID file for this process. Its error is an [*AlreadyRunningError] where
// another daemon holds it.
func (c *config) acquireLock() (*pidfile.Lock, error) {
	return c.lockPIDFile(pidfile.Acquire)
}

// acquireLockForChild is acquireLock for a launcher, whose child takes the lock over.
func (c *config) acquireLockForChild() (*pidfile.Lock, error) {
	return c.lockPIDFile(pidfile.AcquireForChild)
}

func (c *config) lockPIDFile(acquire func(string, fs.FileMode) (*pidfile.Lock, error)) (*pidfile.Lock, error) {
	if err := makeDefaultDir(c.pidFile, ".pid", DefaultPIDFile); err != nil {
		return nil, pidFileError(c.pidFile, err)
	}
	lock, err := acquire(c.pidFile, c.pidFileMode)
	var held *pidfile.HeldError
	switch {
	case errors.As(err, &held):
		return nil, &AlreadyRunningError{PID: held.PID, PIDFile: c.pidFile}
	case err != nil:
		return nil, pidFileError(c.pidFile, err)
	}
	return lock, nil
}

// inheritLock takes over the lock that the launcher has acquired.
func (c *config) inheritLock(f *os.File) (*pidfile.Lock, error) {
	lock, err := pidfile.Inherit(c.pidFile, f, c.pidFileMode)
	if err != nil {
		return nil, pidFileError(c.pidFile, err)
	}
	return lock, nil
}

// inspectPIDFile returns who holds the PID file at path.
func inspectPIDFile(path string) (pidfile.Holder, error) {
	h, err := pidfile.Inspect(path)
	if err != nil {
		return h, pidFileError(path, err)
	}
	return h, nil
}

// releaseStale removes what a daemon has left that was killed, or that may not remove it. It does
// nothing where another process has the file.
func (c *config) releaseStale() {
	pidfile.RemoveStale(c.pidFile, c.pidFileMode, patienceForDeath, c.removeStaleState)
}

// removeStaleState removes the state file of a daemon that has died.
func (c *config) removeStaleState() { _ = statefile.RemoveStale(statePath(c.pidFile)) }

// pidFileError returns err as an error about the PID file at path.
func pidFileError(path string, err error) error {
	cause := safefile.Cause(path, err)
	if errors.Is(err, safefile.ErrUnsafe) {
		return fmt.Errorf("%w %s: %w", ErrUnsafePIDFile, path, cause)
	}
	return fmt.Errorf("lifecycle: PID file %s: %w%s", path, cause, hint(path, err))
}

// hint returns what the file at path needs, "" where that is not known.
func hint(path string, err error) string {
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf(" (the directory %s must exist)", dir)
	case errors.Is(err, fs.ErrPermission):
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Sprintf(" (user %d must be able to write the directory %s)", os.Geteuid(), dir)
		}
		return fmt.Sprintf(" (as user %d)", os.Geteuid())
	}
	return ""
}
