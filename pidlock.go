package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"example.com/lifecycle/internal/safefile"
	"example.com/lifecycle/internal/statefile"
)

// ErrAlreadyRunning says that another daemon holds the PID file. The error that wraps it is an [*AlreadyRunningError].
var ErrAlreadyRunning = errors.New("lifecycle: already running")

// ErrUnsafePIDFile says that somebody else can decide what the PID file says or what its path names: it is a symbolic link,
// a hard link, a FIFO or the like, everybody can write it, others can write a directory on the way to it, or it belongs to another user.
// Nothing was locked, written or signalled.
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

// PIDFile sets the file that holds the PID of the daemon, one line as the FHS wants it, and that is locked with flock(2) for
// as long as the daemon lives: the lock, not the number, is what keeps a second one out. A stale file is taken over
// in place. It should be on a local file system. A relative path is taken from the working directory of the start. "" means
// none: then nothing keeps a second one out, and the verbs stop, reload and status cannot find it. By default, DefaultPIDFile of the name.
func PIDFile(path string) Option {
	return option(func(c *config) {
		c.pidFile, c.pidFileSet = path, true
		c.needsProcess("PIDFile", path != "")
	})
}

// PIDFileMode sets the permissions of the PID file, exactly, whatever the umask, unless the file is there already and belongs to another user. Anyone who can read the file of a daemon that
// crashed can lock it and so keep the next one from starting: use 0600 where other users are hostile. Others can never be given
// the right to write. The state file gets the same permissions. By default, 0644.
func PIDFileMode(mode fs.FileMode) Option {
	return option(func(c *config) {
		if mode&^fs.ModePerm != 0 || mode&0o600 != 0o600 || mode&0o022 != 0 {
			c.refuse("PIDFileMode(%#o): the owner must be able to read and write the file and nobody else to write it", mode)
		}
		c.pidFileMode = mode
		c.needsProcess("PIDFileMode", true)
	})
}

// pidLock is a PID file that this process holds. A nil pidLock is that of a life without PID file.
type pidLock struct {
	safefile.Owned
	log *slog.Logger

	mu       sync.Mutex // a second stop signal releases it from beside the life
	released bool
	lost     bool // the path was seen to name another file or none
}

func newPIDLock(path string, f *os.File, log *slog.Logger) *pidLock {
	return &pidLock{Owned: safefile.NewOwned(path, f), log: log}
}

// pass closes the copy of the lock in a launcher: from now on it is the daemon's alone.
func (p *pidLock) pass() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.released {
		p.released = true
		p.File.Close()
	}
}

// sign writes the PID: from now on the daemon can be found. The number comes in one write, so that nobody reads half of it.
func (p *pidLock) sign() error {
	if err := safefile.WriteOnce(p.File, []byte(strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return pidFileError(p.Path, err)
	}
	return nil
}

// moved says what the path is from now on, "" if it is out of sight.
func (p *pidLock) moved(path string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Path = path
}

// willStay says why the file cannot be removed at the end, nil if it can.
func (p *pidLock) willStay() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.CheckRemovable()
}

// loses says, once, that the path names another file, or that the program has closed the descriptor and with it given up the lock. It
// must not open the file: closing it again would drop the name. It does not log, for p.mu must not be held while a log hangs.
func (p *pidLock) loses() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released || p.lost {
		return false
	}
	p.lost = p.CheckOpen() != nil
	if same, err := safefile.Same(p.File, p.Path); err == nil && !same && p.Path != "" {
		p.lost = true
	}
	return p.lost
}

// release unlinks the PID file if it is still ours, and only then lets go of the lock: the other way round, the next start
// would lock a file that we are about to unlink. It may be called again.
func (p *pidLock) release() {
	switch stays, full := p.letGo(); {
	case stays != nil && full != nil:
		p.log.Warn("cannot remove the PID file, nor empty it", "err", errors.Join(stays, full))
	case stays != nil:
		p.log.Warn("cannot remove the PID file, emptied it", "err", stays)
	}
}

// clear is release for a launcher whose process has come to nothing: what that had no time to remove goes too. After
// pass it does nothing.
func (p *pidLock) clear() {
	if p == nil {
		return
	}
	if same, err := safefile.Same(p.File, p.Path); err == nil && same {
		_ = statefile.RemoveStale(statePath(p.Path))
	}
	p.release()
}

// letGo lets go of the file and of the lock; see [safefile.Owned.Remove].
func (p *pidLock) letGo() (stays, full error) {
	if p == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return nil, nil
	}
	p.released = true
	return p.Owned.Remove()
}

// holds says whether info is the PID file of this life.
func (p *pidLock) holds(info fs.FileInfo) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return false
	}
	ours, err := p.File.Stat()
	return err == nil && os.SameFile(ours, info)
}

// pidFileError says what is wrong with the PID file at path.
func pidFileError(path string, err error) error {
	cause := safefile.Cause(path, err)
	if errors.Is(err, safefile.ErrUnsafe) {
		return fmt.Errorf("%w %s: %w", ErrUnsafePIDFile, path, cause)
	}
	return fmt.Errorf("lifecycle: PID file %s: %w%s", path, cause, remedy(path, err))
}

// remedy says what the file at path needs, "" where that is not known.
func remedy(path string, err error) string {
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
