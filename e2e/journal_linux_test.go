package e2e

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// journaled is a program whose first argument selects its options about logs. It writes to the log
// in every way.
var journaled = proctest.Register("journaled", func(args []string) int {
	opts := []lifecycle.Option{lifecycle.PIDFile(""), lifecycle.LogFile("")}
	early := slog.Default()
	say := func(context.Context) error {
		early.Warn("taken before Run")
		slog.Debug("hidden")
		slog.Warn("two\nlines", "n", 1)
		log.Print("plain\nlog")
		return nil
	}
	switch args[0] {
	case "SetDefault":
		slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	case "StderrHandler":
		slog.SetDefault(slog.New(lifecycle.StderrHandler(nil)))
	case "SetOutput":
		log.SetOutput(os.Stdout)
	case "SetPrefix":
		log.SetPrefix("own: ")
	case "Logger":
		opts = append(opts, lifecycle.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	case "SetLogLoggerLevel":
		slog.SetLogLoggerLevel(slog.LevelDebug)
	case "detach":
		opts = append(opts, lifecycle.Detach(), lifecycle.LogFile(args[1]))
	}
	opts = append(opts, lifecycle.OnStart(say), lifecycle.OnStop(func(context.Context) error { panic("on purpose") }))
	return lifecycle.ExitCode(lifecycle.Run(func(ctx context.Context) error {
		for lifecycle.From(ctx).Phase() == lifecycle.Starting {
			time.Sleep(time.Millisecond)
		}
		return nil
	}, opts...))
})

// toJournal runs the program journaled with a file as stderr and an environment that declares the
// file to be the journal. It returns the content of the file.
func toJournal(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stderr")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	stat := info.Sys().(*syscall.Stat_t)
	stream := fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
	if slices.Contains(args, "elsewhere") {
		stream = fmt.Sprintf("%d:%d", stat.Dev, stat.Ino+1)
	}
	cmd := proctest.Command(journaled, args...)
	cmd.Env = append(cmd.Env, "JOURNAL_STREAM="+stream)
	cmd.Stderr = f
	proctest.Launch(t, cmd).Wait()
	return logText(t, path)
}

func TestTheRecordsOfALifeHavePrioritiesAndNoTimesInTheJournal(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"", "SetLogLoggerLevel"} {
		text := regexp.MustCompile(`pid=\d+ took=\S+`).ReplaceAllString(toJournal(t, how), "pid=N took=T")
		require.Contains(t, text, "\n<6>ready pid=N took=T\n")
		require.Regexp(t, `\n<3>panic in OnStop of journaled err="panic: on purpose" component=journaled hook=OnStop stack="\S+e2e\.\S+ \S+_test\.go:\d+( <|")`, text)
		require.Regexp(t, `(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d WARN two\nlines n=1$`, text, "the program's own loggers are unchanged")
		require.Regexp(t, `(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d plain\nlog$`, text)
	}
}

func TestStderrHandlerWritesPrioritiesWithoutTimesToTheJournal(t *testing.T) {
	t.Parallel()
	text := regexp.MustCompile(`pid=\d+ took=\S+`).ReplaceAllString(toJournal(t, "StderrHandler"), "pid=N took=T")
	require.Contains(t, text, "<4>two\n<4>lines n=1\n<")
	require.Regexp(t, `(?m)^<6>plain\n<6>log\n`, text)
	require.NotContains(t, text, "hidden")
	require.Contains(t, text, "\n<6>ready pid=N took=T\n", "the life logs to the same file")
	require.NotRegexp(t, `(?m)^time=`, text)
	require.Regexp(t, `(?m)^time=\S+ level=INFO msg=ready pid=`, toJournal(t, "StderrHandler", "elsewhere"))
}

func TestALoggerOfTheProgramIsNotReplaced(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"SetDefault", "SetOutput", "SetPrefix", "Logger"} {
		require.NotRegexp(t, `(?m)^<\d>`, toJournal(t, how), how)
	}
}

func TestStderrHandlerWritesTimesOutsideTheJournal(t *testing.T) {
	t.Parallel()
	require.Regexp(t, `(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d INFO ready pid=`, toJournal(t, "elsewhere"))
}

// The daemon inherits the variable of its launcher, but its stderr is a file.
func TestADetachedDaemonDoesNotUseTheJournalOfItsLauncher(t *testing.T) {
	t.Parallel()
	path := logPlace(t)
	toJournal(t, "detach", path)
	awaitLog(t, path, "panic in OnStop")
	require.Regexp(t, `(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d WARN two\nlines n=1$`, logText(t, path))
	require.NotRegexp(t, `(?m)^<\d>`, logText(t, path))
}
