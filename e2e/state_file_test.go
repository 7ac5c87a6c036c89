package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/statefile"
	"example.com/lifecycle/internal/sys/safefile"
)

// sealed returns a record with that text and its correct checksum. The text has no closing brace.
func sealed(text string) (record []byte) {
	record, _ = statefile.Seal([]byte(text + "}"))
	return record
}

// decoded returns the status in a record.
func decoded(t *testing.T, record []byte) (s lifecycle.Status) {
	t.Helper()
	object, err := statefile.Unseal(record)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(object, &s))
	return s
}

func TestAnOldStateFileIsReplacedAndNotOverwritten(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	// While this file is open, no other file can get its inode.
	left := openForReading(t, proctest.StatePath(pidfile))
	p.Signal(syscall.SIGKILL)
	p.Wait()
	dead := stateOf(t, pidfile)
	require.Equal(t, p.PID(), dead.PID)
	require.Equal(t, lifecycle.Ready, dead.Phase)

	next := proctest.Start(t, daemon, "pidfile="+pidfile)
	next.Await("msg=ready")
	require.Equal(t, next.PID(), stateOf(t, pidfile).PID)
	same, err := safefile.Same(left, proctest.StatePath(pidfile))
	require.NoError(t, err)
	require.False(t, same)
	record, err := io.ReadAll(left)
	require.NoError(t, err)
	require.Equal(t, dead, decoded(t, record))
	next.Signal(syscall.SIGTERM)
	require.Equal(t, 0, next.Wait())
	requireNothingLeft(t, pidfile)
}

// A power loss leaves an empty file, zeros, or an incomplete record.
func TestADamagedStateFileIsReplaced(t *testing.T) {
	t.Parallel()
	record := recordOf(t, fullStatus())
	for what, left := range map[string][]byte{
		"empty":   nil,
		"zeros":   make([]byte, statefile.Size),
		"torn":    append(bytes.Clone(record[:100]), make([]byte, statefile.Size-100)...),
		"changed": append(bytes.Clone(record[:statefile.Size-2]), "x\n"...),
		"newer":   sealed(`{"format":2,"phase":"hibernating"`),
	} {
		pidfile := proctest.PIDPath(t)
		require.NoError(t, os.WriteFile(proctest.StatePath(pidfile), left, 0o600))
		p := proctest.Start(t, daemon, "pidfile="+pidfile)
		p.Await("msg=ready")
		require.Equal(t, p.PID(), stateOf(t, pidfile).PID, what)
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait())
		require.Zero(t, p.Out.Count("level=WARN"), "%s", p.Out)
		requireNothingLeft(t, pidfile)
	}
}

// inTheWay contains functions that make an obstacle at the path of the state file. Each returns the
// text of the log record about it.
var inTheWay = map[string]func(t *testing.T, path string) (why string){
	"a symbolic link": func(t *testing.T, path string) string {
		require.NoError(t, os.WriteFile(path+".target", recordOf(t, fullStatus()), 0o644))
		require.NoError(t, os.Symlink(path+".target", path))
		return "it is a symbolic link, not a regular file"
	},
	"a dangling link": func(t *testing.T, path string) string {
		require.NoError(t, os.Symlink(path+".target", path))
		return "it is a symbolic link, not a regular file"
	},
	"a hard link": func(t *testing.T, path string) string {
		require.NoError(t, os.WriteFile(path+".target", recordOf(t, fullStatus()), 0o644))
		require.NoError(t, os.Link(path+".target", path))
		return "it has 2 hard links"
	},
	"a FIFO": func(t *testing.T, path string) string {
		require.NoError(t, syscall.Mkfifo(path, 0o644))
		return "it is a FIFO, not a regular file"
	},
	"a directory": func(t *testing.T, path string) string {
		require.NoError(t, os.Mkdir(path, 0o755))
		return "it is a directory, not a regular file"
	},
	"somebody's data": func(t *testing.T, path string) string {
		require.NoError(t, os.WriteFile(path, []byte("precious"), 0o644))
		return "it is not the state file of a daemon"
	},
	"as much data as a record": func(t *testing.T, path string) string {
		require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("precious"), statefile.Size/8), 0o644))
		return "it is not the state file of a daemon"
	},
	"more than a record": func(t *testing.T, path string) string {
		require.NoError(t, os.WriteFile(path, append(recordOf(t, fullStatus()), '\n'), 0o644))
		return "it is not the state file of a daemon"
	},
	"a file that everybody can write": func(t *testing.T, path string) string {
		require.NoError(t, os.WriteFile(path, recordOf(t, fullStatus()), 0o644))
		require.NoError(t, os.Chmod(path, 0o666))
		return "all users can write it (mode 0666)"
	},
}

func TestADaemonRunsWithoutAStateFileAndDoesNotTouchAnotherFileInItsPlace(t *testing.T) {
	t.Parallel()
	for what, put := range inTheWay {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			pidfile := proctest.PIDPath(t)
			state := proctest.StatePath(pidfile)
			why := put(t, state)
			requireUnchanged := unchanged(t, state, pidfile)
			p := proctest.Start(t, daemon, "pidfile="+pidfile)
			p.Await("msg=ready")
			requireLivesWithoutState(t, p, pidfile, "cannot create the state file, so status and reload report less", why)
			requireUnchanged()
		})
	}
}

func TestAStateWithAnotherPIDIsIgnored(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	was := stateOf(t, pidfile)

	other := was
	other.PID++
	writeState(t, pidfile, other)
	requireUntold(t, p.PID(), pidfile, fmt.Sprintf("the record belongs to pid %d, not to pid %d", p.PID()+1, p.PID()))
	writeState(t, pidfile, was)
	requireReady(t, p.PID(), callVerb(t, pidfile, "status"))

	require.NoError(t, os.WriteFile(pidfile, fmt.Appendln(nil, p.PID()+1), 0o644))
	if _, blind := mustState(t, pidfile); !blind {
		requireUntold(t, p.PID(), pidfile, fmt.Sprintf("the record belongs to pid %d, not to pid %d", p.PID(), p.PID()+1))
	}
	require.NoError(t, os.WriteFile(pidfile, fmt.Appendln(nil, p.PID()), 0o644))
	requireReady(t, p.PID(), callVerb(t, pidfile, "status"))
}

func TestADaemonWithAnUnreadableStateIsReportedAsRunning(t *testing.T) {
	t.Parallel()
	p, pidfile := startDaemon(t)
	f, err := os.OpenFile(proctest.StatePath(pidfile), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("x"), 100)
	require.NoError(t, err)
	requireUntold(t, p.PID(), pidfile, "the record is damaged")

	require.NoError(t, os.Rename(proctest.StatePath(pidfile), pidfile+".moved"))
	requireUntold(t, p.PID(), pidfile, "no such file or directory")
	require.Equal(t, 0, callVerb(t, pidfile, "status").Code, "the daemon runs")
	require.NoError(t, os.Rename(pidfile+".moved", proctest.StatePath(pidfile)))
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded")
	requireReady(t, p.PID(), callVerb(t, pidfile, "status"))
}
