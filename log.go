package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.com/lifecycle/internal/logfile"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/detach"
	"example.com/lifecycle/internal/sys/journal"
	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/safefile"
	"example.com/lifecycle/internal/sys/secureenv"
	"example.com/lifecycle/internal/sys/startup"
	"example.com/lifecycle/internal/sys/statedir"
)

// LogFile sets the file for stdout and stderr of a detached process. Run opens the file for
// appending. If it is missing, Run creates it with the mode of [LogFileMode]. If the file system
// keeps no modes, Run logs a warning. The log must be a regular file: Run follows no symbolic link
// at the end of the path. If root starts the daemon, no other user may have write access to a
// directory of the path. There are two exceptions: the last directory may belong to [User], and the
// group of /var/log is trusted. USR1, the verb reopen and every reload open the file again, for
// logrotate(8). If that fails, the old file stays open. A relative path is relative to the working
// directory at the start. An empty path means /dev/null. In the foreground, Run redirects nothing.
// By default, the path is the result of DefaultLogFile for the name of the program.
func LogFile(path string) Option {
	return option(func(c *plan) {
		c.logFile, c.logFileSet = path, true
		c.processOnly("LogFile", path != "")
	})
}

// ErrorLogFile sets a separate file for stderr; see [LogFile]. By default, stderr goes to the same
// file as stdout.
func ErrorLogFile(path string) Option {
	return option(func(c *plan) {
		c.errorLogFile = path
		c.processOnly("ErrorLogFile", path != "")
	})
}

// LogFileMode sets the mode of a new log file. By default, it is 0640.
func LogFileMode(mode fs.FileMode) Option {
	return option(func(c *plan) {
		if mode&^fs.ModePerm != 0 || mode&0o600 != 0o600 || mode&0o002 != 0 {
			c.refuse("LogFileMode(%#o): the owner must be able to read and write the file, and other users must not be able to write it", mode)
		}
		c.logFileMode = mode
		c.processOnly("LogFileMode", true)
	})
}

// OnReopen sets a function that reopens the logs that the program itself has opened. The life calls
// f after it has reopened the log of [LogFile]: on USR1, and for the verb reopen. In a detached
// process, the life also does both before each reload. f never runs concurrently with a hook. Its
// context ends when ReloadTimeout expires or a stop is requested. The life logs an error of f, and
// the verb reopen reports it. By default, there is none.
func OnReopen(f func(ctx context.Context) error) Option {
	return option(func(c *plan) { c.onReopen = f })
}

// DefaultLogFile returns the default path of the log file for a program with that name:
// /var/log/NAME.log for root, and a file in the directory of [DefaultPIDFile] for other users. On
// Windows it returns "". It also returns "" if the user database does not answer. After that,
// LogFile("") no longer means /dev/null in this process: the life does not start, as with
// DefaultPIDFile.
func DefaultLogFile(name string) string {
	return orNoDefault(defaultLogFile(name))
}

func defaultLogFile(name string) (string, error) {
	switch uid := os.Geteuid(); {
	case uid < 0:
		return "", nil
	case uid == 0:
		return filepath.Join("/var/log", name+".log"), nil
	}
	dir, err := statedir.Of(name)
	if err != nil {
		return "", fmt.Errorf("lifecycle: default log file: %w: try again, or set LogFile", err)
	}
	return filepath.Join(dir, name+".log"), nil
}

func (p *plan) completeLog() {
	p.logFile, p.errorLogFile = p.logPath("LogFile", p.logFile), p.logPath("ErrorLogFile", p.errorLogFile)
}

// logPaths contains the log files of a process in the background. If stderr is "", stderr goes to
// the file of stdout. If stdout is "", stdout goes to /dev/null.
type logPaths struct {
	stdout, stderr string
	mode           fs.FileMode // of new files
}

// logPaths returns the log files with the default filled in. Only a process with a log calls it:
// the query for the default may read the user database, and that can execute a program.
func (p *plan) logPaths() (paths logPaths, err error) {
	paths = logPaths{p.logFile, p.errorLogFile, p.logFileMode}
	switch {
	case p.embedded:
	case p.logFileSet:
		err = whyNoDefault(p.logFile)
	default:
		paths.stdout, err = defaultLogFile(p.name)
	}
	return paths, err
}

// defaultLog returns the default log, or "" if it is unknown.
func (p *plan) defaultLog() string {
	path, _ := defaultLogFile(p.name)
	return path
}

// findPaths sets the logs of a life in the background. It returns an error if a default path is
// unknown.
func (l *life) findPaths() (err error) {
	if l.mode.background {
		l.logs, err = l.plan.logPaths()
		l.status.LogFile = cmp.Or(l.logs.stderr, l.logs.stdout)
	}
	return cmp.Or(l.plan.noPIDFile, err)
}

// open opens the logs. New files belong to owner, unless it is nil.
func (l logPaths) open(owner *credentials) (*logfile.Pair, error) {
	logs, err := logfile.OpenPair(l.stdout, l.stderr, l.mode, owner.identity())
	var at *logfile.Error
	if errors.As(err, &at) {
		return nil, logFileError(at.Path, at.Err)
	}
	return logs, err
}

func (p *plan) logPath(option, path string) string {
	if path == "" || path == os.DevNull {
		return ""
	}
	abs, err := startup.Abs(path)
	switch {
	case abs == os.DevNull:
		return ""
	case err != nil:
		p.refuse("%s(%q): %v", option, path, err)
	case strings.Contains(abs, "\x00"):
		p.refuse("%s(%q): a path cannot contain a NUL byte", option, path)
	case strings.HasPrefix(abs, "/dev/std") || strings.HasPrefix(abs, "/dev/fd/") || strings.HasPrefix(abs, "/proc/self/fd/"):
		p.refuse("%s(%q): a detached process has no stdout except its log; run it in the foreground to see the output on the terminal", option, path)
	}
	return abs
}

