package e2e

import (
	"errors"
	"fmt"
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
	"example.com/lifecycle/internal/sys/ctlsock"
)

// becomingRoot is the program serving, but it first sets all its user IDs to root.
var becomingRoot = proctest.Register("becoming root", func(args []string) int {
	if err := errors.Join(syscall.Setgid(0), syscall.Setuid(0)); err != nil {
		fmt.Println(err)
		return 99
	}
	return proctest.RunAs(serving, args)
})

// byStranger makes an unprivileged user execute the privileged copy of the test binary at path.
func byStranger(cmd *exec.Cmd, path string) *exec.Cmd {
	cmd.Path, cmd.Dir = path, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: service, Gid: service}}
	return cmd
}

// managedByStranger is byStranger with a service manager of that user. The user also hides
// AT_SECURE from Go.
func managedByStranger(cmd *exec.Cmd, path, address string) *exec.Cmd {
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address, "FDSTORE=16", "WATCHDOG_USEC=1000", "READY_FD=1",
		"LISTEN_FDS=1", "LISTEN_PID=1", "LD_X=1")
	return byStranger(cmd, path)
}

// Row L9.
func TestNoListenerOfAProgramWithMoreRightsGoesToItsCaller(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	for what, tt := range map[string]struct {
		program string
		give    func(path string) error
	}{
		"setuid":                   {serving, proctest.SetuidRoot},
		"setuid, then setuid(0)":   {becomingRoot, proctest.SetuidRoot},
		"capabilities of the file": {serving, mayChroot},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			k, path := newKeeper(t), privilegedCopy(t, tt.give)
			dir := proctest.ShortDir(t)
			require.NoError(t, os.Chown(dir, service, service))
			require.NoError(t, os.Chmod(dir, 0o755))
			if tt.program == becomingRoot {
				require.NoError(t, os.Chown(dir, 0, 0))
			}
			args := append(at("tcp,127.0.0.1:0"), "pidfile=")
			p := proctest.Launch(t, managedByStranger(proctest.Command(tt.program, args...), path, k.server.Address))
			p.Await("msg=ready")
			p.Signal(syscall.SIGTERM)
			require.Equal(t, 0, p.Wait())
			require.Empty(t, k.heard())
			k.mu.Lock()
			defer k.mu.Unlock()
			require.Empty(t, k.kept)
			require.Empty(t, k.ready, "no process received a message")
		})
	}
}

// The daemon has the user IDs of root and no AT_SECURE, but its environment is the caller's.
// Row L9.
func TestNoListenerGoesToTheCallerOfAProgramThatDetachesAsRoot(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	k, path, dir := newKeeper(t), privilegedCopy(t, proctest.SetuidRoot), proctest.ShortDir(t)
	pidfile, log := filepath.Join(dir, "x.pid"), filepath.Join(dir, "x.log")
	args := append(at("tcp,127.0.0.1:0"), "pidfile="+pidfile, "log="+log)
	got := proctest.CallCommand(t, managedByStranger(proctest.Command(becomingRoot, append(args, "start")...), path, k.server.Address))
	t.Cleanup(func() { callVerb(t, pidfile, "stop") })
	require.Equal(t, 0, got.Code, got.Stderr)
	require.Empty(t, k.heard())
	require.Equal(t, 0, callVerb(t, pidfile, "stop").Code)
	k.mu.Lock()
	defer k.mu.Unlock()
	require.Empty(t, k.kept)
	require.Empty(t, k.ready)
}

// Row L9.
func TestAProgramWithFileCapabilitiesReportsWhyItDoesNotDetach(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	path := privilegedCopy(t, mayChroot)
	dir := proctest.ShortDir(t)
	require.NoError(t, os.Chown(dir, service, service))
	pidfile := filepath.Join(dir, "x.pid")
	for _, args := range [][]string{{"start"}, {"supervise=foreground", "run"}} {
		got := proctest.CallCommand(t, byStranger(proctest.Command(daemon, append([]string{"pidfile=" + pidfile, "log="}, args...)...), path))
		require.Equal(t, 1, got.Code, got)
		require.Contains(t, got.Stderr, "the program file has capabilities(7)", args)
		require.Contains(t, got.Stderr, "AmbientCapabilities=", args)
		require.NoFileExists(t, pidfile)
	}
	p := proctest.Launch(t, byStranger(proctest.Command(daemon, "pidfile="+pidfile, "run"), path))
	p.Await("msg=ready")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait(), "the program runs in the foreground")
}

