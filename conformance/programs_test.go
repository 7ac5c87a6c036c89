//go:build linux

package conformance

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/proc"
)

func TestAGuardSupervisesNginx(t *testing.T) {
	t.Parallel()
	g, nginx := needProgram(t, "nginx")
	g.nginx("one")
	g.write("big", "%s", strings.Repeat("x", 600<<10))
	conf := []string{nginx, "-c", g.path("nginx.conf")}
	g.program = conf
	g.flags = []string{
		"-check", strings.Join(append(conf, "-t", "-q"), " "), "-ready", g.connects(), "-stop-signal", "QUIT", "-reopen-signal", "USR1",
	}
	g.succeeds("start")
	require.Equal(t, "one", g.get("/"))

	// A second daemon cannot bind the same port.
	other := *g
	other.dir = t.TempDir()
	other.flags = []string{"-notify"}
	begun, code := other.call("start")
	require.Equal(t, 1, code)
	require.Contains(t, begun, "Address already in use")

	g.nginx("two")
	require.Equal(t, "nginx: SIGHUP sent; nginx does not report the result\n", g.succeeds("reload"))
	eventually(t, func() bool { return g.get("/") == "two" }, "the new configuration")
	g.nginx("three; }") // a typing error
	for verb, want := range map[string]int{"check": 6, "reload": 1, "restart": 6} {
		out, code := g.call(verb)
		require.Equal(t, want, code, "%s: %s", verb, out)
		require.Contains(t, out, "nginx.conf", verb)
	}
	require.Equal(t, "two", g.get("/"))

	require.NoError(t, os.Rename(g.path("access.log"), g.path("access.log.1")))
	g.nginx("four")
	g.succeeds("reopen")
	eventually(t, func() bool { _, err := os.Stat(g.path("access.log")); return err == nil }, "a new log")
	g.crash(func() bool { return g.get("/") == "four" })

	body := make(chan string)
	go func() { body <- g.get("/big") }()
	eventually(t, func() bool {
		out, _ := exec.Command("ss", "-tn", fmt.Sprintf("sport = :%d", g.port)).Output()
		return bytes.Contains(out, []byte("ESTAB"))
	}, "a download in hand")
	g.succeeds("stop")
	require.Len(t, <-body, 600<<10)
}

// The workers of nginx overwrite the memory of their environment. A command other than the verb
// reload replaces them, so the supervisor does not know of it. Its death ends only their parent.
func TestWorkersOfNginxThatSurviveAGuardAreEnded(t *testing.T) {
	t.Parallel()
	g, nginx := needProgram(t, "nginx")
	g.nginx("one")
	g.program = []string{nginx, "-c", g.path("nginx.conf")}
	g.flags = []string{"-ready", g.connects()}
	for _, verb := range []string{"stop", "start"} {
		g.succeeds("start")
		master := g.worker()
		before := childrenOf(t, master)
		require.NotEmpty(t, before)
		out, err := exec.Command(nginx, "-c", g.path("nginx.conf"), "-s", "reload").CombinedOutput()
		require.NoError(t, err, "%s", out)
		var left []int
		eventually(t, func() bool {
			left = childrenOf(t, master)
			return len(left) > 0 && !slices.ContainsFunc(left, func(pid int) bool { return slices.Contains(before, pid) })
		}, "other workers")
		text, err := os.ReadFile(g.path("pid"))
		require.NoError(t, err)
		supervisor, err := strconv.Atoi(strings.TrimSpace(string(text)))
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(supervisor, syscall.SIGKILL))
		eventually(t, func() bool { return hasGone(supervisor) && hasGone(master) }, "the end of the supervisor and of nginx")
		require.Equal(t, "one", g.get("/"), "its workers serve")
		out2, code := g.call("status")
		require.Equal(t, 1, code, "%s", out2)
		require.Contains(t, out2, fmt.Sprintf("nginx (pid %d)", left[0]))
		g.succeeds(verb)
		for _, pid := range left {
			p, lists := proc.Of(pid)
			require.True(t, !lists || p.Ended, "pid %d", pid)
		}
	}
	require.Equal(t, "one", g.get("/"))
	g.succeeds("stop")
}

