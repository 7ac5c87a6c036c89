package bench

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/pin"
)

// built maps each source to the path of the built program. TestMain removes the programs.
var built = struct {
	sync.Mutex
	dir   string
	paths map[string]string
}{paths: map[string]string{}}

// build builds a program of testdata. Its size then does not include the tests.
func build(b *testing.B, program string) (path string) {
	b.Helper()
	return buildWith(b, "./testdata/"+program, "")
}

// buildStatic builds a program without cgo, because cgo adds the C library to its memory.
func buildStatic(b *testing.B, program string) (path string) {
	b.Helper()
	return buildWith(b, "./testdata/"+program, "CGO_ENABLED=0")
}

func buildWith(b *testing.B, from, env string) (path string) {
	b.Helper()
	built.Lock()
	defer built.Unlock()
	if built.paths[env+from] == "" {
		path := filepath.Join(built.dir, strconv.Itoa(len(built.paths)), filepath.Base(from))
		cmd := exec.Command("go", "build", "-o", path, from)
		cmd.Env = os.Environ()
		if env != "" {
			cmd.Env = append(cmd.Env, env)
		}
		out, err := cmd.CombinedOutput()
		require.NoError(b, err, "%s", out)
		built.paths[env+from] = path
	}
	return built.paths[env+from]
}

// needsCgo skips the benchmark if cgo is not available.
func needsCgo(b *testing.B) {
	b.Helper()
	out, err := exec.Command("go", "env", "CGO_ENABLED").Output()
	require.NoError(b, err)
	if strings.TrimSpace(string(out)) != "1" {
		b.Skip("there is no C compiler here")
	}
}

// run runs a program until it ends. It uses no pipes, because a process in the background would
// keep them open.
func run(b *testing.B, path string, args ...string) {
	b.Helper()
	require.NoError(b, exec.Command(path, args...).Run(), "%s %v", path, args)
}

// service is a program in the background that serves a socket.
type service struct {
	start  func()   // returns when the service is ready
	stop   func()   // returns when the service is gone
	status []string // a command that reports whether it runs; nil if there is none
	pid    func() int

	every time.Duration // minimum time between two starts
	next  time.Time     // earliest time of the next start
}

// services lists the ways to keep a program in the background: with this library and with other
// tools.
var services = append([]maker{
	{name: "peer=go-daemon", make: goDaemon},
	{name: "lifecycle", make: func(b *testing.B) *service { return ours(b, build(b, "lifecycle")) }},
	{name: "lifecycle/supervised", make: func(b *testing.B) *service { return ours(b, build(b, "lifecycle"), "supervise") }},
}, peers...)

// maker makes a service. It may need a command that this machine lacks.
type maker struct {
	name    string
	command []string
	make    func(b *testing.B) *service
}

// missing returns what is missing, or "".
func (m maker) missing() string {
	if len(m.command) == 0 {
		return ""
	}
	_, err := exec.LookPath(m.command[0])
	if err == nil && len(m.command) > 1 {
		err = exec.Command(m.command[0], m.command[1:]...).Run()
	}
	if err == nil {
		return ""
	}
	return "not installed"
}

// skipWithout skips the benchmark if the command is missing.
func (m maker) skipWithout(b *testing.B) {
	b.Helper()
	if why := m.missing(); why != "" {
		b.Skip(why)
	}
}

// ours returns a service that uses this library.
func ours(b *testing.B, path string, more ...string) *service {
	b.Helper()
	pidfile, socket := places(b)
	verb := func(verb string) []string { return append([]string{pidfile, socket, verb}, more...) }
	return &service{
		start:  func() { run(b, path, verb("start")...) },
		stop:   func() { run(b, path, verb("stop")...) },
		status: append([]string{path}, verb("status")...),
		pid:    func() int { return readPID(b, pidfile) },
	}
}

// goDaemon returns a service that uses only go-daemon. The benchmark adds the report of ready and
// the stop, because go-daemon has neither.
func goDaemon(b *testing.B) *service {
	b.Helper()
	path := build(b, "godaemon")
	pidfile, socket := places(b)
	ready, err := net.Listen("unix", filepath.Join(filepath.Dir(socket), "ready"))
	require.NoError(b, err)
	b.Cleanup(func() { ready.Close() })
	return &service{
		start: func() {
			run(b, path, pidfile, socket, ready.Addr().String())
			conn, err := ready.Accept()
			require.NoError(b, err)
			conn.Close()
		},
		stop: func() { terminate(b, readPID(b, pidfile), pidfile, socket) },
		pid:  func() int { return readPID(b, pidfile) },
	}
}

func places(b *testing.B) (pidfile, socket string) {
	b.Helper()
	dir := b.TempDir()
	return filepath.Join(dir, "bench.pid"), filepath.Join(dir, "socket")
}

func readPID(b *testing.B, pidfile string) int {
	b.Helper()
	text, err := os.ReadFile(pidfile)
	require.NoError(b, err)
	pid, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	require.NoError(b, err)
	return pid
}

// terminate stops a service that has no stop of its own. It sends TERM, waits for the end of the
// process, and removes the remaining files.
func terminate(b *testing.B, pid int, leaves ...string) {
	b.Helper()
	process, err := pin.Open(pid)
	require.NoError(b, err)
	defer process.Close()
	require.NoError(b, process.Signal(syscall.SIGTERM))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(b, process.Wait(ctx))
	for _, path := range leaves {
		os.Remove(path)
	}
}

// awaitAnswer waits until the socket answers. It is for services that cannot report ready.
func awaitAnswer(b *testing.B, socket string) {
	b.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return
		}
		require.True(b, time.Now().Before(deadline), "%v", err)
		time.Sleep(100 * time.Microsecond)
	}
}
