package lifecycle

import (
	"context"
	"log"
	"log/slog"
	"os"

	"example.com/lifecycle/internal/journal"
	"example.com/lifecycle/internal/secureenv"
)

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
func (c *config) journalLogger() *slog.Logger {
	untouched := !c.ownLogger && slog.Default() == firstLogger && log.Writer() == os.Stderr && log.Prefix() == ""
	if !untouched || !stderrIsJournal() {
		return nil
	}
	return slog.New(journal.New(os.Stderr, firstLogger.Enabled))
}

// stderrIsJournal leaves JOURNAL_STREAM in the environment: what the program starts inherits the same stderr.
func stderrIsJournal() bool { return journal.IsStderr(secureenv.Get("JOURNAL_STREAM")) }
