package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// liar is a program whose errors contain hostile text. The text has sequences that a terminal would
// execute, and lines that imitate our lines. The arguments are the PID file and the place of that
// text: a hook, fn or panic.
var liar = proctest.Register("liar", func(args []string) int {
	lie := func(at string) func(context.Context) error {
		return func(context.Context) error {
			if at == args[1] {
				return errors.New(nasty + "\ndaemon: ready (pid 1, 1 ms)\n  | more\n")
			}
			return nil
		}
	}
	fn := lie("fn")
	if args[1] == "panic" {
		fn = func(context.Context) error { panic(nasty) }
	}
	return lifecycle.Main(args[2:], fn, lifecycle.Name("liar"), lifecycle.PIDFile(args[0]), lifecycle.LogFile(""),
		lifecycle.OnStart(lie("OnStart")), lifecycle.OnCheck(lie("OnCheck")), lifecycle.OnReload(lie("OnReload")))
})

// requireOwnLines requires that each line is the program's own or is marked as quoted, and that no
// line contains a terminal command.
func requireOwnLines(t *testing.T, got string) {
	t.Helper()
	require.NotEmpty(t, got)
	for line := range strings.Lines(got) {
		line, whole := strings.CutSuffix(line, "\n")
		require.True(t, whole, "%q", got)
		require.True(t, strings.HasPrefix(line, "liar: ") || strings.HasPrefix(line, "  | ") || strings.HasPrefix(line, "  "), "%q", line)
		require.NotContains(t, line, "liar: ready")
		for _, r := range line {
			require.True(t, unicode.IsPrint(r) || r == '\t' || r == unicode.ReplacementChar, "%q has %q", line, r)
		}
	}
}

// Row L12.
func TestTextOfAHookCannotImitateALineOrControlTheTerminal(t *testing.T) {
	t.Parallel()
	for at, verbs := range map[string][]string{
		"OnStart": {"start", "run", "restart"},
		"OnCheck": {"check", "restart"},
		"panic":   {"start"},
	} {
		for _, verb := range verbs {
			pidfile := verbPlace(t)
			got := proctest.Call(t, liar, pidfile, at, verb)
			require.NotZero(t, got.Code, "%s in %s", verb, at)
			if verb != "run" { // in the foreground, the log is on stderr too
				requireOwnLines(t, got.Stderr)
			}
			requireVerbLeftNothing(t, pidfile)
		}
	}
}

// Row L12.
func TestAnUnknownVerbIsSanitizedInTheMessage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{strings.ReplaceAll(nasty, "\x00", "")}, {"stop", "a\ndaemon: stopped"}, {"stop", "-\x1b[2J"}} {
		got := proctest.Call(t, liar, append([]string{proctest.PIDPath(t), ""}, args...)...)
		require.Equal(t, 2, got.Code)
		first, _, _ := strings.Cut(got.Stderr, "usage: ")
		requireOwnLines(t, first)
	}
}

// nasty contains terminal commands: clear the screen, hide text, ring the bell, begin a new line,
// write backwards.
const nasty = "\x1b[2J\x1b]0;title\x07\b\x7f\x00\u009b31m\u202e\u2066\u200b\u00ad\ufeff\r\n\v\f\u0085\u2028\u2029daemon: a lie\xff\x9b"

// Row L12.
func TestAPathIsSanitizedInAMessage(t *testing.T) {
	t.Parallel()
	// U+009B begins a terminal command. The option Name refuses it, because the name begins each
	// message. A path with it is escaped when it is displayed.
	require.ErrorContains(t, lifecycle.Run(nil, lifecycle.PIDFile(""), lifecycle.Name("\u009b2J")), `\u009b2J`)
	pidfile := filepath.Join(t.TempDir(), "a\u202e\u2066b\x9bc\u009b2J\n\x1b.pid")
	for verb, code := range map[string]int{"status": 3, "stop": 7, "reload": 7, "reopen": 7} {
		got := proctest.Call(t, liar, pidfile, "", verb)
		require.Equal(t, code, got.Code)
		require.Contains(t, got.Stdout+got.Stderr, `a\xe2\x80\xae\xe2\x81\xa6b\x9bc\xc2\x9b2J\x0a\x1b.pid)`+"\n")
		requireOwnLines(t, got.Stdout+got.Stderr)
	}
	require.NoError(t, os.Mkdir(pidfile, 0o755))
	for _, verb := range []string{"status", "stop", "reload", "reopen", "start", "restart", "run"} {
		got := proctest.Call(t, liar, pidfile, "", verb)
		require.NotZero(t, got.Code)
		require.Contains(t, got.Stdout+got.Stderr, "it is a directory")
		requireOwnLines(t, regexp.MustCompile(`^[\d/]+ [\d:]+ ERROR start failed `).ReplaceAllString(got.Stdout+got.Stderr, "liar: "))
	}
}