// forgingWorker is an unprivileged user that calls a program as its supervisor would.
//
//	forging worker PROGRAM PIDFILE args…
var forgingWorker = proctest.Register("forging worker", func(args []string) int {
	err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(service), syscall.Setuid(service))
	ours, theirs, pairErr := ctlsock.Pair()
	if err = errors.Join(err, pairErr); err != nil {
		fmt.Println(err)
		return 99
	}
	mark, _ := ctlsock.Mark(theirs)
	cmd := proctest.Command(daemon, args[2:]...)
	cmd.Path, cmd.Dir, cmd.ExtraFiles = args[0], "/", []*os.File{theirs}
	cmd.Env = append(cmd.Env, "_LIFECYCLE_WORKER=3:"+mark, "LD_X=1")
	_, _ = fmt.Fprintf(ours, "\n\x00{\"note\":{\"pid_file\":%q,\"detached\":false,\"first\":true}}\n", args[1])
	out, err := cmd.CombinedOutput()
	fmt.Printf("%s", out)
	return lifecycle.ExitCode(err)
})

// Row L9.
func TestTheCallerOfAProgramWithMoreRightsIsNotItsSupervisor(t *testing.T) {
	proctest.Use(forgingWorker)
	proctest.Needs(t, "root")
	t.Parallel()
	for what, give := range map[string]func(string) error{"setuid": proctest.SetuidRoot, "capabilities of the file": mayChroot} {
		path := privilegedCopy(t, give)
		evil, pidfile := filepath.Join(t.TempDir(), "evil.pid"), filepath.Join(filepath.Dir(path), "daemon.pid")
		require.NoError(t, os.WriteFile(pidfile, []byte("12345\n"), 0o644))
		requireUntouched := proctest.Untouched(t, pidfile)
		got := proctest.Call(t, forgingWorker, path, evil, "pidfile="+pidfile, "status")
		require.Equal(t, fmt.Sprintf("daemon: dead: pid 12345 left %s\n", pidfile), got.Stdout, what)
		requireUntouched()
		require.NoFileExists(t, evil)
	}
}

// Row L9.
func TestASetuidProgramCanSupervise(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	path := privilegedCopy(t, proctest.SetuidRoot)
	dir := proctest.ShortDir(t)
	p := proctest.Launch(t, byStranger(proctest.Command(daemon, "pidfile="+filepath.Join(dir, "x.pid"), "supervise=foreground", "run"), path))
	p.Await("msg=ready")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
}

// If the caller's time zone were a FIFO, the first line of the log would block forever.
// Row L9.
func TestASetuidProgramOpensNoTimeZoneFileOfItsCaller(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	path, dir := privilegedCopy(t, proctest.SetuidRoot), proctest.ShortDir(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	fifo := filepath.Join(dir, "zone")
	require.NoError(t, unix.Mkfifo(fifo, 0o644))
	cmd := byStranger(proctest.Command(daemon, "pidfile=", "run"), path)
	cmd.Env = append(cmd.Env, "TZ="+fifo)
	p := proctest.Launch(t, cmd)
	p.Await("msg=ready")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
}

// The caller of a setuid program must not choose which program is executed with its rights.
// Row L9.
func TestASetuidProgramDoesNotUseThePATHOfItsCaller(t *testing.T) {
	proctest.Needs(t, "root")
	t.Parallel()
	path, dir := privilegedCopy(t, proctest.SetuidRoot), proctest.ShortDir(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lifecycle-evil"), []byte("#!/bin/sh\n"), 0o755))
	cmd := byStranger(proctest.Command(lookingFor, "lifecycle-evil"), path)
	cmd.Env = append(cmd.Env, "PATH="+dir)
	got := proctest.CallCommand(t, cmd)
	require.Equal(t, 1, got.Code)
	require.True(t, strings.HasSuffix(got.Stdout, "not found in $PATH\n"), got.Stdout)
}

var lookingFor = proctest.Register("looking for", func(args []string) int {
	path, err := exec.LookPath(args[0])
	fmt.Println(path, err)
	return lifecycle.ExitCode(err)
})
