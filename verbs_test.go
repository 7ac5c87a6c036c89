package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/supervise"
)

func TestTheUsageFits80ColumnsAndDescribesEveryVerb(t *testing.T) {
	t.Parallel()
	usage := program{life: &life{plan: &plan{identity: identity{name: "app", version: "1"}}}}.table().Usage("app")
	for _, v := range verbs() {
		require.Contains(t, usage, fmt.Sprintf("\n  %-14s  %s\n", v.Name, v.Short))
		for _, f := range v.Flags {
			require.Contains(t, usage, fmt.Sprintf(" --%s ", f.Name))
			require.Contains(t, usage, "  "+f.Short+"\n")
		}
	}
	for line := range strings.Lines(usage) {
		require.LessOrEqual(t, len(line), 80)
		require.Regexp(t, `^(usage: .*|  .{14}  \S.*)\n$`, line)
	}
	require.Contains(t, usage, "\n  version         ")
}

func TestTheProgressLineFitsIntoItsColumns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		doing   string
		elapsed time.Duration
		columns int
		want    string
	}{
		{"OnStop of http", 2 * time.Second, 79, "waiting for echod (pid 12) to stop: OnStop of http, 2 s"},
		{"", 2 * time.Second, 79, "waiting for echod (pid 12) to stop: 2 s"},
		{"", 63 * time.Second, 79, "waiting for echod (pid 12) to stop: 1m3s"},
		{"OnStop of http", 2 * time.Second, 55, "waiting for echod (pid 12) to stop: OnStop of http, 2 s"},
		{"OnStop of http", 2 * time.Second, 54, "waiting for echod (pid 12) to stop: OnStop of htt, 2 s"},
		{"OnStop of http", 2 * time.Second, 41, "waiting for echod (pid 12) to stop: 2 s"},
		{"OnStop of http", 2 * time.Second, 20, "waiting for echod (p"},
		{"OnStop of http", 2 * time.Second, 0, ""},
		{"OnStop of 数据库", 2 * time.Second, 55, "waiting for echod (pid 12) to stop: OnStop of 数据, 2 s"},
		{"OnStop\nof \x1b[2J", 2 * time.Second, 79, "waiting for echod (pid 12) to stop: OnStop of \uFFFD[2J, 2 s"},
	} {
		got := progressText("echod", 12, "stop", tt.doing, tt.elapsed, tt.columns)
		require.Equal(t, tt.want, got)
	}
}

func TestAStackIsPrintedSanitized(t *testing.T) {
	t.Parallel()
	l, err := newLife(nil, []Option{Name("app"), quiet, Embedded()})
	require.NoError(t, err)
	var said proctest.Lines
	failed := encodeError(&HookError{"db", "OnStart", &PanicError{"boom", []byte("goroutine 1:\n\t/src/\x1b[2J.go:7\n")}})
	program{life: l, stderr: &said}.sayFailedStart(failed.err())
	require.Equal(t, "app: start failed: db: panic: boom\n  | goroutine 1:\n  | \t/src/\uFFFD[2J.go:7\n", said.String())
}

func TestMainRunsAnEmbeddedLife(t *testing.T) {
	stops := func(ctx context.Context) error { From(ctx).Stop(nil); return nil }
	require.Equal(t, 0, Main([]string{"run"}, stops, Embedded(), quiet))
	require.Equal(t, proctest.Result{Stderr: "app: boom\n", Code: 9}, embeddedMain(t, "run", func(ctx context.Context) error {
		err := From(ctx).Reload(ctx) // the life was ready
		return errors.Join(err, WithExitCode(errBoom, 9))
	}))
	require.Equal(t, proctest.Result{Stderr: "app: start failed: boom\n", Code: 1}, embeddedMain(t, "run", nil, OnStart(fails)))
}

