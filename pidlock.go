package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/safefile"
	"example.com/lifecycle/internal/sys/statedir"
)

// ErrAlreadyRunning reports that another daemon holds the PID file. The error that wraps it is an
// [*AlreadyRunningError].
var ErrAlreadyRunning = errors.New("lifecycle: already running")

// ErrUnsafePIDFile reports that another user can change or replace the PID file, or that the file
// contains data other than a PID. A file is unsafe if it is a symbolic link, a hard link, a FIFO or
// another special file. A file is also unsafe if it belongs to another user, if all users can write
// to it, or if other users can write to its directory. Nothing was locked, written or signalled.
var ErrUnsafePIDFile = errors.New("lifecycle: unsafe PID file")

// AlreadyRunningError names the daemon that holds the PID file. It wraps [ErrAlreadyRunning].
type AlreadyRunningError struct {
	PID     int // 0 if the holder is in another PID namespace or has not written its PID yet
	PIDFile string
	here    bool // set if another Run of this process holds the file
	lost    bool // set if the daemon has lost its PID file
}

func (e *AlreadyRunningError) Error() string {
	switch {
	case e.PID == 0:
		return fmt.Sprintf("lifecycle: already running (pid unknown), PID file %s", bytetext.Escape(e.PIDFile))
	case e.here:
		return fmt.Sprintf("lifecycle: already running in this process (pid %d): one Run at a time", e.PID)
	case e.lost:
		return fmt.Sprintf("lifecycle: already running (pid %d), but its PID file %s was deleted or replaced: end that process first", e.PID, bytetext.Escape(e.PIDFile))
	}
	return fmt.Sprintf("lifecycle: already running (pid %d), PID file %s", e.PID, bytetext.Escape(e.PIDFile))
}

func (e *AlreadyRunningError) Unwrap() error { return ErrAlreadyRunning }

// PIDFile sets the path of the PID file. The file contains the PID of the daemon in one line, as
// the FHS specifies. The daemon holds a flock(2) lock on the file as long as it lives. The lock,
// not the number, prevents a second daemon. A start reuses a stale file and does not replace it.
// The file should be on a local file system. A relative path is relative to the working directory
// at the start. An empty path disables the PID file: then nothing prevents a second daemon, and the
// verbs stop, reload and status cannot find the daemon. By default, the path is the result of
// DefaultPIDFile for the name of the program.
func PIDFile(path string) Option {
	return option(func(c *plan) {
		c.pidFile, c.pidFileSet = path, true
		c.processOnly("PIDFile", path != "")
	})
}

// PIDFileMode sets the exact permissions of the PID file, independent of the umask. A file that
// exists and belongs to another user keeps its permissions. Any user who can read the file of a
// crashed daemon can lock it, and the next start then fails. Use 0600 where other users are
// hostile. The mode cannot let other users write. The state file gets the same permissions. On a
// file system that keeps no modes, the start fails if the file would permit more. By default, the
// mode is 0644.
func PIDFileMode(mode fs.FileMode) Option {
	return option(func(c *plan) {
		if mode&^fs.ModePerm != 0 || mode&0o600 != 0o600 || mode&0o022 != 0 {
			c.refuse("PIDFileMode(%#o): must let the owner read and write the file, and no other user write it", mode)
		}
		c.pidFileMode = mode
		c.processOnly("PIDFileMode", true)
	})
}

// acquireLock locks the PID file for this process. It returns an [*AlreadyRunningError] if another
// daemon holds the file.
func (p *plan) acquireLock() (*pidfile.Lock, error) {
	return p.lockPIDFile(pidfile.Acquire)
}

// acquireLockForChild is acquireLock for a launcher, whose child inherits the lock.
func (p *plan) acquireLockForChild() (*pidfile.Lock, error) {
	return p.lockPIDFile(pidfile.AcquireForChild)
}

