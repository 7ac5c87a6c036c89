package e2e

import (
	"context"
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

// Row B1.
func TestAMissingDirectoryIsNamedAndNotCreated(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "missing")
	pidfile := filepath.Join(dir, "daemon.pid")
	requireRefused(t, 1, "no such file or directory (the directory "+dir+" must exist)\n", pidfile)
	require.NoDirExists(t, dir)
	require.Equal(t, proctest.Result{Stdout: notRunning(pidfile), Code: 3}, callVerb(t, pidfile, "status"))
}

// Row B3.
func TestAFileInTheMiddleOfThePathIsAnError(t *testing.T) {
	t.Parallel()
	file := proctest.PIDFileWith(t, "untouched")
	requireUntouched := proctest.Untouched(t, file)
	pidfile := filepath.Join(file, "daemon.pid")
	requireRefused(t, 1, "start failed: PID file "+pidfile, pidfile)
	requireRefused(t, 1, "not a directory", pidfile)
	got := callVerb(t, pidfile, "status")
	require.Equal(t, 4, got.Code)
	require.Contains(t, got.Stdout+got.Stderr, "not a directory")
	requireUntouched()
}

// Row B4.
func TestADirectoryIsRefused(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	require.NoError(t, os.Mkdir(pidfile, 0o755))
	requireUnsafe(t, pidfile, "it is a directory, not a regular file")
}

// Row B5.
func TestAFIFOIsRefusedWithoutBlocking(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	require.NoError(t, syscall.Mkfifo(pidfile, 0o644))
	requireUnsafe(t, pidfile, "it is a FIFO, not a regular file")
}

// Row B6.
func TestASocketOrADeviceIsRefused(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "lifecycle") // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	pidfile := filepath.Join(dir, "daemon.pid")
	socket, err := net.Listen("unix", pidfile)
	require.NoError(t, err)
	defer socket.Close()
	requireUnsafe(t, pidfile, "it is a socket, not a regular file")

	requireRefused(t, 1, "unsafe PID file /dev/null: it is a device, not a regular file\n", os.DevNull)
	require.Equal(t, 4, callVerb(t, os.DevNull, "status").Code)
}

// Row B7.
func TestASymbolicLinkIsRefusedAndItsTargetUntouched(t *testing.T) {
	t.Parallel()
	t.Run("live", func(t *testing.T) {
		target, pidfile := proctest.PIDFileWith(t, "untouched"), proctest.PIDPath(t)
		requireUntouched := proctest.Untouched(t, target)
		require.NoError(t, os.Symlink(target, pidfile))
		requireUnsafe(t, pidfile, "it is a symbolic link, not a regular file")
		requireUntouched()
	})
	t.Run("dangling", func(t *testing.T) {
		target, pidfile := proctest.PIDPath(t), proctest.PIDPath(t)
		require.NoError(t, os.Symlink(target, pidfile))
		requireUnsafe(t, pidfile, "it is a symbolic link, not a regular file")
		requireNothingLeft(t, target)
	})
	t.Run("to the file of a running daemon", func(t *testing.T) {
		p, target := startDaemon(t)
		pidfile := proctest.PIDPath(t)
		require.NoError(t, os.Symlink(target, pidfile))
		requireUnsafe(t, pidfile, "it is a symbolic link, not a regular file")
		requireRunning(t, target, p.PID())
	})
}

// Row B17.
func TestEveryPathThatTheSystemAcceptsWorks(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"with spaces .pid", "Dämon – %s \\ \"quoted\" 'x' $HOME;.pid", "-pidfile", ".pid"} {
		pidfile := filepath.Join(t.TempDir(), name)
		p := proctest.Start(t, daemon, "pidfile="+pidfile)
		p.Await("msg=ready")
		requireRunning(t, pidfile, p.PID())
		require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
		require.Equal(t, 0, p.Wait())
		requireNothingLeft(t, pidfile)
	}
}

// Row B17.
func TestAPathThatIsTooLongOrHasANULIsRefused(t *testing.T) {
	t.Parallel()
	long := filepath.Join(t.TempDir(), strings.Repeat("n", 256)+".pid")
	requireRefused(t, 1, "file name too long\n", long)
	requireNothingLeft(t, long)
	requireRefused(t, 1, "start failed: PID file /path/path", "/"+strings.Repeat("path/", 1000)+"daemon.pid")

	const path = "/run/a\x00.pid"
	require.EqualError(t, lifecycle.Run(nil, lifecycle.PIDFile(path)), fmt.Sprintf("lifecycle: wrong option: PIDFile(%q): a path cannot contain a NUL byte", path))
}

