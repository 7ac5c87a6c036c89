package lifecycle

import (
	"log"
	"log/slog"
	"os"

	"example.com/lifecycle/internal/journal"
)

// firstLogger is what slog starts with, unless a package that is initialised earlier has replaced it. It is never changed.
var firstLogger = slog.Default()

// findJournal makes the default logger one for the journal of systemd, where stderr goes there: it adds the time, and knows levels from the priority
// before a line. Others of the program who log to it, and those who use package log, do so as well.
//
// A program that has had its say about logs keeps what it has: by the option Logger, [slog.SetDefault], log.SetOutput or log.SetPrefix. JOURNAL_STREAM stays in the
// environment, for what the program starts inherits the same stderr.
func (l *life) findJournal() {
	if l.ownLogger || slog.Default() != firstLogger || log.Writer() != os.Stderr || log.Prefix() != "" {
		return
	}
	if !journal.IsStderr(os.Getenv("JOURNAL_STREAM")) {
		return
	}
	l.log = slog.New(journal.New(os.Stderr, firstLogger.Enabled)) // so slog.SetLogLoggerLevel sets its level as before
	slog.SetDefault(l.log)
}
