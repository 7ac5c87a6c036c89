package lifecycle

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/supervise"
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

// FuzzFailure: whatever a worker says of its failure and of its reload, the first is an error with an exit code that is
// no success, and the second is a verdict with a text if it says that it failed.
func FuzzFailure(f *testing.F) {
	for _, text := range []string{
		`{"component":"db","hook":"OnStart","error":"connection refused","code":69}`,
		`{"error":"x","panicked":true,"stack":"goroutine 1","code":256}`,
		`{"error":"","code":-1,"timed_out":true,"stop_timed_out":true}`,
		`{"applied":["a","b"],"at":"2020-01-01T00:00:00Z","took_ns":-1,"error":"x"}`,
		`{"code":"x"}`, `{"applied":null,"error":[]}`, `null`, `{`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := decodeFailure(json.RawMessage(text))
		require.Error(t, err)
		require.Greater(t, ExitCode(err), 0)
		require.LessOrEqual(t, ExitCode(err), 255)
		require.NotEmpty(t, program{life: &life{plan: &plan{}}}.text(err))
		v := verdictOf(&supervise.Reload{Verdict: json.RawMessage(text), Error: "x"})
		if v.Error != "" {
			require.Error(t, v.Err())
		}
		_, err = json.Marshal(v)
		require.NoError(t, err)
	})
}
