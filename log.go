package lifecycle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.com/lifecycle/internal/detach"
	"example.com/lifecycle/internal/monotonic"
	"example.com/lifecycle/internal/safefile"
)

// LogFile sets the file to which stdout and stderr of a detached process go: it is opened for appending, made with mode 0640 where it is
// missing, and neither a symbolic link at the end of the path is followed nor anything but a regular file taken. Root logs only
// below directories that nobody else can write, but for the last one, which may be that of User. USR1, the verb reopen, and every reload open
// it anew, for logrotate(8); where that fails, the old one stays. A relative path is taken from the directory of the start. "" means
// /dev/null. In the foreground nothing is redirected. By default, DefaultLogFile of the name.
func LogFile(path string) Option {
	return option(func(c *config) {
		c.logFile, c.logFileSet = path, true
		c.needsProcess("LogFile", path != "")
	})
}

// ErrorLogFile sets a file of its own for stderr; see [LogFile]. By default, stderr goes where stdout goes.
func ErrorLogFile(path string) Option {
	return option(func(c *config) {
		c.errorLogFile = path
		c.needsProcess("ErrorLogFile", path != "")
	})
}

// DefaultLogFile is /var/log/NAME.log for root, else it lies beside DefaultPIDFile.
func DefaultLogFile(name string) string {
	switch uid := os.Geteuid(); {
	case uid < 0:
		return ""
	case uid == 0:
		return filepath.Join("/var/log", name+".log")
	}
	return filepath.Join(filepath.Dir(DefaultPIDFile(name)), name+".log")
}

func (c *config) completeLog() {
	c.logFile = c.logPath("LogFile", c.logFile)
	c.errorLogFile = c.logPath("ErrorLogFile", c.errorLogFile)
}

// needLog fills the default in, for who starts a detached process or is one: others do without the question to the user database, which
// can mean a program to run.
func (c *config) needLog() {
	if !c.logFileSet && !c.embedded {
		c.logFile, c.logFileSet = DefaultLogFile(c.name), true
	}
}

func (c *config) logPath(option, path string) string {
	if path == "" || path == os.DevNull {
		return ""
	}
	abs, err := filepath.Abs(path)
	switch {
	case err != nil:
		c.refuse("%s(%q): %v", option, path, err)
	case hasControl(abs):
		c.refuse("%s(%q): %q is a path with a control character", option, path, abs)
	case strings.HasPrefix(abs, "/dev/std") || strings.HasPrefix(abs, "/dev/fd/") || strings.HasPrefix(abs, "/proc/self/fd/"):
		c.refuse("%s(%q): a detached process has no stdout but its log; use the verb run to see it on the terminal", option, path)
	}
	return abs
}

const logMode = 0o640

// openLog gives a file that it makes to that owner, unless it is nil.
func openLog(path string, owner *role) (f *os.File, created bool, err error) {
	if err = guardLogPath(path, owner); err == nil {
		as := ownerOfDirectory(path, owner)
		f, created, err = safefile.AppendAs(path, logMode, as)
		if as != nil && errors.Is(err, fs.ErrPermission) {
			err = notOfOwner(path, as.UID)
		}
	}
	if err != nil {
		return nil, false, logFileError(path, err)
	}
	if created {
		err = prepareLog(f, owner)
	} else {
		err = guardLog(f)
	}
	if err != nil {
		if created {
			err = errors.Join(err, safefile.Remove(f, path))
		}
		f.Close()
		return nil, false, logFileError(path, err)
	}
	return f, created, nil
}

func prepareLog(f *os.File, owner *role) error {
	if err := f.Chmod(logMode); err != nil { // whatever the umask
		return err
	}
	if owner == nil || os.Geteuid() != 0 {
		return nil
	}
	if err := f.Chown(owner.UID, owner.GID); err != nil {
		return fmt.Errorf("cannot give it to user %d: %w", owner.UID, safefile.Cause(f.Name(), err))
	}
	return nil
}

func logFileError(path string, err error) error {
	return fmt.Errorf("lifecycle: log file %s: %w%s", path, safefile.Cause(path, err), hint(path, err))
}

// logs are the open log files. A nil one is /dev/null.
type logs struct {
	stdout, stderr *os.File
	path           string // of stderr
	owner          *role  // to whom the files belong that are made
	begin          int64  // of what is written to it from now on
}

func (c *config) openLogs() (*logs, error) {
	if len(c.outOfSight) > 0 {
		return nil, logFileError(c.outOfSight[0], fmt.Errorf("it is not inside of the root directory %s", c.chroot))
	}
	l := &logs{path: c.logFile, owner: c.role}
	var created bool
	var err error
	if c.logFile != "" {
		if l.stdout, created, err = openLog(c.logFile, c.role); err != nil {
			return nil, err
		}
		l.stderr = l.stdout
	}
	if c.errorLogFile != "" {
		l.path = c.errorLogFile
		if l.stderr, _, err = openLog(c.errorLogFile, c.role); err != nil {
			if created {
				err = errors.Join(err, safefile.Remove(l.stdout, c.logFile))
			}
			l.close()
			return nil, err
		}
	}
	if l.stderr != nil {
		if info, err := l.stderr.Stat(); err == nil {
			l.begin = info.Size()
		}
	}
	return l, nil
}

func (l *logs) close() {
	for _, f := range []*os.File{l.stdout, l.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// since is what has been written to the log of stderr since it was opened, or the end of that.
func (l *logs) since() string {
	if l.stderr == nil {
		return ""
	}
	f, err := safefile.OpenAs(l.path, ownerOfDirectory(l.path, l.owner))
	if err != nil {
		return ""
	}
	defer f.Close()
	if opened, err := l.stderr.Stat(); err != nil || safefile.Still(f, opened) != nil {
		return "" // it is another file, of whoever can write the directory
	}
	const most = 64 << 10
	begin := l.begin
	if info, err := f.Stat(); err == nil {
		begin = max(begin, info.Size()-most)
	}
	text, _ := io.ReadAll(io.NewSectionReader(f, begin, most))
	return string(text)
}

// reopen does what USR1 asks for.
func (l *life) reopen() {
	switch err := l.reopenLog(); {
	case err != nil: // it has said so
	case !l.detached():
		l.log.Info("nothing to reopen: the log of a program in the foreground is where its stderr is")
	case l.logFile == "" && l.errorLogFile == "":
		l.log.Info("nothing to reopen: there is no log file")
	default:
		l.log.Info("log reopened")
	}
}

// reopenLog opens the log files anew, so that what is written from now on goes to the files that the paths name now. Descriptors 1 and 2 are
// replaced, so panics, C code and the programs that we start follow.
func (l *life) reopenLog() error {
	began, begun := monotonic.Now(), time.Now()
	err := errors.Join(l.redirect(), l.parent.reopenWorker())
	verdict := newVerdict(began, time.Since(begun), err)
	l.tell(func(s *Status) { s.LastReopen = verdict })
	if err != nil {
		l.log.Error("cannot reopen the log, the old one stays", "err", plain(err))
	}
	return err
}

// redirect does nothing in the foreground.
func (l *life) redirect() error {
	if !l.detached() {
		return nil
	}
	opened, err := l.openLogs()
	if err != nil {
		return err
	}
	defer opened.close()
	var errs []error
	if opened.stdout != nil {
		errs = append(errs, detach.Redirect(opened.stdout, 1))
	}
	if opened.stderr != nil {
		errs = append(errs, detach.Redirect(opened.stderr, 2))
	}
	return errors.Join(errs...)
}