func TestTheVerbsSayThatAnEmbeddedLifeHasNoPIDFile(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "app.pid")
	v := []Option{OnReload(started), PIDFile(pidFile)}
	const none = "cannot find the daemon without a PID file: unsupported operation\n"
	require.Equal(t, proctest.Result{Stderr: "app: stop: " + none, Code: 1}, embeddedMain(t, "stop", nil, v...))
	require.Equal(t, proctest.Result{Stderr: "app: reload: " + none, Code: 1}, embeddedMain(t, "reload", nil, v...))
	require.Equal(t, proctest.Result{Stdout: "app: unknown: " + none, Code: 4}, embeddedMain(t, "status", nil, v...))
	require.Equal(t, proctest.Result{Stderr: "app: nothing to check: this program has no OnCheck\n"}, embeddedMain(t, "check", nil, v...))
	require.Equal(t, proctest.Result{Stderr: "app: check passed\n"}, embeddedMain(t, "check", nil, OnCheck(started)))
	require.Equal(t, proctest.Result{Stderr: "app: check failed: boom\n", Code: 6}, embeddedMain(t, "check", nil, OnCheck(fails)))
}

// embeddedMain is Main with one verb, embedded.
func embeddedMain(t *testing.T, verb string, fn func(context.Context) error, opts ...Option) proctest.Result {
	t.Helper()
	l, err := newLife(fn, append(opts, Name("app"), quiet, Embedded()))
	require.NoError(t, err)
	var stdout, stderr proctest.Lines
	code := program{life: l, stdout: &stdout, stderr: &stderr}.main([]string{verb})
	return proctest.Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}
}

// FuzzVerbs checks that Main returns a documented code for any arguments, and prints the usage for
// unknown ones.
func FuzzVerbs(f *testing.F) {
	for _, v := range verbs() {
		f.Add(v.Name)
		for _, flag := range v.Flags {
			f.Add(v.Name + "\x00--" + flag.Name)
		}
		f.Add(v.Name + "\x00--json\x00extra")
	}
	f.Add("")
	f.Add("\x00")
	f.Add("status\x00--ready\x00--ready")
	f.Add("--oknodo\x00start")
	f.Add("Start\n\x1b[2J")
	f.Add("help\x00me")
	f.Add("start\x00--bogus\x00-h")
	f.Add("--version")
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

			verb, _, err := program{life: l}.table().Parse(args)
			both := verb == "status" && slices.Contains(args, "--quiet") && slices.Contains(args, "--json")
			known := err == nil && !both
			require.Equal(t, known, code != 2, "%q: %s", args, stderr.String())
			require.Equal(t, known, !strings.Contains(stderr.String(), "usage: app [flags] VERB\n"))
			if verb == "help" {
				require.Equal(t, 0, code)
				return
			}
			require.True(t, strings.HasPrefix(stdout.String()+stderr.String(), "app: ") || strings.HasPrefix(stdout.String(), "{") || stdout.String()+stderr.String() == "")
		}
	})
}

// FuzzFailure checks any failure and any reload that a worker reports. The failure must become an
// error with an exit code other than 0. A failed reload must become a verdict with a text.
func FuzzFailure(f *testing.F) {
	for _, text := range []string{
		`{"component":"db","hook":"OnStart","error":"connection refused","code":69}`,
		`{"error":"x","panicked":true,"stack":"goroutine 1","code":256}`,
		`{"error":"","code":-1,"timed_out":true,"stop_timed_out":true}`,
		`{"applied":["a","b"],"at":"2020-01-01T00:00:00Z","took_ns":-1,"error":"x"}`,
		`{"error":"panic: x","panicked":true,"is":["lifecycle: reload failed"],"applied":["a",""]}`,
		`{"hook":"OnStart","error":"lifecycle: "}`, `{"timed_out":true,"is":["lifecycle: the stop took too long","x"]}`,
		`{"code":"x"}`, `{"applied":null,"error":[]}`, `null`, `{`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := decodeError(json.RawMessage(text))
		require.Error(t, err)
		require.Greater(t, ExitCode(err), 0)
		require.LessOrEqual(t, ExitCode(err), 255)
		require.NotEmpty(t, program{life: &life{plan: &plan{}}}.text(err))
		requireSame(t, err, sent(t, err))
		v := verdictOf(&supervise.Reload{Verdict: json.RawMessage(text), Error: "x"})
		if v.Error != "" {
			require.Error(t, v.Err())
		}
		_, err = json.Marshal(v)
		require.NoError(t, err)
	})
}