// wanderer is a daemon that changes its working directory. The path of its PID file is relative.
var wanderer = proctest.Register("wanderer", func(args []string) int {
	return lifecycle.ExitCode(lifecycle.Run(nil, lifecycle.PIDFile(args[0]), lifecycle.OnStart(func(context.Context) error { return os.Chdir("/") })))
})

// Row B18.
func TestARelativePathIsRelativeToTheDirectoryOfTheStart(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	cmd := proctest.Command(wanderer, "./"+filepath.Base(pidfile))
	cmd.Dir = filepath.Dir(pidfile)
	p := proctest.Launch(t, cmd)
	p.Await("ready pid=")
	requireRunning(t, pidfile, p.PID())
	status := proctest.Command(daemon, "pidfile="+filepath.Base(pidfile), "status")
	status.Dir = filepath.Dir(pidfile)
	requireReady(t, p.PID(), proctest.CallCommand(t, status))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	requireNothingLeft(t, pidfile)
}

// A power loss leaves an empty file, or one with an outdated number.
// Row B20.
func TestAnEmptyOrStaleFileIsTakenOverInPlace(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":        "",
		"stale":        "4194304\n",
		"of our own":   fmt.Sprintln(os.Getpid()),
		"longer":       strings.Repeat("9", 20) + "\n",
		"garbage":      "\x00\x00\x00\x00",
		"of one block": strings.Repeat("\x00", 4096),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pidfile := proctest.PIDFileWith(t, text)
			before, err := os.Stat(pidfile)
			require.NoError(t, err)
			p := proctest.Start(t, daemon, "pidfile="+pidfile)
			p.Await("msg=ready")
			proctest.RequireText(t, pidfile, fmt.Sprintln(p.PID()))
			after, err := os.Stat(pidfile)
			require.NoError(t, err)
			require.True(t, os.SameFile(before, after))
			p.Signal(syscall.SIGTERM)
			require.Equal(t, 0, p.Wait())
			requireNothingLeft(t, pidfile)
		})
	}
}

// Row E19.
func TestThePIDFileHasExactlyTheRequestedMode(t *testing.T) {
	t.Parallel()
	for _, mode := range []fs.FileMode{0o644, 0o600, 0o755} {
		for _, umask := range []string{"0", "0777"} {
			for _, stale := range []fs.FileMode{0, 0o664} {
				t.Run(fmt.Sprintf("%o less %s over %o", mode, umask, stale), func(t *testing.T) {
					t.Parallel()
					pidfile := proctest.PIDPath(t)
					if stale != 0 {
						require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o600))
						require.NoError(t, os.Chmod(pidfile, stale))
					}
					p := proctest.Launch(t, proctest.Wrapped([]string{"sh", "-c", "umask " + umask + `; exec "$0" "$@"`},
						daemon, "pidfile="+pidfile, fmt.Sprintf("mode=%o", mode)))
					p.Await("msg=ready")
					info, err := os.Stat(pidfile)
					require.NoError(t, err)
					require.Equal(t, mode, info.Mode())
					p.Signal(syscall.SIGTERM)
					require.Equal(t, 0, p.Wait())
				})
			}
		}
	}
}

// Row E19.
func TestAFileThatEveryUserCanWriteIsRefused(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDFileWith(t, fmt.Sprintln(os.Getpid()))
	require.NoError(t, os.Chmod(pidfile, 0o666))
	requireUntouched := proctest.Untouched(t, pidfile)
	_, err := lifecycle.Find(pidfile)
	require.ErrorIs(t, err, lifecycle.ErrUnsafePIDFile)
	err = lifecycle.Run(nil, lifecycle.PIDFile(pidfile))
	require.ErrorIs(t, err, lifecycle.ErrUnsafePIDFile)
	require.ErrorContains(t, err, "all users can write it (mode 0666)")
	require.NotErrorIs(t, err, lifecycle.ErrAlreadyRunning)
	requireUntouched()
}

func TestPIDFileModeMustPermitOnlyTheOwnerToWrite(t *testing.T) {
	for _, mode := range []fs.FileMode{0, 0o400, 0o200, 0o444, 0o666, 0o660, 0o602, 0o1644, 0o644 | fs.ModeDir, fs.ModeSetuid | 0o600} {
		require.ErrorContains(t, lifecycle.Run(nil, lifecycle.PIDFile(""), lifecycle.PIDFileMode(mode)), "must let the owner read and write the file, and no other user write it")
	}
}
