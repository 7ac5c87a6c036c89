package e2e

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// Row L11.
func TestAfterAChrootFilesInsideStayInUse(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	root := jail(t)
	for _, user := range []string{"54321:54321", ""} {
		b := inBackground(t)
		b.log = filepath.Join(root, "log", cmp.Or(user, "root"), "x.log")
		require.NoError(t, os.Mkdir(filepath.Dir(b.log), 0o755))
		if user != "" {
			require.NoError(t, os.Chown(filepath.Dir(b.log), 54321, 54321))
		}
		b.pidfile = filepath.Join(root, "run", cmp.Or(user, "root")+".d", "x.pid")
		require.NoError(t, os.Mkdir(filepath.Dir(b.pidfile), 0o755))
		args := []string{"user=" + user, "chroot=" + root, "workdir=" + filepath.Join(root, "log")}

		pid := b.readied(b.callServant(append(args, "start")...))
		for link, want := range map[string]string{"root": root, "cwd": filepath.Join(root, "log")} {
			target, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, link))
			require.NoError(t, err)
			require.Equal(t, want, target)
		}
		require.Empty(t, directoriesOf(t, pid), "an open directory allows leaving the root directory")
		require.NoError(t, os.Rename(b.log, b.log+".1"))
		got := b.callServant(append(args, "reopen")...)
		require.Equal(t, 0, got.Code, "%s", got.Stderr)
		require.Equal(t, b.log, logOpened(t, pid, 2))
		require.Equal(t, 0, b.callServant(append(args, "reload")...).Code)
		status := b.callServant(append(args, "status")...)
		require.Equal(t, 0, status.Code)
		require.Contains(t, status.Stdout, fmt.Sprintf("ready (pid %d)", pid))
		require.NotContains(t, status.Stdout, "replaced")

		if user == "" { // root may remove the files that it can reach
			require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
			proctest.Eventually(t, func() bool { return b.callServant(append(args, "status")...).Code == 3 }, "the end")
			proctest.Eventually(t, func() bool { return len(b.processes()) == 0 }, "the end of the process, which has released the lock")
			b.requireNothingLeft()
		} else {
			b.stopServant(args...)
		}
		require.Contains(t, b.said(), "OnExit is")
		require.Regexp(t, `OnReload is .* in /log at home`, b.said())
		require.NotContains(t, b.said()+logText(t, b.log+".1"), "level=WARN")
	}
}

// directoriesOf returns the descriptors of a process that are directories.
func directoriesOf(t *testing.T, pid int) (open []string) {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	require.NoError(t, err)
	require.NotEmpty(t, fds)
	for _, fd := range fds {
		if info, err := os.Stat(fd); err == nil && info.IsDir() {
			open = append(open, fd)
		}
	}
	return open
}

// Row L11.
func TestAfterAChrootFilesOutsideAreUnreachable(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	b, root := inBackground(t), jail(t)
	// A file with the same path inside the new root is another file. The daemon must not touch it.
	other := filepath.Join(root, filepath.Dir(b.pidfile))
	require.NoError(t, os.MkdirAll(other, 0o777))
	require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(b.log)), 0o777))
	proctest.Touch(t, filepath.Join(other, "daemon.pid"))
	for range 2 {
		args := []string{"chroot=" + root}
		pid := b.readied(b.callServant(append(args, "start")...))
		require.Contains(t, b.said(), `msg="the daemon cannot remove the PID file at its end and will empty it instead"`)
		require.Contains(t, b.said(), `msg="the daemon can no longer reopen its log"`)
		for _, link := range []string{"root", "cwd"} {
			target, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, link))
			require.NoError(t, err)
			require.Equal(t, root, target)
		}
		got := b.callServant(append(args, "reopen")...)
		require.Equal(t, 1, got.Code)
		require.Contains(t, got.Stderr, "it is outside the root directory "+root)
		got = b.callServant(append(args, "reload")...)
		require.Equal(t, 0, got.Code, "%s", got.Stderr)
		require.Regexp(t, `^servant: reloaded \(`, got.Stderr)
		status := b.callServant(append(args, "status")...)
		require.NotContains(t, status.Stdout, "replaced", "the PID file is outside the root directory, not lost")
		got = b.callServant(append(args, "stop")...)
		require.Equal(t, 0, got.Code, "%s", got.Stderr)
		require.Equal(t, 3, b.callServant(append(args, "status")...).Code)
	}
	require.FileExists(t, filepath.Join(other, "daemon.pid"))
	logs, err := os.ReadDir(filepath.Join(root, filepath.Dir(b.log)))
	require.NoError(t, err)
	require.Empty(t, logs)
}

func TestAnOpenDirectoryForbidsAChroot(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	b, root, left := inBackground(t), jail(t), t.TempDir()
	got := b.callServant("chroot="+root, "leave="+left, "start")
	require.Equal(t, 1, got.Code)
	require.Regexp(t, `start failed: cannot run in `+root+`: descriptor \d+ is open on `+left+`, through which the process could leave the root directory: close it first`, got.Stderr)
	b.requireNothingLeft()
	b.readied(b.callServant("leave="+left, "start")) // no other warning
	b.stopServant()
}
