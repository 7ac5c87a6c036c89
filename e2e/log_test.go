package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// logPlace returns a path for a log.
func logPlace(t *testing.T) (log string) {
	t.Helper()
	return filepath.Join(t.TempDir(), "daemon.log")
}

func logText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// awaitLog waits until a log contains that text, or contains it n times if n is given.
func awaitLog(t *testing.T, path, text string, n ...int) {
	t.Helper()
	want := 1
	if len(n) > 0 {
		want = n[0]
	}
	proctest.Eventually(t, func() bool { got, _ := os.ReadFile(path); return strings.Count(string(got), text) >= want }, "%q in %s", text, path)
}

func logPerm(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info.Mode()
}

// logStatus returns the status of a daemon, as its verb reports it.
func logStatus(t *testing.T, pidfile string) (s lifecycle.Status) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(callVerb(t, pidfile, "status", "--json").Stdout), &s))
	return s
}

func TestANewLogHasMode0640WithAnyUmask(t *testing.T) {
	t.Parallel()
	for _, umask := range []string{"0", "022", "077", "0777"} {
		pidfile, log := verbPlace(t), logPlace(t)
		errors := log + ".err"
		cmd := proctest.Wrapped([]string{"sh", "-c", "umask " + umask + `; exec "$0" "$@"`}, daemon, "pidfile="+pidfile, "name=daemon", "log="+log, "errorlog="+errors, "start")
		got := proctest.CallCommand(t, cmd)
		require.Equal(t, 0, got.Code, got.Stderr)
		require.Equal(t, fs.FileMode(0o640), logPerm(t, log), umask)
		require.Equal(t, fs.FileMode(0o640), logPerm(t, errors), umask)

		require.NoError(t, os.Rename(log, log+".1"))
		require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code)
		require.Equal(t, fs.FileMode(0o640), logPerm(t, log), "the mode of a log that a daemon reopens, too")
		require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	}
}

func TestAnExistingLogKeepsItsContentAndItsMode(t *testing.T) {
	t.Parallel()
	for _, mode := range []fs.FileMode{0o600, 0o644, 0o666} {
		log := logPlace(t)
		require.NoError(t, os.WriteFile(log, []byte("what was there\n"), 0o600))
		require.NoError(t, os.Chmod(log, mode))
		before, err := os.Stat(log)
		require.NoError(t, err)
		_, pidfile := verbStart(t, "log="+log)
		require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code)
		require.Equal(t, 0, callVerb(t, pidfile, "restart", "log="+log).Code)
		require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
		after, err := os.Stat(log)
		require.NoError(t, err)
		require.True(t, os.SameFile(before, after))
		require.Equal(t, mode, after.Mode())
		text := logText(t, log)
		require.True(t, strings.HasPrefix(text, "what was there\n"), text)
		require.Equal(t, 2, strings.Count(text, "msg=ready"), "the second life appends to the log: %s", text)
	}
}

func TestStdoutAndStderrOfADaemonGoToTheLog(t *testing.T) {
	t.Parallel()
	log := logPlace(t)
	_, pidfile := verbStart(t, "log="+log)
	require.Equal(t, log, logStatus(t, pidfile).LogFile)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	text := logText(t, log)
	for _, line := range []string{"OnStart\n", "OnStart done\n", "msg=ready", "msg=stopping", "OnExit done\n", "msg=stopped"} {
		require.Equal(t, 1, strings.Count(text, line), "%q in %s", line, text)
	}
}

func TestAnErrorLogHasStderrToItself(t *testing.T) {
	t.Parallel()
	for _, apart := range []bool{true, false} {
		log, errors, out := logPlace(t), logPlace(t), ""
		if apart {
			out = log
		}
		_, pidfile := verbStart(t, "log="+out, "errorlog="+errors)
		require.Equal(t, errors, logStatus(t, pidfile).LogFile, "the state names the file that gets stderr")
		for _, path := range []string{log, errors} {
			if _, err := os.Lstat(path); err == nil {
				require.NoError(t, os.Rename(path, path+".1"))
			}
		}
		require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code)
		require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
		require.NotContains(t, logText(t, errors+".1"), "OnStart")
		require.Contains(t, logText(t, errors+".1"), "msg=ready")
		require.NotContains(t, logText(t, errors), "OnStop")
		require.Contains(t, logText(t, errors), "msg=stopping")
		if !apart {
			require.NoFileExists(t, log)
			continue
		}
		require.Equal(t, "OnStart\nOnStart done\nfn\n", logText(t, log+".1"))
		require.NotContains(t, logText(t, log), "msg=")
		require.Contains(t, logText(t, log), "OnStop\n")
	}
}

func TestOneFileMayBeLogFileAndErrorLogFile(t *testing.T) {
	t.Parallel()
	log := logPlace(t)
	_, pidfile := verbStart(t, "log="+log, "errorlog="+log)
	require.NoError(t, os.Rename(log, log+".1"))
	require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	require.Contains(t, logText(t, log+".1"), "OnStart\n")
	require.Contains(t, logText(t, log+".1"), "msg=ready")
	require.Contains(t, logText(t, log), "OnStop\n")
	require.Contains(t, logText(t, log), "msg=stopping")
}

func TestARelativeLogIsRelativeToTheDirectoryOfTheStart(t *testing.T) {
	t.Parallel()
	dir, pidfile := t.TempDir(), verbPlace(t)
	cmd := proctest.Command(daemon, "pidfile="+pidfile, "log=daemon.log", "start")
	cmd.Dir = dir
	got := proctest.CallCommand(t, cmd)
	require.Equal(t, 0, got.Code, got.Stderr)
	log := filepath.Join(dir, "daemon.log")
	require.Contains(t, got.Stderr, "log "+log+"\n")
	require.NoError(t, os.Rename(log, log+".1"))
	require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code)
	awaitLog(t, log, "log reopened")
	require.Equal(t, log, logStatus(t, pidfile).LogFile)
}

