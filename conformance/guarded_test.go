//go:build linux

package conformance

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/proc"
)

// guarded is a real daemon under _example/guard, on this machine.
type guarded struct {
	t       *testing.T
	dir     string
	name    string
	port    int
	flags   []string
	program []string
}

// needProgram returns a daemon of Debian and its path, or skips the test.
func needProgram(t *testing.T, command string) (g *guarded, path string) {
	t.Helper()
	if os.Getenv("LIFECYCLE_CONFORMANCE") == "" {
		t.Skip(`this test runs a daemon of Debian: "make conformance" installs it and runs the test`)
	}
	path, err := exec.LookPath(command)
	if installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + command); err != nil && len(installed) > 0 {
		path, err = installed[0], nil
	}
	if err != nil {
		t.Skipf("this test needs %s, which is not here", command)
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755)) // for a daemon that changes its user
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())
	g = &guarded{t: t, dir: dir, name: filepath.Base(command), port: port}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(g.path("log"))
			t.Logf("the log:\n%s", log)
		}
		g.call("stop")
	})
	return g, path
}

func (g *guarded) path(name string) string { return filepath.Join(g.dir, name) }

func (g *guarded) write(name, format string, args ...any) {
	g.t.Helper()
	require.NoError(g.t, os.WriteFile(g.path(name), fmt.Appendf(nil, format, args...), 0o644))
}

// call runs a verb of guard, and returns what it prints.
func (g *guarded) call(verb string) (out string, exitCode int) {
	g.t.Helper()
	dir, err := programs()
	require.NoError(g.t, err)
	args := append([]string{"-name", g.name, "-pidfile", g.path("pid"), "-log", g.path("log")}, g.flags...)
	cmd := exec.Command(filepath.Join(dir, "guard"), append(append(args, verb, "--"), g.program...)...)
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

// worker returns the PID of the daemon itself.
func (g *guarded) worker() (pid int) {
	g.t.Helper()
	out, _ := g.call("status")
	_, rest, _ := strings.Cut(out, ", worker ")
	digits, _, _ := strings.Cut(rest, ")")
	pid, _ = strconv.Atoi(digits)
	return pid
}

// crash kills the daemon and waits until the next one answers.
func (g *guarded) crash(answers func() bool) {
	g.t.Helper()
	first := g.worker()
	require.NotZero(g.t, first)
	require.NoError(g.t, syscall.Kill(first, syscall.SIGKILL))
	eventually(g.t, func() bool { next := g.worker(); return next != 0 && next != first && answers() }, "the next one")
}

// connects returns the value of -ready for a daemon that listens on its port.
func (g *guarded) connects() string {
	return fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d'", g.port)
}

func (g *guarded) get(path string) string {
	g.t.Helper()
	// A kept connection would delay a soft stop.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", g.port, path))
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(g.t, err)
	return string(body)
}

func (g *guarded) nginx(body string) {
	g.t.Helper()
	g.write("nginx.conf", `daemon off; worker_processes 2; pid %[1]s/nginx.pid; error_log stderr;
events {}
http { access_log %[1]s/access.log; root %[1]s; server { listen 127.0.0.1:%[2]d; location / { return 200 %[3]s; } location /big { limit_rate 400k; } } }
`, g.dir, g.port, body)
}

// childrenOf returns the children of a process.
func childrenOf(t *testing.T, pid int) (pids []int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	require.NoError(t, err)
	for field := range strings.FieldsSeq(string(text)) {
		child, err := strconv.Atoi(field)
		require.NoError(t, err)
		pids = append(pids, child)
	}
	return pids
}

// hasGone reports whether process 1 has waited for that process.
func hasGone(pid int) bool {
	_, lists := proc.Of(pid)
	return !lists
}
