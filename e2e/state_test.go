package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/statefile"
)

// speaker is a daemon with a status text or an error that it reads from a file:
//
//	speaker PIDFILE FILE [verb …]
//
// It has two components. OnStart and OnReload of the second one read the file: "error: TEXT" fails
// with that text, and anything else becomes the status text.
var speaker = proctest.Register("speaker", func(args []string) int {
	speak := func(ctx context.Context) error {
		text, err := os.ReadFile(args[1])
		if what, failed := strings.CutPrefix(string(text), "error: "); failed {
			return errors.New(what)
		}
		lifecycle.From(ctx).SetStatus(string(text))
		return err
	}
	return lifecycle.Main(args[2:], nil, lifecycle.Name("speaker"), lifecycle.Version("1.2"), lifecycle.PIDFile(args[0]), lifecycle.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		lifecycle.With(lifecycle.Hooks{Name: "first", OnReload: behave("first.OnReload", "")}),
		lifecycle.With(lifecycle.Hooks{Name: "second", OnStart: speak, OnReload: speak}))
})

// startSpeaker starts a speaker and waits until it is ready. say changes the file for its next
// reload.
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

// stateOf returns the content of the state file that belongs to the PID file.
func stateOf(t *testing.T, pidfile string) (s lifecycle.Status) {
	t.Helper()
	var err error
	proctest.Eventually(t, func() bool {
		s, err = readStatus(proctest.StatePath(pidfile))
		return !errors.Is(err, statefile.ErrDamaged)
	}, "a whole record in %s", proctest.StatePath(pidfile))
	require.NoError(t, err)
	return s
}

// readStatus reads a state file that belongs to the user of this process.
func readStatus(path string) (s lifecycle.Status, err error) {
	object, err := statefile.Read(path, os.Geteuid())
	if err != nil {
		return lifecycle.Status{}, err
	}
	return s, json.Unmarshal(object, &s)
}

// recordOf returns the record of a state file.
func recordOf(t *testing.T, s lifecycle.Status) []byte {
	t.Helper()
	s.Format = 1
	object, err := json.Marshal(s)
	require.NoError(t, err)
	record, err := statefile.Seal(object)
	require.NoError(t, err)
	return record
}

// writeState writes a state file as a daemon with that PID file would.
func writeState(t *testing.T, pidfile string, s lifecycle.Status) {
	t.Helper()
	require.NoError(t, os.WriteFile(proctest.StatePath(pidfile), recordOf(t, s), 0o644))
}

func TestTheStateFileIsNamedAfterThePIDFile(t *testing.T) {
	for pidFile, want := range map[string]string{
		"/run/echod.pid":     "/run/echod.state",
		"/run/echod":         "/run/echod.state",
		"/run/echod.lock":    "/run/echod.lock.state",
		"/run/echod.pid.pid": "/run/echod.pid.state",
		"/run/echod.pid.old": "/run/echod.pid.old.state",
		"/run/a.pid/echod":   "/run/a.pid/echod.state",
		"/run/.pid":          "/run/.state",
		"/run/echod.PID":     "/run/echod.PID.state",
	} {
		require.Equal(t, want, proctest.StatePath(pidFile))
	}
}

func TestAProcessThatReadsThePIDFindsTheState(t *testing.T) {
	t.Parallel()
	for range 10 {
		pidfile := proctest.PIDPath(t)
		p := proctest.Start(t, daemon, "pidfile="+pidfile)
		awaitPID(t, p, pidfile)
		require.Equal(t, p.PID(), stateOf(t, pidfile).PID)
		p.Await("msg=ready")
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait())
		requireNothingLeft(t, pidfile)
	}
}

func TestAPIDFileWithAnotherNameHasAStateFileToo(t *testing.T) {
	t.Parallel()
	pidfile := filepath.Join(t.TempDir(), "daemon.lock")
	p := proctest.Start(t, daemon, "pidfile="+pidfile)
	p.Await("msg=ready")
	require.FileExists(t, pidfile+".state")
	require.Equal(t, p.PID(), stateOf(t, pidfile).PID)
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	requireNothingLeft(t, pidfile)
}

func TestADaemonWithoutPIDFileHasNoStateFile(t *testing.T) {
	t.Parallel()
	cmd := proctest.Command(daemon, "pidfile=")
	cmd.Dir = t.TempDir()
	p := proctest.Launch(t, cmd)
	p.Await("msg=ready")
	requireNothingLeft(t, filepath.Join(cmd.Dir, "any"))
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	require.Zero(t, p.Out.Count("level=WARN"), "%s", p.Out)
}

func TestTheStateFileHasTheModeOfThePIDFileWithAnyUmask(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]fs.FileMode{"mode=": 0o644, "mode=600": 0o600, "mode=640": 0o640} {
		for _, umask := range []string{"0", "0777"} {
			pidfile := proctest.PIDPath(t)
			p := proctest.Launch(t, proctest.Wrapped([]string{"sh", "-c", "umask " + umask + `; exec "$0" "$@"`}, daemon, "pidfile="+pidfile, mode))
			awaitPID(t, p, pidfile)
			info, err := os.Lstat(proctest.StatePath(pidfile))
			require.NoError(t, err)
			require.Equal(t, want, info.Mode(), umask)
			p.Await("msg=ready")
			p.Signal(syscall.SIGTERM)
			require.Equal(t, 0, p.Wait())
		}
	}
}

func TestAFailedStartLeavesNoStateFile(t *testing.T) {
	t.Parallel()
	for how, code := range map[string]int{"start=error": 1, "start=panic": 70, "run=error": 1} {
		pidfile := proctest.PIDPath(t)
		require.Equal(t, code, callVerb(t, pidfile, how, "run").Code)
		requireNothingLeft(t, pidfile)
	}
}
