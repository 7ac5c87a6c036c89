//go:build linux

package conformance

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// debian is a daemon of Debian and how it is run under _example/guard. In its texts, @DIR@ is the
// directory of the test, @PORT@ the port of the daemon, @CONFIG@ its configuration and @PROGRAM@
// its path. The configuration is in testdata, and has @ANSWER@ in it.
type debian struct {
	command string   // name in PATH, or a pattern of paths
	args    string   // separated by white space
	wrap    string   // command that executes the daemon
	flags   string   // flags of the guard, separated by white space
	check   string   // command that checks the configuration; "": there is none
	ready   string   // command that succeeds when the daemon is ready; "": a connection
	needs   []string // other commands, and files
	prepare func(g *guarded)
	change  func(g *guarded) // writes other files that determine g.answer; nil: there are none

	begin   func(g *guarded)             // after the first start
	ask     func(g *guarded) string      // returns the answer of the running daemon
	slow    func(g *guarded) func() bool // begins a request; the result awaits the answer
	answers [2]string                    // of the two configurations; default: one, two
	reload  verdict
	ownLog  string // log file that the daemon reopens
	gap     bool   // a reload refuses connections, or the daemon has no port
	same    bool   // a reload does not change the answer
	ends    bool   // a reload ends the daemon, and the guard restarts it
	retries bool   // the daemon goes on if its port is in use
	cuts    bool   // a stop cuts requests
}

// verdict is the result of the verb reload.
type verdict struct {
	says string // regular expression
	code int    // 0, 1, or either
}

func sent(signal string) verdict {
	return verdict{says: signal + ` sent; \S+ does not report the result\n$`}
}

const either = -1

var (
	reported = verdict{says: `: reloaded \(`}
	ignored  = verdict{`: reload rejected, old configuration kept: \S+ ignores SIGHUP\n$`, 1}
	wouldEnd = verdict{`: reload rejected, old configuration kept: \S+ does not handle SIGHUP, and the signal would end it\n$`, 1}
)

// guarded is a running daemon.
type guarded struct {
	*debian
	t      *testing.T
	name   string
	dir    string
	port   int
	answer string
	path   string
}

// with returns the daemon with more flags of the guard.
func (d debian) with(flags string) *debian {
	d.flags += " " + flags
	return &d
}

var nextPort atomic.Int32 // below the ports that the kernel gives to clients

// guard prepares a daemon, or skips the test. Every process of the daemon is in a UTS namespace of
// the test. The test can then find all of them.
func (d *debian) guard(t *testing.T) *guarded {
	t.Helper()
	if os.Getenv("LIFECYCLE_CONFORMANCE") == "" {
		t.Skip(`this test runs a daemon of Debian: "make conformance" installs it and runs the test`)
	}
	if os.Getuid() != 0 {
		t.Skip("this test needs root")
	}
	g := &guarded{debian: d, t: t, dir: t.TempDir()}
	var err error
	if g.path, err = exec.LookPath(d.command); err != nil {
		found, _ := filepath.Glob(d.command)
		if len(found) == 0 {
			t.Skipf("this test needs %s, which this machine lacks", d.command)
		}
		g.path = found[0]
	}
	for _, other := range d.needs {
		_, err := exec.LookPath(other)
		if strings.HasPrefix(other, "/") {
			_, err = os.Stat(other)
		}
		if err != nil {
			t.Skipf("this test needs %s, which this machine lacks", other)
		}
	}
	g.name = filepath.Base(g.path)
	runtime.LockOSThread() // without an unlock: the thread ends with the test
	if err := syscall.Unshare(syscall.CLONE_NEWUTS); err != nil {
		t.Skipf("this test needs a namespace: %v", err)
	}
	for dir := g.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755)) // for a daemon that changes its user
	}
	for err = errors.ErrUnsupported; err != nil; {
		g.port = 21000 + int(nextPort.Add(1))
		var release func()
		if release, err = holdPort(g.port); err == nil {
			release()
		}
	}
	if d.prepare != nil {
		d.prepare(g)
	}
	g.configure(g.first())
	t.Cleanup(func() {
		g.call("stop")
		for pid := range g.processes() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if t.Failed() {
			log, _ := os.ReadFile(g.file("log"))
			t.Logf("the log:\n%s", log)
		}
	})
	return g
}