// openLogs opens the logs of the life.
func (l *life) openLogs() (*logfile.Pair, error) {
	if len(l.outsideRoot) > 0 {
		return nil, logFileError(l.outsideRoot[0], fmt.Errorf("it is outside the root directory %s", l.plan.chroot))
	}
	return l.logs.open(l.credentials)
}

// checkPaths returns an error if a start would reject a path. With it, restart fails before it
// stops the daemon.
func (p *plan) checkPaths(owner *credentials) error {
	if err := safefile.GuardWrite(p.pidFile); err != nil {
		return pidFileError(p.pidFile, err)
	}
	paths, err := p.logPaths()
	if err != nil {
		return err
	}
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

// warnOfModes logs why new log files do not have the mode wanted.
func warnOfModes(log *slog.Logger, logs *logfile.Pair, wanted fs.FileMode) {
	for _, err := range logs.ModeErrs {
		log.Warn("cannot set the mode of the log, so other users may read it", "log", err.Path,
			"mode", err.Mode, "wanted", wanted, "err", safefile.Cause(err.Path, err.Err))
	}
}

func logFileError(path string, err error) error {
	return fmt.Errorf("lifecycle: log file %s: %w%s", bytetext.Escape(path), safefile.Cause(path, err), hint(path, err))
}

// reopen handles USR1.
func (l *life) reopen() {
	switch err := l.reopenLog(); {
	case err != nil: // reopenLog has logged it
	case l.mode.kind == modeWorker: // the supervisor logs it
	case l.plan.onReopen != nil:
		l.log.Info("log reopened")
	case !l.mode.background:
		l.log.Info("nothing to reopen: a program in the foreground logs to its stderr")
	case l.snapshot().LogFile == "":
		l.log.Info("nothing to reopen: there is no log file")
	default:
		l.log.Info("log reopened")
	}
}

// reopenLog opens the log files again, so output goes to the files that the paths name now. It
// replaces descriptors 1 and 2, because panics, C code and child processes write to these.
func (l *life) reopenLog() error {
	began, begun := monotonic.Now(), time.Now()
	err := l.redirect()
	i := l.interruptible(context.DeadlineExceeded)
	defer i.cancel()
	hookErr := i.do(l.plan.name, "OnReopen", l.plan.onReopen)
	verdict := newVerdict(began, time.Since(begun), cmp.Or(err, hookErr))
	l.update(func(s *Status) { s.LastReopen = verdict })
	if err != nil && l.mode.kind != modeWorker { // the supervisor logs it
		l.log.Error("cannot reopen the log, so the daemon keeps writing to the old one", "err", trimPrefix(err))
	}
	if hookErr != nil {
		l.log.Error("cannot reopen the logs of the program", "err", trimPrefix(hookErr))
	}
	return cmp.Or(err, hookErr)
}

// redirect opens the log files and replaces descriptors 1 and 2. It does nothing in the foreground.
func (l *life) redirect() error {
	if !l.mode.background {
		return nil
	}
	opened, err := l.openLogs()
	if err != nil {
		return err
	}
	defer opened.Close()
	warnOfModes(l.log, opened, l.plan.logFileMode)
	var errs []error
	if opened.Stdout != nil {
		errs = append(errs, detach.Redirect(opened.Stdout, 1))
	}
	if opened.Stderr != nil {
		errs = append(errs, detach.Redirect(opened.Stderr, 2))
	}
	return errors.Join(errs...)
}

// StderrHandler returns a [slog.Handler] for stderr, for programs that run under systemd and
// elsewhere. If stderr is the journal, as JOURNAL_STREAM indicates (systemd.exec(5)), each line
// carries its priority and no timestamp (sd-daemon(3)). Elsewhere the handler is a
// [slog.TextHandler]. The handler writes the records of this level and of higher levels. A nil
// level means [slog.LevelInfo].
//
//	slog.SetDefault(slog.New(lifecycle.StderrHandler(nil)))
func StderrHandler(level slog.Leveler) slog.Handler {
	if level == nil {
		level = slog.LevelInfo
	}
	if os.Stderr == startup.Stderr && stderrIsJournal() {
		return journal.New(os.Stderr, func(_ context.Context, l slog.Level) bool { return l >= level.Level() })
	}
	return slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})
}

// firstLogger is the default logger of slog, unless a package that is initialised earlier has
// replaced it. It is package state because slog does not report later whether its default logger
// was replaced.
var firstLogger = slog.Default()

// journalLogger returns a logger for the journal if stderr is the journal and the program has not
// configured logging. Otherwise it returns nil. The option Logger, [slog.SetDefault], log.SetOutput
// and log.SetPrefix configure logging. [slog.SetLogLoggerLevel] sets the level of the returned
// logger.
func (p *plan) journalLogger() *slog.Logger {
	untouched := !p.ownLogger && slog.Default() == firstLogger && log.Writer() == startup.Stderr && log.Prefix() == ""
	if !untouched || !stderrIsJournal() {
		return nil
	}
	return slog.New(journal.New(startup.Stderr, firstLogger.Enabled))
}

// stderrIsJournal reports whether stderr is the journal. JOURNAL_STREAM stays in the environment,
// because child processes inherit the same stderr.
func stderrIsJournal() bool { return journal.IsStderr(secureenv.Get("JOURNAL_STREAM")) }