func TestAGuardSupervisesRedis(t *testing.T) {
	t.Parallel()
	g, redis := needProgram(t, "redis-server")
	cli := func(args ...string) string {
		out, _ := exec.Command("redis-cli", append([]string{"-p", strconv.Itoa(g.port)}, args...)...).CombinedOutput()
		return strings.TrimSpace(string(out))
	}
	g.program = []string{redis, "--port", strconv.Itoa(g.port), "--dir", g.dir, "--appendonly", "yes"}
	g.flags = []string{"-ready", fmt.Sprintf("test $(redis-cli -p %d ping) = PONG", g.port)}
	g.succeeds("start")
	require.Equal(t, "OK", cli("set", "key", "value"))
	out, code := g.call("reload")
	require.Equal(t, 1, code)
	require.Equal(t, "redis-server: reload rejected, old configuration kept: redis-server ignores SIGHUP\n", out)
	g.succeeds("reopen")
	g.crash(func() bool { return cli("get", "key") == "value" })
	g.succeeds("restart")
	require.Equal(t, "value", cli("get", "key"))
	g.succeeds("stop")
}

func TestAGuardSupervisesPostgres(t *testing.T) {
	t.Parallel()
	g, postgres := needProgram(t, "postgres")
	if _, err := exec.Command("id", "-u", "postgres").Output(); err != nil || os.Getuid() != 0 {
		t.Skip("this test needs root and the user postgres")
	}
	path, err := filepath.EvalSymlinks(postgres)
	require.NoError(t, err)
	bin := filepath.Dir(path)
	data := g.path("data")
	require.NoError(t, exec.Command("install", "-d", "-o", "postgres", "-m", "700", data).Run())
	out, err := exec.Command("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", filepath.Join(bin, "initdb"), "-D", data, "-N", "-A", "trust").CombinedOutput()
	require.NoError(t, err, "%s", out)
	g.program = []string{path, "-D", data, "-p", strconv.Itoa(g.port), "-h", "127.0.0.1", "-k", ""}
	isReady := fmt.Sprintf("%s/pg_isready -q -h 127.0.0.1 -p %d", bin, g.port)
	g.flags = []string{"-user", "postgres", "-stop-signal", "INT", "-ready", isReady}
	g.succeeds("start")
	require.Equal(t, "postgres: SIGHUP sent; postgres does not report the result\n", g.succeeds("reload"))
	g.succeeds("reopen")
	g.crash(func() bool { return exec.Command("sh", "-c", isReady).Run() == nil })
	g.succeeds("restart")
	require.NoError(t, exec.Command("sh", "-c", isReady).Run())
	g.succeeds("stop")
	text, err := os.ReadFile(g.path("log"))
	require.NoError(t, err)
	require.Contains(t, string(text), "database system is shut down")
	require.NotContains(t, string(text), "killed")
}

func TestAGuardSupervisesMemcached(t *testing.T) {
	t.Parallel()
	g, memcached := needProgram(t, "memcached")
	g.program = []string{memcached, "-l", "127.0.0.1", "-p", strconv.Itoa(g.port), "-u", "nobody"}
	g.flags = []string{"-ready", g.connects()}
	answers := func() bool { return exec.Command("bash", "-c", g.connects()).Run() == nil }
	g.succeeds("start")
	worker := g.worker()
	g.call("reload")
	g.succeeds("reopen")
	require.Equal(t, worker, g.worker(), "the program still runs")
	g.crash(answers)
	g.succeeds("stop")
	require.False(t, answers())
}

func TestAGuardSupervisesHAProxy(t *testing.T) {
	t.Parallel()
	g, haproxy := needProgram(t, "haproxy")
	configure := func(body string) {
		g.write("haproxy.cfg", "defaults\n mode http\n timeout client 5s\n timeout connect 5s\n timeout server 5s\n"+
			"frontend f\n bind 127.0.0.1:%d\n http-request return status 200 content-type text/plain string %s\n", g.port, body)
	}
	configure("one")
	g.program = []string{haproxy, "-W", "-db", "-f", g.path("haproxy.cfg")}
	g.flags = []string{
		"-check", haproxy + " -c -q -f " + g.path("haproxy.cfg"), "-ready", g.connects(), "-reload-signal", "USR2",
	}
	g.succeeds("start")
	worker := g.worker()
	configure("two")
	require.Equal(t, "haproxy: SIGUSR2 sent; haproxy does not report the result\n", g.succeeds("reload"))
	eventually(t, func() bool { return g.get("/") == "two" }, "the new configuration")
	g.succeeds("reopen")
	require.Equal(t, worker, g.worker())
	configure("three\n nonsense")
	out, code := g.call("reload")
	require.Equal(t, 1, code, out)
	configure("four")
	g.crash(func() bool { return g.get("/") == "four" })
	g.succeeds("stop")
}
