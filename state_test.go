package lifecycle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/statefile"
)

// speaker is a daemon that says more than the program daemon, in the words of a file:
//
//	speaker PIDFILE FILE [verb …]
//
// It has two components. The OnStart and the OnReload of the second one read the file: "error: TEXT" fails with that text, and
// anything else becomes the status text.
var speaker = proctest.Register("speaker", func(args []string) int {
	speak := func(ctx context.Context) error {
		text, err := os.ReadFile(args[1])
		if what, failed := strings.CutPrefix(string(text), "error: "); failed {
			return errors.New(what)
		}
		From(ctx).SetStatus(string(text))
		return err
	}
	return Main(args[2:], nil, Name("speaker"), Version("1.2"), PIDFile(args[0]), Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		With(Hooks{Name: "first", OnReload: behave("first.OnReload", "")}),
		With(Hooks{Name: "second", OnStart: speak, OnReload: speak}))
})

// startSpeaker starts a speaker, and waits until it is ready. say changes what it says at its next reload.
func startSpeaker(t *testing.T, text string) (p *proctest.Process, pidfile, file string, say func(text string)) {
	t.Helper()
	pidfile, file = proctest.PIDPath(t), filepath.Join(t.TempDir(), "text")
	say = func(text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	say(text)
	p = proctest.Start(t, speaker, pidfile, file, "run")
	p.Await("msg=ready")
	return p, pidfile, file, say
}

// recordOf returns the record of a state file.
func recordOf(t *testing.T, s Status) []byte {
	t.Helper()
	s.Format = 1
	object, err := json.Marshal(s)
	require.NoError(t, err)
	record, err := statefile.Seal(object)
	require.NoError(t, err)
	return record
}

// writeState writes a state file as a daemon with that PID file would.
func writeState(t *testing.T, pidfile string, s Status) {
	t.Helper()
	require.NoError(t, os.WriteFile(statePath(pidfile), recordOf(t, s), 0o644))
}

func TestAReaderTriesForAMomentAndNoLonger(t *testing.T) {
	good := recordOf(t, Status{PID: 4127})
	for what, c := range map[string]struct {
		left []byte // nil: no file
		mode fs.FileMode
		why  string
		took time.Duration
	}{
		"no file":           {nil, 0, "lstat: no such file or directory", statefile.RetryTime},
		"empty":             {[]byte{}, 0o644, "the record is damaged", statefile.RetryTime},
		"torn":              {append(bytes.Clone(good[:statefile.Size-2]), "x\n"...), 0o644, "the record is damaged", statefile.RetryTime},
		"of another format": {sealed(`{"format":2`), 0o644, "the record has format 2, where this program knows format 1", statefile.RetryTime},
		"of another":        {recordOf(t, Status{PID: 4126}), 0o644, "it is of pid 4126, not of pid 4127", statefile.RetryTime},
		"unsafe":            {good, 0o666, "everybody can write it (mode 0666)", 0},
		"right":             {good, 0o644, "", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			pidfile := proctest.PIDPath(t)
			if c.left != nil {
				require.NoError(t, os.WriteFile(statePath(pidfile), c.left, 0o600))
				require.NoError(t, os.Chmod(statePath(pidfile), c.mode))
			}
			begun := time.Now()
			s, err := readState(pidfile, sees(4127))
			require.InDelta(t, c.took, time.Since(begun), float64(2*time.Millisecond), what)
			if c.why == "" {
				require.NoError(t, err)
				require.Equal(t, 4127, s.PID)
				return
			}
			require.EqualError(t, err, "lifecycle: state file "+statePath(pidfile)+": "+c.why)
			require.Zero(t, s)
		})
	}
}

// sees is a look at a PID file of ours that says pid.
func sees(pid int) func() (holder, error) {
	return func() (holder, error) {
		return holder{Held: true, Number: pid, Owner: os.Geteuid()}, nil
	}
}

func TestAReaderReturnsAsSoonAsItCan(t *testing.T) {
	good := recordOf(t, Status{PID: 4127})
	for what, before := range map[string][]byte{
		"no file":    nil,
		"torn":       make([]byte, statefile.Size),
		"of another": recordOf(t, Status{PID: 4126}),
	} {
		synctest.Test(t, func(t *testing.T) {
			pidfile := proctest.PIDPath(t)
			if before != nil {
				require.NoError(t, os.WriteFile(statePath(pidfile), before, 0o644))
			}
			begun := time.Now()
			time.AfterFunc(statefile.RetryTime/2, func() { os.WriteFile(statePath(pidfile), good, 0o644) })
			s, err := readState(pidfile, sees(4127))
			require.NoError(t, err, what)
			require.Equal(t, 4127, s.PID)
			require.InDelta(t, statefile.RetryTime/2, time.Since(begun), float64(2*time.Millisecond))
		})
	}
	synctest.Test(t, func(t *testing.T) {
		pidfile := proctest.PIDPath(t)
		looks, gone := 0, errors.New("gone")
		_, err := readState(pidfile, func() (holder, error) {
			if looks++; looks == 3 {
				return holder{}, gone
			}
			return sees(4127)()
		})
		require.Equal(t, gone, err, "there is nobody any more whose state it could be")
		require.Equal(t, 3, looks)
	})
}