// holdPort binds a port without SO_REUSEADDR, and does not listen. No other process can then bind
// the port, and no client can connect.
func holdPort(port int) (release func(), err error) {
	var fds []int
	release = func() {
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
	}
	for _, kind := range []int{syscall.SOCK_STREAM, syscall.SOCK_DGRAM} {
		fd, err := syscall.Socket(syscall.AF_INET, kind|syscall.SOCK_CLOEXEC, 0)
		if err == nil {
			fds = append(fds, fd)
			err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
		}
		if err != nil {
			release()
			return nil, err
		}
	}
	return release, nil
}

func (g *guarded) file(name string) string { return filepath.Join(g.dir, name) }

func (g *guarded) fill(text string) string {
	return strings.NewReplacer("@DIR@", g.dir, "@PORT@", strconv.Itoa(g.port), "@ANSWER@", g.answer, "@CONFIG@", g.config(),
		"@PROGRAM@", g.path, "@BIN@", filepath.Dir(g.path)).Replace(text)
}

func (g *guarded) config() string { return g.file(g.name + ".conf") }

// configure writes the configuration with that answer.
func (g *guarded) configure(answer string) {
	g.t.Helper()
	g.answer = answer
	if g.change != nil {
		g.change(g)
	}
	text, err := os.ReadFile(filepath.Join("testdata", strings.TrimSuffix(g.name, "8.2")+".conf"))
	if os.IsNotExist(err) {
		return
	}
	require.NoError(g.t, err)
	require.NoError(g.t, os.WriteFile(g.config(), []byte(g.fill(string(text))), 0o644))
}

// command returns the call of a verb of guard.
func (g *guarded) command(verb string) (argv []string) {
	g.t.Helper()
	dir, err := programs()
	require.NoError(g.t, err)
	ready := or(g.ready, "bash -c 'exec 3<>/dev/tcp/127.0.0.1/@PORT@'")
	argv = []string{filepath.Join(dir, "guard"), "-name", g.name, "-pidfile", g.file("guard.pid"), "-log", g.file("log"), "-ready", g.fill(ready)}
	if g.check != "" {
		argv = append(argv, "-check", g.fill(g.check))
	}
	argv = append(argv, strings.Fields(g.fill(g.flags))...)
	return append(append(argv, verb, "--"), strings.Fields(g.fill(g.wrap+" @PROGRAM@ "+g.args))...)
}

// call runs a verb of guard, and returns what it prints.
func (g *guarded) call(verb string) (out string, exitCode int) {
	g.t.Helper()
	argv := g.command(verb)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = g.dir
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	_ = cmd.Run()
	return text.String(), cmd.ProcessState.ExitCode()
}

func (g *guarded) succeeds(verb string) (out string) {
	g.t.Helper()
	out, code := g.call(verb)
	require.Equal(g.t, 0, code, "%s: %s", verb, out)
	return out
}

var (
	guardPID  = regexp.MustCompile(`\(pid (\d+)`)
	workerPID = regexp.MustCompile(`, worker (\d+)\)`)
)

// status returns a PID in the text of the verb status, or 0.
func (g *guarded) status(pattern *regexp.Regexp) (pid int) {
	g.t.Helper()
	out, _ := g.call("status")
	if found := pattern.FindStringSubmatch(out); found != nil {
		pid, _ = strconv.Atoi(found[1])
	}
	return pid
}

func (g *guarded) first() string  { return or(g.answers[0], "one") }
func (g *guarded) second() string { return or(g.answers[1], "two") }

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
