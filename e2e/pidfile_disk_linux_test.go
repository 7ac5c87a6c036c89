package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// Row B2.
func TestADirectoryThatCannotBeWrittenIsAnError(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	dir := nobodys(t)
	require.NoError(t, os.Chown(dir, 0, 0))
	pidfile := filepath.Join(dir, "daemon.pid")
	got := proctest.Call(t, asNobody, "pidfile="+pidfile, "run")
	require.Equal(t, 4, got.Code)
	requireLogged(t, got.Stderr, fmt.Sprintf("start failed: PID file %s: open: permission denied (user %d must be able to write the directory %s)\n",
		pidfile, nobody, dir))
	requireNothingLeft(t, pidfile)

	require.NoError(t, os.Chmod(dir, 0o700)) // a test cannot remove a directory that it may not enter
	got = proctest.Call(t, asNobody, "pidfile="+pidfile, "run")
	require.Equal(t, 4, got.Code)
	require.Contains(t, got.Stderr, "permission denied")
	require.Equal(t, 4, proctest.Call(t, asNobody, "pidfile="+pidfile, "status").Code)
}

// Row B9.
func TestAReadOnlyFileSystemIsAnError(t *testing.T) {
	needsMount(t)
	t.Parallel()
	missing, stale := proctest.PIDPath(t), proctest.PIDFileWith(t, "12345\n")
	for _, pidfile := range []string{missing, stale} {
		requireUntouched := proctest.Untouched(t, pidfile)
		readOnly(t, filepath.Dir(pidfile))
		requireRefused(t, 1, "daemon: start failed: PID file "+pidfile+": open: read-only file system\n", pidfile)
		requireUntouched()
	}
	require.Equal(t, 1, callVerb(t, stale, "status").Code, "the file can still be inspected")
}

// Row B10.
func TestADaemonSurvivesAFileSystemThatBecomesReadOnly(t *testing.T) {
	needsMount(t)
	t.Parallel()
	p, pidfile := startDaemon(t)
	readOnly(t, filepath.Dir(pidfile))
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded")
	require.Zero(t, p.Out.Count(lostWarning))
	requireRunning(t, pidfile, p.PID())
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	require.Equal(t, 1, p.Out.Count("cannot remove the PID file"))
	require.Equal(t, 1, p.Out.Count("cannot remove the state file"))
	proctest.RequireText(t, pidfile, "")
	proctest.RequireText(t, proctest.StatePath(pidfile), "")
	require.Equal(t, proctest.Result{Stdout: notRunning(pidfile), Code: 3}, callVerb(t, pidfile, "status"))

	require.NoError(t, unix.Unmount(filepath.Dir(pidfile), unix.MNT_DETACH))
	requireStarts(t, pidfile)
}

// Rows B11, B14.
func TestAFullFileSystemFailsTheStartAndNoFileRemains(t *testing.T) {
	needsMount(t)
	t.Parallel()
	for what, c := range map[string]struct {
		options, op string
		fill        func(name string) error
	}{
		"no block": {"size=64k", "write", func(name string) error { return os.WriteFile(name, make([]byte, os.Getpagesize()), 0o600) }},
		"no inode": {"nr_inodes=8", "open", func(name string) error { return os.WriteFile(name, nil, 0o600) }},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			mount(t, "tmpfs", dir, "tmpfs", 0, "mode=0755,"+c.options)
			pidfile := filepath.Join(dir, "daemon.pid")
			free := fillUp(t, dir, c.fill)
			requireUntouched := proctest.Untouched(t, pidfile)
			requireRefused(t, 1, "daemon: start failed: PID file "+pidfile+": "+c.op+": no space left on device\n", pidfile)
			_ = os.Remove(proctest.StatePath(pidfile)) // the state file contains the failure
			requireUntouched()
			free()
			requireStarts(t, pidfile)
		})
	}
}

// Row B12.
func TestAFailedWriteFailsTheStart(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for fault, text := range map[string]string{
		"pwrite64:retval=2":     "write: short write",
		"pwrite64:retval=0":     "write: short write",
		"pwrite64:error=EIO":    "write: input/output error",
		"pwrite64:error=ENOSPC": "write: no space left on device",
		"pwrite64:error=EDQUOT": "write: disk quota exceeded",
		"ftruncate:error=EIO":   "truncate: input/output error",
		"fchmod:error=EPERM":    "chmod: operation not permitted",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			code := 1
			if strings.Contains(fault, "EPERM") {
				code = 4
			}
			for _, before := range []string{"nothing", "a stale file"} {
				pidfile := proctest.PIDPath(t)
				if before != "nothing" {
					require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o600))
					if strings.HasPrefix(fault, "fchmod") { // a stricter mode is no failure
						require.NoError(t, os.Chmod(pidfile, 0o664))
					}
				} else if strings.HasPrefix(fault, "fchmod") {
					continue // a new file already has this mode
				}
				cmd, requireFault := faulty(t, fault, pidfile, "run")
				got := proctest.CallCommand(t, cmd)
				requireFault()
				require.Equal(t, code, got.Code)
				require.Empty(t, got.Stdout)
				requireLogged(t, got.Stderr, "start failed: PID file "+pidfile+": "+text)
				requireNothingLeft(t, pidfile)
				requireStarts(t, pidfile)
			}
		})
	}
}

// Row B13.
func TestAPIDFileThatCannotBeRemovedIsEmptied(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	for errno, c := range map[string]struct {
		text, run string
		code      int
	}{
		"EBUSY": {"device or resource busy", "wait", 0},
		"EROFS": {"read-only file system", "wait", 0},
		"EPERM": {"operation not permitted", "error", 1},
	} {
		t.Run(errno, func(t *testing.T) {
			t.Parallel()
			pidfile := proctest.PIDPath(t)
			cmd, requireFault := faulty(t, "unlinkat:error="+errno, pidfile, "run="+c.run)
			p := proctest.Launch(t, cmd)
			p.Await("fn")
			if c.run == "wait" {
				p.Await("msg=ready")
				p.Signal(syscall.SIGTERM)
			}
			require.Equal(t, c.code, p.Wait(), "the daemon works as before\n%s", p.Out)
			requireFault()
			require.Equal(t, 1, p.Out.Count("cannot remove the PID file, so it was emptied"), "%s", p.Out)
			require.Equal(t, 1, p.Out.Count(c.text))
			proctest.RequireText(t, pidfile, "")
			want := notRunning(pidfile)
			if c.run == "error" {
				want = "daemon: not running; failed 0s ago: fn failed on purpose (exit 1)\n"
			}
			require.Equal(t, proctest.Result{Stdout: want, Code: 3}, callVerb(t, pidfile, "status"))
			requireStarts(t, pidfile)
		})
	}
}

func TestAStricterModeThanRequestedIsAccepted(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o600))
	cmd, requireFault := faulty(t, "fchmod:error=EPERM", pidfile, "run")
	p := proctest.Launch(t, cmd)
	p.Await("msg=ready")
	requireFault()
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	require.Equal(t, 0, p.Wait())
}
