package lifecycle

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sdnotify"
	"example.com/lifecycle/internal/worker"
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

// FuzzWorker: whatever a worker says, its parent takes it for ready only if it has said so, and can still tell what it does.
func FuzzWorker(f *testing.F) {
	for _, said := range []string{
		"READY=1\nSTATUS=serves",
		"STATUS=warms up\x00RELOADING=1\nMONOTONIC_USEC=1\x00READY=1\nX_LIFECYCLE_ERROR=no",
		"X_LIFECYCLE_STATE={\"phase\":\"ready\",\"doing\":\"x\",\"last_reload\":{}}\x00X_LIFECYCLE_STATE=null\x00X_LIFECYCLE_STATE=[",
		"X_LIFECYCLE_FAILURE={\"error\":\"x\",\"panicked\":true}\x00X_LIFECYCLE_FAILURE=null\nREADY=1",
		"EXTEND_TIMEOUT_USEC=1\nEXTEND_TIMEOUT_USEC=99999999999999999999\nSTOPPING=1\x00READY=1",
		"FDSTORE=1\nFDNAME=a:b\x00FDSTOREREMOVE=1\nFDNAME=\x00WATCHDOG=1",
		"=\n\n\x00\x00READY",
		"X_LIFECYCLE_STATE={\"phase\":\"ready\",\"x\":" + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}\x00STATUS=" + strings.Repeat("x", 60_000),
		"STOPPING=1\x00EXTEND_TIMEOUT_USEC=3600000000\x00EXTEND_TIMEOUT_USEC=3600000000",
	} {
		f.Add(said)
	}
	f.Fuzz(func(t *testing.T, said string) {
		l, err := newLife(nil, []Option{Embedded()})
		require.NoError(t, err)
		s := &supervisor{life: l, of: l.config}
		w := &workerProcess{Process: &worker.Process{PID: math.MaxInt32}, of: s, ready: make(chan struct{}), gone: make(chan struct{}), limit: time.NewTimer(time.Hour)}
		defer w.limit.Stop()
		s.worker.Store(w)
		saysReady := false
		said = strings.ReplaceAll(said, "WATCHDOG=trigger", "") // it has no process that could be signalled
		for text := range strings.SplitSeq(said, "\x00") {
			m := sdnotify.Message{PID: w.PID, Text: text}
			_, is := m.Value("READY")
			saysReady = saysReady || is
			if tell := s.hear(m); tell != nil {
				tell()
			}
			require.Nil(t, s.hear(sdnotify.Message{PID: 1, Text: "READY=1"}), "of a stranger")
		}
		require.True(t, saysReady || !w.isReady())
		_, err = l.status().encode()
		require.NoError(t, err)
	})
}

// FuzzModest: what is parsed of a worker is as short and as flat as it should be, whatever is in its strings.
func FuzzModest(f *testing.F) {
	for _, text := range []string{"null", `{"a":["\"[[[["]}`, `"\\"`, strings.Repeat("[", 17) + strings.Repeat("]", 17), `{"a":"` + strings.Repeat("{", 40) + `"}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			isModest(text, maxState)
			return
		}
		deepest, depth := 0, 0
		for d := json.NewDecoder(strings.NewReader(text)); ; {
			token, err := d.Token()
			if err != nil {
				break
			}
			switch token {
			case json.Delim('{'), json.Delim('['):
				depth++
			case json.Delim('}'), json.Delim(']'):
				depth--
			}
			deepest = max(deepest, depth)
		}
		require.Equal(t, deepest <= maxDepth && len(text) <= maxState, isModest(text, maxState))
	})
}