func (p *plan) lockPIDFile(acquire func(string, fs.FileMode) (*pidfile.Lock, error)) (*pidfile.Lock, error) {
	if err := makeDefaultDir(p.pidFile, ".pid"); err != nil {
		return nil, pidFileError(p.pidFile, err)
	}
	if err := p.refuseBesideLost(); err != nil {
		return nil, err
	}
	lock, err := acquire(p.pidFile, p.pidFileMode)
	var held *pidfile.HeldError
	switch {
	case errors.As(err, &held):
		return nil, &AlreadyRunningError{PID: held.PID, PIDFile: p.pidFile}
	case err != nil:
		return nil, pidFileError(p.pidFile, err)
	}
	return lock, nil
}

// inheritLock takes over the lock that the launcher acquired.
func (p *plan) inheritLock(f *os.File) (*pidfile.Lock, error) {
	lock, err := pidfile.Inherit(p.pidFile, f, p.pidFileMode)
	if err != nil {
		return nil, pidFileError(p.pidFile, err)
	}
	return lock, nil
}

// inspectPIDFile returns the holder of the PID file at path.
func inspectPIDFile(path string) (pidfile.Holder, error) {
	h, err := pidfile.Inspect(path)
	if err != nil {
		return h, pidFileError(path, err)
	}
	return h, nil
}

// releaseStale removes the files of a daemon that was killed, or that lacks the permission to
// remove them. It does nothing if another process holds the PID file.
func (p *plan) releaseStale() {
	pidfile.RemoveStale(p.pidFile, p.pidFileMode, patienceForDeath, p.removeStaleState)
}

// pidFileError returns err as an error about the PID file at path.
func pidFileError(path string, err error) error {
	cause := safefile.Cause(path, err)
	if errors.Is(err, safefile.ErrUnsafe) {
		remedy := ""
		if advice := safefile.Advice(path, err); advice != "" {
			remedy = fmt.Sprintf(" (%s, or set the option PIDFile to another path)", advice)
		}
		return fmt.Errorf("%w %s: %w%s", ErrUnsafePIDFile, bytetext.Escape(path), cause, remedy)
	}
	return fmt.Errorf("lifecycle: PID file %s: %w%s", bytetext.Escape(path), cause, hint(path, err))
}

// hint returns advice for the user about an error of the file at path, or "" if there is none.
func hint(path string, err error) string {
	advice := safefile.Advice(path, err)
	if failed := new(fs.PathError); errors.As(err, &failed) && failed.Op == "mkdir" {
		// makeDefaultDir makes directories only for a default file: HOME/.local/state/NAME.
		if home := filepath.Join(filepath.Dir(path), "../../.."); failed.Path == home || isBelow(home, failed.Path) {
			advice = fmt.Sprintf("user %d has no home directory", os.Geteuid())
		}
		advice += "; set the options PIDFile and LogFile to other places"
	}
	if advice == "" || errors.Is(err, safefile.ErrUnsafe) {
		return ""
	}
	return " (" + strings.TrimPrefix(advice, "; ") + ")"
}

func isBelow(path, dir string) bool { return strings.HasPrefix(path, filepath.Clean(dir)+"/") }

// DefaultPIDFile returns the default path of the PID file for a program with that name:
//
//   - root: /run/NAME.pid on Linux, /var/run/NAME.pid elsewhere
//   - other users: ~/.local/state/NAME/NAME.pid
//   - users who are not in the password database: /tmp/NAME-UID/NAME.pid
//   - Windows: ""
//
// The home directory comes from the password database and not from the environment, so cron, su and
// a second login find the same file. If the database does not answer within 2 s, for example
// because a directory service is down, DefaultPIDFile returns "". After that, PIDFile("") no longer
// disables the PID file in this process: Run, Ensure and the verbs return the reason why the
// default path is unknown.
func DefaultPIDFile(name string) string {
	return orNoDefault(defaultPIDFile(name))
}

// orNoDefault returns a default path, or "" if it is unknown, and records why in noDefault.
func orNoDefault(path string, err error) string {
	if err != nil {
		noDefault.Store(&err)
	}
	return path
}

