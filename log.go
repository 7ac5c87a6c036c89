package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.com/lifecycle/internal/detach"
	"example.com/lifecycle/internal/journal"
	"example.com/lifecycle/internal/logfile"
	"example.com/lifecycle/internal/monotonic"
	"example.com/lifecycle/internal/safefile"
	"example.com/lifecycle/internal/secureenv"
)

// LogFile sets the file to which stdout and stderr of a detached process go: it is opened for appending, made with mode 0640 where it is
// missing, and neither a symbolic link at the end of the path is followed nor anything but a regular file taken. Root logs only
// below directories that nobody else can write, but for the last one, which may be that of User. USR1, the verb reopen, and every reload open
// it anew, for logrotate(8); where that fails, the old one stays. A relative path is taken from the directory of the start. "" means
// /dev/null. In the foreground nothing is redirected. By default, DefaultLogFile of the name.
func LogFile(path string) Option {
	return option(func(c *plan) {
		c.logFile, c.logFileSet = path, true
		c.processOnly("LogFile", path != "")
	})
}

// ErrorLogFile sets a file of its own for stderr; see [LogFile]. By default, stderr goes where stdout goes.
func ErrorLogFile(path string) Option {
	return option(func(c *plan) {
		c.errorLogFile = path
		c.processOnly("ErrorLogFile", path != "")
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

func (c *plan) completeLog() {
	c.logFile = c.logPath("LogFile", c.logFile)
	c.errorLogFile = c.logPath("ErrorLogFile", c.errorLogFile)
}

// logPaths are the log files of a process in the background. A "" stderr goes where stdout goes; a "" stdout is /dev/null.
type logPaths struct{ stdout, stderr string }

// logPaths returns the log files, with the default filled in. The default may ask the user database, which can mean to run
// a program, so a process that has no log does without.
func (p *plan) logPaths() logPaths {
	paths := logPaths{p.logFile, p.errorLogFile}
	if !p.logFileSet && !p.embedded {
		paths.stdout = DefaultLogFile(p.name)
	}
	return paths
}

// open opens the logs. New ones belong to owner, if there is one.
func (l logPaths) open(owner *credentials) (*logfile.Pair, error) {
	logs, err := logfile.OpenPair(l.stdout, l.stderr, owner.identity())
	var at *logfile.Error
	if errors.As(err, &at) {
		return nil, logFileError(at.Path, at.Err)
	}
	return logs, err
}

func (c *plan) logPath(option, path string) string {
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

// openLogs opens the logs of the life.
func (l *life) openLogs() (*logfile.Pair, error) {
	if len(l.outsideRoot) > 0 {
		return nil, logFileError(l.outsideRoot[0], fmt.Errorf("it is not inside of the root directory %s", l.plan.chroot))
	}
	return l.logs.open(l.credentials)
}

// checkPaths returns an error if a start would refuse a path, before anything is stopped for it.
func (p *plan) checkPaths(owner *credentials) error {
	if err := safefile.GuardWrite(p.pidFile); err != nil {
		return pidFileError(p.pidFile, err)
	}
	paths := p.logPaths()
	for _, path := range []string{paths.stdout, paths.stderr} {
		if path == "" {
			continue
		}
		if err := logfile.CheckPath(path, owner.identity()); err != nil {
			return logFileError(path, err)
		}
	}
	return nil
}

func logFileError(path string, err error) error {
	return fmt.Errorf("lifecycle: log file %s: %w%s", path, safefile.Cause(path, err), hint(path, err))
}

// reopen does what USR1 asks for.
func (l *life) reopen() {
	switch err := l.reopenLog(); {
	case err != nil: // it has said so
	case !l.mode.background:
		l.log.Info("nothing to reopen: the log of a program in the foreground is where its stderr is")
	case l.logs == logPaths{}:
		l.log.Info("nothing to reopen: there is no log file")
	default:
		l.log.Info("log reopened")
	}
}

// reopenLog opens the log files anew, so that what is written from now on goes to the files that the paths name now. Descriptors 1 and 2 are
// replaced, so panics, C code and the programs that we start follow.
func (l *life) reopenLog() error {
	began, begun := monotonic.Now(), time.Now()
	err := l.redirect()
	if l.plan.onReopen != nil {
		err = errors.Join(err, l.plan.onReopen())
	}
	verdict := newVerdict(began, time.Since(begun), err)
	l.update(func(s *Status) { s.LastReopen = verdict })
	if err != nil {
		l.log.Error("cannot reopen the log, the old one stays", "err", trimPrefix(err))
	}
	return err
}

// redirect does nothing in the foreground.
func (l *life) redirect() error {
	if !l.mode.background {
		return nil
	}
	opened, err := l.openLogs()
	if err != nil {
		return err
	}
	defer opened.Close()
	var errs []error
	if opened.Stdout != nil {
		errs = append(errs, detach.Redirect(opened.Stdout, 1))
	}
	if opened.Stderr != nil {
		errs = append(errs, detach.Redirect(opened.Stderr, 2))
	}
	return errors.Join(errs...)
}

// StderrHandler returns a [slog.Handler] for stderr, for programs that run under systemd and elsewhere. Where stderr is
// the journal, as JOURNAL_STREAM says (systemd.exec(5)), each line carries its priority and no timestamp
// (sd-daemon(3)). Elsewhere the handler is a [slog.TextHandler]. It writes records of at least that level; nil means
// [slog.LevelInfo].
//
//	slog.SetDefault(slog.New(lifecycle.StderrHandler(nil)))
func StderrHandler(level slog.Leveler) slog.Handler {
	if level == nil {
		level = slog.LevelInfo
	}
	if stderrIsJournal() {
		return journal.New(os.Stderr, func(_ context.Context, l slog.Level) bool { return l >= level.Level() })
	}
	return slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})
}

// firstLogger is the default logger of slog, unless a package that is initialised earlier has replaced it. It is package
// state because only the start of the process can tell; it never changes.
var firstLogger = slog.Default()

// journalLogger returns the logger of a life whose program leaves the logs alone and whose stderr is the journal. It
// returns nil for any other: the option Logger, [slog.SetDefault], log.SetOutput and log.SetPrefix have precedence.
// [slog.SetLogLoggerLevel] sets its level, as it does for the default logger.
func (c *plan) journalLogger() *slog.Logger {
	untouched := !c.ownLogger && slog.Default() == firstLogger && log.Writer() == os.Stderr && log.Prefix() == ""
	if !untouched || !stderrIsJournal() {
		return nil
	}
	return slog.New(journal.New(os.Stderr, firstLogger.Enabled))
}

// stderrIsJournal leaves JOURNAL_STREAM in the environment: what the program starts inherits the same stderr.
func stderrIsJournal() bool { return journal.IsStderr(secureenv.Get("JOURNAL_STREAM")) }