// logTraps lists kinds of files that cannot be a log, with the error for each.
var logTraps = map[string]struct {
	set  func(t *testing.T, path string)
	says string
}{
	"a symbolic link": {func(t *testing.T, path string) {
		require.NoError(t, os.Symlink(logVictim(t, path), path))
	}, "it is a symbolic link, not a regular file"},
	"a symbolic link to nothing": {func(t *testing.T, path string) {
		require.NoError(t, os.Symlink(path+".target", path))
	}, "it is a symbolic link, not a regular file"},
	"a hard link": {func(t *testing.T, path string) {
		require.NoError(t, os.Link(logVictim(t, path), path))
	}, `it has 2 hard links`},
	"a FIFO": {func(t *testing.T, path string) {
		require.NoError(t, syscall.Mkfifo(path, 0o600))
	}, "it is a FIFO, not a regular file"},
	"a directory": {func(t *testing.T, path string) {
		require.NoError(t, os.Mkdir(path, 0o700))
	}, "it is a directory, not a regular file"},
	"a socket": {func(t *testing.T, path string) {
		dir, err := os.MkdirTemp("", "") // the path of a socket must be short
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		l, err := net.Listen("unix", filepath.Join(dir, "s"))
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		require.NoError(t, os.Rename(filepath.Join(dir, "s"), path))
	}, "it is a socket, not a regular file"},
	"in a directory that is missing": {func(t *testing.T, path string) {
		require.NoError(t, os.Remove(filepath.Dir(path)))
	}, "no such file or directory"},
}

// logVictim makes a file beside path that the daemon must not change.
func logVictim(t *testing.T, path string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".target", []byte("precious\n"), 0o600))
	return path + ".target"
}

func requireVictim(t *testing.T, path string) {
	t.Helper()
	switch text, err := os.ReadFile(path + ".target"); {
	case os.IsNotExist(err):
		_, err := os.Lstat(path + ".target")
		require.ErrorIs(t, err, fs.ErrNotExist)
	default:
		require.NoError(t, err)
		require.Equal(t, "precious\n", string(text))
	}
}

// Row K14.
func TestAStartWithALogThatIsNotARegularFileIsRefused(t *testing.T) {
	t.Parallel()
	for name, trap := range logTraps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, option := range []string{"log=", "errorlog="} {
				pidfile, log := verbPlace(t), logPlace(t)
				trap.set(t, log)
				got := callVerb(t, pidfile, option+log, "start")
				require.Equal(t, 1, got.Code)
				require.Empty(t, got.Stdout)
				require.Regexp(t, `^daemon: start failed: log file `+log+`: .+\n$`, got.Stderr)
				require.Contains(t, got.Stderr, trap.says)
				requireVictim(t, log)
				requireVerbLeftNothing(t, pidfile)

				got = callVerb(t, pidfile, option+logPlace(t), "start")
				require.Equal(t, 0, got.Code, "no file was locked: %s", got.Stderr)
				require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
			}
		})
	}
}

func TestAStartThatIsRefusedForItsErrorLogLeavesNoLog(t *testing.T) {
	t.Parallel()
	pidfile, log, dir := verbPlace(t), logPlace(t), t.TempDir()
	require.Equal(t, 1, callVerb(t, pidfile, "log="+log, "errorlog="+dir, "start").Code)
	requireVerbLeftNothing(t, pidfile)
	if info, err := os.Stat(log); err == nil {
		require.Zero(t, info.Size(), "the log is empty or missing")
	}
}

func TestADescriptorIsRefusedAsALogWithAdvice(t *testing.T) {
	t.Parallel()
	for _, log := range []string{"/dev/stdout", "/dev/stderr", "/dev/fd/1", "/proc/self/fd/1", "/dev/../dev/stdout"} {
		for _, option := range []string{"log=", "errorlog="} {
			pidfile := verbPlace(t)
			got := callVerb(t, pidfile, option+log, "start")
			require.Equal(t, 1, got.Code)
			require.Contains(t, got.Stderr, "daemon: wrong option: ")
			require.Contains(t, got.Stderr, fmt.Sprintf("LogFile(%q): a detached process has no stdout except its log; run it in the foreground to see the output on the terminal\n", log))
			requireVerbLeftNothing(t, pidfile)
		}
	}
}

func TestInTheForegroundNothingIsRedirected(t *testing.T) {
	t.Parallel()
	log := logPlace(t)
	p, pidfile := startDaemon(t, "log="+log)
	require.Equal(t, proctest.Result{Stderr: fmt.Sprintf("daemon: nothing to reopen: pid %d has no log file of its own\n", p.PID())}, callVerb(t, pidfile, "reopen"))
	p.Await("nothing to reopen: a program in the foreground logs to its stderr")
	require.Empty(t, logStatus(t, pidfile).LogFile)
	require.Empty(t, logStatus(t, pidfile).LastReopen.Error)
	require.Equal(t, 0, callVerb(t, pidfile, "reload").Code)
	p.Await("msg=reloaded")
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	require.Equal(t, 0, p.Wait())
	require.Equal(t, 1, linesOf(p, "OnExit done"))
	require.NoFileExists(t, log)
}

// logRead returns the content of an open file.
func logRead(t *testing.T, f *os.File) string {
	t.Helper()
	info, err := f.Stat()
	require.NoError(t, err)
	text := make([]byte, info.Size())
	n, _ := f.ReadAt(text, 0)
	return string(text[:n])
}