// noDefault is the reason why DefaultPIDFile or DefaultLogFile returned "". It is package state
// because these functions return no error, and the program may pass the "" to an option. There, ""
// would disable the file.
var noDefault atomic.Pointer[error]

// whyNoDefault returns an error if path, the value of an option, is "" and a default path could not
// be found.
func whyNoDefault(path string) error {
	if why := noDefault.Load(); path == "" && why != nil {
		return *why
	}
	return nil
}

func defaultPIDFile(name string) (string, error) {
	uid := os.Geteuid()
	switch {
	case uid < 0:
		return "", nil
	case uid == 0 && runtime.GOOS == "linux":
		return filepath.Join("/run", name+".pid"), nil
	case uid == 0:
		return filepath.Join("/var/run", name+".pid"), nil
	}
	dir, err := statedir.Of(name)
	if err != nil {
		return "", fmt.Errorf("lifecycle: default PID file: %w: try again, or set PIDFile", err)
	}
	return filepath.Join(dir, name+".pid"), nil
}

// makeDefaultDir makes the directory of a default file. For a user other than root, it might not
// exist yet. makeDefaultDir makes no other directory.
func makeDefaultDir(path, suffix string) error {
	return statedir.Make(filepath.Dir(path), strings.TrimSuffix(filepath.Base(path), suffix))
}

// enterPIDFile acquires the lock and writes the state and the PID. It writes the state first,
// because a process that reads the PID then reads the state.
func (l *life) enterPIDFile() error {
	if l.handoff != nil {
		return l.adoptFiles()
	}
	var lock *pidfile.Lock
	var err error
	if l.launcher != nil {
		lock, err = l.plan.inheritLock(l.launcher.Lock)
	} else {
		lock, err = l.plan.acquireLock()
	}
	if err != nil {
		return err
	}
	logUnmarked(l.log, lock)
	statedir.Hold(filepath.Dir(l.plan.pidFile))
	state, err := l.createState()
	if err != nil {
		l.log.Warn("cannot create the state file, so status and reload report less", "err", trimPrefix(err))
	}
	l.mu.Lock() // quit may read both already
	l.lock, l.state = lock, state
	l.mu.Unlock()
	l.publish()
	if err := lock.WritePID(); err != nil {
		return pidFileError(l.plan.pidFile, err)
	}
	return nil
}

// logUnmarked logs that the lock has no marks. Other processes then learn less about its holder.
func logUnmarked(log *slog.Logger, lock *pidfile.Lock) {
	if err := lock.MarkErr(); err != nil {
		log.Debug("cannot mark the lock of the PID file, so other processes learn less about the daemon", "err", err)
	}
}

// leave removes the files of the life. It removes the PID file last, so no other start binds the
// sockets before. The state file of a failed life stays. leave is idempotent.
func (l *life) leave() {
	defer statedir.Release()
	fdstore.RemoveFiles()
	if s := l.snapshot(); s.Failed != nil || s.Left != "" || s.carried {
		l.publish() // shows that no hook runs any more
		l.state.Keep()
	}
	l.removeState()
	removeErr, emptyErr := l.lock.Release()
	warnLeftover(l.log, "PID file", removeErr, emptyErr)
}

// removeState removes the state file. It is idempotent.
func (l *life) removeState() {
	removeErr, emptyErr := l.state.Remove()
	warnLeftover(l.log, "state file", removeErr, emptyErr)
}

// checkPIDFile logs once that the PID file was deleted or replaced, or that its descriptor was
// closed.
func (l *life) checkPIDFile() {
	if l.lock.DetectLost() {
		l.update(func(s *Status) { s.PIDFileLost = true })
		l.log.Warn("the PID file was deleted or replaced, so no verb finds this daemon: end it by its PID", "pidfile", l.plan.pidFile)
	}
}

// patienceForDeath is how long a process that has released the file may take to die.
const patienceForDeath = 100 * time.Millisecond
