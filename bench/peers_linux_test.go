package bench

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const python = "/usr/bin/python3" // of the distribution's package

// peers are other tools that keep a program in the background. All of them run the same program,
// except python-daemon, which needs its own.
var peers = append([]maker{
	{"peer=daemonize", []string{"daemonize"}, daemonize},
	{"peer=start-stop-daemon", []string{"start-stop-daemon"}, startStopDaemon},
	{"peer=python-daemon", []string{python, "-c", "import daemon.pidfile"}, pythonDaemon},
}, supervisors...)

// supervisors also restart the program. Their services belong to a supervisor that is already
// running.
var supervisors = []maker{
	{"peer=runit", []string{"runsv"}, runit},
	{"peer=s6", []string{"s6-supervise"}, s6},
}

// adopt makes this process the parent of orphaned background processes. This process can then reap
// them at once. Some process 1 reaps them late, and a tool that checks with kill(pid, 0) would wait
// for this.
func adopt() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// reap waits for the process if it is a child of this process. A process of a supervisor is not.
func reap(pid int) { go func() { _, _ = unix.Wait4(pid, nil, 0, nil) }() }

// serving returns the PID of the process that serves the socket.
func serving(b *testing.B, socket string) int {
	b.Helper()
	conn, err := net.Dial("unix", socket)
	require.NoError(b, err)
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	require.NoError(b, err)
	var cred *unix.Ucred
	require.NoError(b, raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }))
	require.NoError(b, err)
	return int(cred.Pid)
}

// daemonize(1) cannot report ready and has no stop.
func daemonize(b *testing.B) *service {
	b.Helper()
	program := build(b, "plain")
	pidfile, socket := places(b)
	return &service{
		start: func() {
			run(b, "daemonize", "-p", pidfile, "-l", pidfile+".lock", program, socket)
			awaitAnswer(b, socket)
		},
		stop: func() { terminate(b, serving(b, socket), pidfile, socket) },
		pid:  func() int { return serving(b, socket) },
	}
}

// start-stop-daemon(8) waits for sd_notify(3) when it starts, and for the end of the process when
// it stops.
func startStopDaemon(b *testing.B) *service {
	b.Helper()
	program := build(b, "plain")
	pidfile, socket := places(b)
	return &service{
		start: func() {
			run(b, "start-stop-daemon", "--start", "--background", "--notify-await", "--make-pidfile", "--pidfile", pidfile, "--exec", program, "--", socket)
			reap(readPID(b, pidfile))
		},
		stop: func() {
			run(b, "start-stop-daemon", "--stop", "--retry", "TERM/10", "--remove-pidfile", "--pidfile", pidfile)
		},
		status: []string{"start-stop-daemon", "--status", "--pidfile", pidfile},
		pid:    func() int { return readPID(b, pidfile) },
	}
}

// python-daemon cannot report ready and has no stop.
func pythonDaemon(b *testing.B) *service {
	b.Helper()
	pidfile, socket := places(b)
	return &service{
		start: func() {
			run(b, python, "testdata/python/service.py", pidfile, socket)
			awaitAnswer(b, socket)
		},
		stop: func() { terminate(b, serving(b, socket), pidfile, socket) },
		pid:  func() int { return serving(b, socket) },
	}
}

// serviceDirectory makes a service directory for runsv(8) or s6-supervise(8). The service is down
// at first.
func serviceDirectory(b *testing.B, command string) (dir string) {
	b.Helper()
	dir = b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(dir, "run"), fmt.Appendf(nil, "#!/bin/sh\nexec %s\n", command), 0o755))
	require.NoError(b, os.WriteFile(filepath.Join(dir, "down"), nil, 0o644))
	return dir
}

// supervisor starts a supervisor. The supervisor and its service end with the benchmark.
func supervisor(b *testing.B, name, dir string) *exec.Cmd {
	b.Helper()
	cmd := exec.Command(name, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	return cmd
}

// sv(8) checks every 420 ms whether its request was fulfilled.
func runit(b *testing.B) *service {
	b.Helper()
	_, socket := places(b)
	dir := serviceDirectory(b, build(b, "plain")+" "+socket)
	cmd := supervisor(b, "runsv", dir)
	awaitFile(b, filepath.Join(dir, "supervise", "ok"))
	return &service{
		start: func() {
			run(b, "sv", "up", dir) // up does not wait
			awaitAnswer(b, socket)
		},
		stop:   func() { run(b, "sv", "stop", dir) },
		status: []string{"sv", "status", dir},
		pid:    func() int { return cmd.Process.Pid },
		every:  1100 * time.Millisecond,
	}
}

func s6(b *testing.B) *service {
	b.Helper()
	_, socket := places(b)
	dir := serviceDirectory(b, build(b, "plain")+" "+socket+" 3")
	require.NoError(b, os.WriteFile(filepath.Join(dir, "notification-fd"), []byte("3\n"), 0o644))
	cmd := supervisor(b, "s6-supervise", dir)
	awaitFile(b, filepath.Join(dir, "supervise", "status"))
	return &service{
		start:  func() { run(b, "s6-svc", "-uwU", dir) },
		stop:   func() { run(b, "s6-svc", "-dwD", dir) },
		status: []string{"s6-svstat", dir},
		pid:    func() int { return cmd.Process.Pid },
	}
}
