package lifecycle

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// FuzzVerbs: whatever the arguments are, Main answers with a code that is documented, and with the usage to all that it does not know.
func FuzzVerbs(f *testing.F) {
	for _, v := range verbs() {
		f.Add(v.name)
		for _, flag := range v.flags {
			f.Add(v.name + "\x00" + flag.name)
		}
		f.Add(v.name + "\x00--json\x00extra")
	}
	f.Add("")
	f.Add("\x00")
	f.Add("status\x00--ready\x00--ready")
	f.Add("--oknodo\x00start")
	f.Add("Start\n\x1b[2J")
	pidfile := filepath.Join(f.TempDir(), "app.pid")
	f.Fuzz(func(t *testing.T, line string) {
		var args []string
		if line != "" {
			args = strings.Split(line, "\x00")
		}
		for _, opt := range []Option{Embedded(), PIDFile(pidfile)} {
			if len(args) > 0 && args[0] == "run" {
				opt = Embedded()
			}
			l, err := newLife(func(context.Context) error { return nil },
				[]Option{opt, OnStart(started), OnReload(started), Name("app"), Logger(slog.New(slog.DiscardHandler))})
			require.NoError(t, err)
			var stdout, stderr proctest.Lines
			code := program{life: l, stdout: &stdout, stderr: &stderr}.main(args)
			require.Contains(t, []int{0, 1, 2, 3, 4, 6, 7, 150}, code)

			at := slices.IndexFunc(verbs(), func(v verb) bool { return len(args) > 0 && v.name == args[0] })
			known := at >= 0 && !slices.ContainsFunc(args[1:], func(arg string) bool { return !verbs()[at].takes(arg) })
			require.Equal(t, known, code != 2, "%q: %s", args, stderr.String())
			require.Equal(t, known, !strings.Contains(stderr.String(), "usage: app [flags] VERB\n"))
			require.True(t, strings.HasPrefix(stdout.String()+stderr.String(), "app: ") || strings.HasPrefix(stdout.String(), "{") || stdout.String()+stderr.String() == "")
		}
	})
}
