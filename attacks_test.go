package lifecycle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// liar is a program that others have a word in: its errors have what a terminal would take for commands, and lines like our own. Its first
// argument is the PID file, its second where it lies.
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
	return Main(args[2:], fn, Name("liar"), PIDFile(args[0]), LogFile(""),
		OnStart(lie("OnStart")), OnCheck(lie("OnCheck")), OnReload(lie("OnReload")))
})

// requireOwnLines requires that each line is the program's own or marked as the words of another, and that none of them is a command.
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
func TestAPathIsNoCommand(t *testing.T) {
	t.Parallel()
	// U+009B begins a command in a terminal, and is refused as the other control characters are. The others are only not shown.
	for _, option := range []Option{PIDFile("/run/\u009b2J.pid"), LogFile("/var/log/\u009b2J.log"), Name("\u009b2J")} {
		_, err := newPlan(nil, []Option{option})
		require.ErrorContains(t, err, `\u009b2J`)
	}
	pidfile := filepath.Join(t.TempDir(), "a\u202e\u2066b\x9bc.pid")
	for verb, code := range map[string]int{"status": 3, "stop": 7, "reload": 7, "reopen": 7} {
		got := proctest.Call(t, liar, pidfile, "", verb)
		require.Equal(t, code, got.Code)
		requireOwnLines(t, got.Stdout+got.Stderr)
	}
	require.NoError(t, os.Mkdir(pidfile, 0o755))
	for _, verb := range []string{"status", "stop", "reload", "reopen", "start", "restart", "run"} {
		got := proctest.Call(t, liar, pidfile, "", verb)
		require.NotZero(t, got.Code)
		require.Contains(t, got.Stdout+got.Stderr, "it is a directory")
		requireOwnLines(t, got.Stdout+got.Stderr)
	}
}
