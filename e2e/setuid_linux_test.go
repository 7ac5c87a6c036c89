package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// forger is an unprivileged user that calls a setuid program as its launcher would.
//
//	forger STAGE PROGRAM JAIL PIDFILE args…
var forger = proctest.Register("forger", func(args []string) int {
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(service), syscall.Setuid(service)); err != nil {
		fmt.Println(err)
		return 99
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fmt.Println(err)
		return 99
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	stage, path, jail, pidfile := args[0], args[1], args[2], args[3]
	cmd := proctest.Command(daemon, args[4:]...)
	cmd.Path, cmd.Dir = path, "/"
	cmd.Stdout, cmd.Stderr = theirs, theirs
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"Chroot":%q}`, jail))
	var st unix.Stat_t
	_ = unix.Fstat(fds[1], &st)
	cmd.Env = append(cmd.Env, fmt.Sprintf("_LIFECYCLE_STAGE=%s:%d:%d", stage, st.Dev, st.Ino), "_GO_DAEMON=1")
	if stage == "2" {
		file, err := os.Open(pidfile)
		if err != nil {
			fmt.Println(err)
			return 99
		}
		note := fmt.Sprintf("\n\x00{\"Note\":{\"pid_file\":%q}}\n", pidfile)
		_ = unix.Sendmsg(fds[0], []byte(note), unix.UnixRights(int(file.Fd())), nil, 0)
	}
	_ = unix.Shutdown(fds[0], unix.SHUT_WR) // so that a process that reads more does not block
	err = cmd.Run()
	theirs.Close()
	said, _ := io.ReadAll(ours)
	fmt.Printf("%s", said)
	var exited *exec.ExitError
	if errors.As(err, &exited) {
		return exited.ExitCode()
	}
	return lifecycle.ExitCode(err)
})

// privilegedCopy returns a copy of the test binary that every user can execute, and that has more
// rights than its caller.
func privilegedCopy(t *testing.T, give func(path string) error) (path string) {
	t.Helper()
	dir := nobodys(t)
	require.NoError(t, os.Chown(dir, 0, 0))
	path = filepath.Join(dir, "program")
	require.NoError(t, exec.Command("cp", proctest.Binary(), path).Run())
	require.NoError(t, os.Chmod(path, 0o755))
	proctest.Grant(t, path, give)
	return path
}

var mayChroot = proctest.Capability(unix.CAP_SYS_CHROOT)

// A user can forge the mark and the socket for a setuid program, but cannot forge that root has
// made the socket. A program that accepted the forged mark would do harm. As stage 1, it would
// change to a root directory of the user's choice and execute itself. As stage 2, it would assume a
// lock that it does not hold.
// Rows L9, L10.
func TestASetuidProgramAcceptsNoForgedLauncher(t *testing.T) {
	proctest.Use(forger)
	proctest.Needs(t, "root")
	t.Parallel()
	program, jail := privilegedCopy(t, proctest.SetuidRoot), t.TempDir()
	for _, stage := range []string{"1", "2"} {
		pidfile := filepath.Join(filepath.Dir(program), "daemon.pid")
		require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o644))
		requireUntouched := proctest.Untouched(t, pidfile)
		got := proctest.Call(t, forger, stage, program, jail, pidfile, "pidfile="+pidfile, "status")
		require.Equal(t, proctest.Result{Stdout: fmt.Sprintf("daemon: dead: pid 12345 left %s\n", pidfile), Code: 1}, got)
		requireUntouched()
	}
}

// A program with capabilities has the same user as its caller. Therefore the program cannot
// distinguish its caller from a launcher.
// Row L9.
func TestAProgramWithCapabilitiesAcceptsNoLauncher(t *testing.T) {
	proctest.Use(forger)
	proctest.Needs(t, "root")
	t.Parallel()
	program, jail := privilegedCopy(t, mayChroot), t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(jail), 0o755))
	for _, stage := range []string{"1", "2"} {
		pidfile := filepath.Join(filepath.Dir(program), "daemon.pid")
		require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o644))
		requireUntouched := proctest.Untouched(t, pidfile)
		got := proctest.Call(t, forger, stage, program, jail, pidfile, "pidfile="+pidfile, "status")
		require.Equal(t, proctest.Result{Stdout: fmt.Sprintf("daemon: dead: pid 12345 left %s\n", pidfile), Code: 1}, got)
		requireUntouched()
	}
}

// Row L9.
func TestASetuidProgramCanDetach(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	program, b := privilegedCopy(t, proctest.SetuidRoot), inBackground(t)
	cmd := proctest.Command(daemon, b.args("start")...)
	cmd.Path, cmd.Dir = program, "/"
	cmd.Env = append(cmd.Env, "_LIFECYCLE_STAGE=1:1:1", "_GO_DAEMON=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: service, Gid: service}}
	pid := b.readied(proctest.CallCommand(t, cmd))
	require.Equal(t, "12345\t0\t0\t0", statusField(t, pid, "Uid"))
	require.EqualValues(t, 0, ownerOf(t, b.log))
	b.stop()
}

func ownerOf(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Uid
}
