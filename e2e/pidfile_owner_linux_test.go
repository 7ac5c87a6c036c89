package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// Row B8.
func TestRootFollowsNoLinkAndNoDirectoryOfAnotherUser(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	dir, root := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(root, filepath.Join(dir, "link of root")))
	require.NoError(t, os.Symlink(root, filepath.Join(dir, "link of service")))
	require.NoError(t, os.Lchown(filepath.Join(dir, "link of service"), service, service))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "service"), 0o755))
	require.NoError(t, os.Chown(filepath.Join(dir, "service"), service, service))

	for name, why := range map[string]string{
		"link of service": fmt.Sprintf("the symbolic link %s in the path belongs to user %d", filepath.Join(dir, "link of service"), service),
		"service":         fmt.Sprintf("the directory %s in the path belongs to user %d", filepath.Join(dir, "service"), service),
	} {
		pidfile := filepath.Join(dir, name, "daemon.pid")
		requireRefused(t, 1, fmt.Sprintf("start failed: unsafe PID file %s: %s\n", pidfile, why), pidfile)
		requireNothingLeft(t, filepath.Join(root, "daemon.pid"))
		require.NoFileExists(t, pidfile)
	}
	requireStarts(t, filepath.Join(dir, "link of root", "daemon.pid"))

	// Root does not even inspect such a path: through another user's directory, the path could name
	// any file of root.
	p := proctest.Start(t, daemon, "pidfile="+filepath.Join(root, "daemon.pid"))
	p.Await("msg=ready")
	_, err := lifecycle.Find(filepath.Join(dir, "link of service", "daemon.pid"))
	require.ErrorIs(t, err, lifecycle.ErrUnsafePIDFile)
}

// Row B15.
func TestRootRefusesADirectoryThatEveryUserCanWrite(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	dir := filepath.Dir(pidfile)
	require.NoError(t, os.Chmod(dir, 0o777))
	requireRefused(t, 1, fmt.Sprintf("start failed: unsafe PID file %s: other users can write the directory %s in the path (mode 0777) (chmod +t %[2]s, or set the option PIDFile to another path)\n", pidfile, dir), pidfile)
	requireNothingLeft(t, pidfile)
	require.NoError(t, os.Chmod(dir, 0o775))
	requireStarts(t, pidfile) // the group of root may write it
	require.NoError(t, os.Chown(dir, 0, service))
	requireRefused(t, 1, "other users can write the directory "+dir+" in the path (mode 0775) (chmod +t "+dir+", or set", pidfile)
	require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky))
	requireStarts(t, pidfile) // as in /tmp
}

// Row B16.
func TestAFileOfAnotherUserInAStickyDirectoryIsRefused(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	dir := nobodys(t)
	require.NoError(t, os.Chown(dir, 0, 0))
	require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky))
	pidfile := filepath.Join(dir, "daemon.pid")
	require.NoError(t, os.WriteFile(pidfile, []byte("1\n"), 0o600))
	require.NoError(t, os.Chown(pidfile, service, service))
	requireUntouched := proctest.Untouched(t, pidfile)
	requireRefused(t, 1, fmt.Sprintf("it belongs to user %d, not to user 0\n", service), pidfile)
	requireUntouched()

	require.NoError(t, os.Chmod(pidfile, 0o644))
	require.Equal(t, 4, proctest.Call(t, asNobody, "pidfile="+pidfile, "run").Code, "a user who cannot write the file")
	require.NoError(t, os.Chmod(pidfile, 0o666))
	for _, program := range []string{daemon, asNobody} {
		got := proctest.Call(t, program, "pidfile="+pidfile, "run")
		require.Equal(t, 1, got.Code)
		require.Contains(t, got.Stderr, "unsafe PID file "+pidfile)
		require.Contains(t, got.Stderr, "all users can write it (mode 0666)")
	}
	require.NoError(t, os.Remove(pidfile))
	p := proctest.Start(t, asNobody, "pidfile="+pidfile)
	p.Await("msg=ready")
	// The start is refused whether or not the file is in use.
	requireRefused(t, 1, fmt.Sprintf("it belongs to user %d, not to user 0\n", nobody), pidfile)
	requireRunning(t, pidfile, p.PID())
}

// settler is a daemon of a user without a database entry, with the default PID file. Its argument
// is its name.
var settler = proctest.Register("settler", func(args []string) int {
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(service), syscall.Setuid(service)); err != nil {
		fmt.Println(err)
		return 99
	}
	fmt.Println("default:", lifecycle.DefaultPIDFile(args[0]))
	err := lifecycle.Run(nil, lifecycle.Name(args[0]))
	fmt.Println("Run returned:", err)
	return lifecycle.ExitCode(err)
})

// Row B16.
func TestTheDefaultDirectoryIsCreatedAndRefusedIfItIsAnotherUsers(t *testing.T) {
	proctest.Use(settler)
	proctest.Needs(t, "root")
	t.Parallel()
	name := proctest.OwnName("settler")
	dir := fmt.Sprintf("/tmp/%s-%d", name, service)
	pidfile := filepath.Join(dir, name+".pid")
	t.Cleanup(func() { os.RemoveAll(dir) })

	p := proctest.Start(t, settler, name)
	p.Await("ready pid=")
	require.Equal(t, 1, p.Out.Count("default: "+pidfile))
	info, err := os.Lstat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.ModeDir|0o700, info.Mode())
	require.EqualValues(t, service, info.Sys().(*syscall.Stat_t).Uid)
	proctest.RequireText(t, pidfile, fmt.Sprintln(p.PID()))
	require.Contains(t, proctest.Call(t, settler, name).Stdout, fmt.Sprintf("already running (pid %d)", p.PID()))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	requireNothingLeft(t, pidfile)

	want := fmt.Sprintf("%s is not a directory of user %d\n", dir, service)
	require.NoError(t, os.Chown(dir, stranger, stranger))
	require.NoError(t, os.Chmod(dir, 0o777))
	require.Contains(t, proctest.Call(t, settler, name).Stdout, want)
	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.Symlink("/tmp", dir))
	require.NoError(t, os.Lchown(dir, service, service))
	require.Contains(t, proctest.Call(t, settler, name).Stdout, want)
}

func TestPIDFileOfADaemonOfAnotherUser(t *testing.T) {
	needsNobody(t)
	t.Parallel()
	pidfile := filepath.Join(nobodys(t), "daemon.pid")
	p := proctest.Start(t, asNobody, "pidfile="+pidfile)
	p.Await("msg=ready")
	requireRunning(t, pidfile, p.PID())
	requireRefused(t, 1, fmt.Sprintf("the directory %s in the path belongs to user %d\n", filepath.Dir(pidfile), nobody), pidfile)
	second := proctest.Call(t, asNobody, "pidfile="+pidfile, "run")
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(p.PID()), Code: 1}, second)
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	require.Equal(t, 0, p.Wait())
	requireNothingLeft(t, pidfile)
}
