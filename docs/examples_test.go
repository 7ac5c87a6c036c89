//go:build unix

package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
)

// exampleDrivers maps each program of _example to a function that uses the program as a user would.
var exampleDrivers = map[string]func(t *testing.T, program string){
	"agentctl": driveAgentctl,
	"echod":    driveEchod,
	"guard":    func(t *testing.T, program string) { driveGuard(t, program); driveGuardOfTheREADME(t, program) },
	"hello":    driveHello,
	"tour":     driveTour,
}

// examplePatience is how long a test waits before it fails. Only a program that hangs takes this
// long.
const examplePatience = 60 * time.Second

// TestExamples vets, builds and tests the programs of _example, because `go vet ./_example/...`
// matches no packages. One command builds all programs, because each command loads all packages
// again.
func TestExamples(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("_example")
	require.NoError(t, err)
	var folders []string
	for _, entry := range entries {
		name := entry.Name()
		// The folder deploy contains no program; package conformance runs its files.
		if !entry.IsDir() && filepath.Ext(name) != ".go" || name == "deploy" {
			continue
		}
		assert.Contains(t, exampleDrivers, name, "_example/%s has no driver in exampleDrivers", name)
		folders = append(folders, "./_example/"+name)
	}
	exampleGo(t, "vet", folders...)
	programs := t.TempDir()
	exampleGo(t, "build", append([]string{"-ldflags=-s -w", "-o", programs + "/"}, folders...)...)
	for name, drive := range exampleDrivers {
		require.Contains(t, folders, "./_example/"+name, "_example/%s is gone, its driver is not", name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drive(t, filepath.Join(programs, name))
		})
	}
}

func driveHello(t *testing.T, program string) {
	dir := t.TempDir()
	hello := startExample(t, dir, program, "run")
	hello.waitFor("ready")
	hello.waitFor("hello, world\n")

	second := startExample(t, dir, program, "run")
	assert.Equal(t, 1, second.wait())
	assert.Contains(t, second.out.String(), fmt.Sprintf("hello: already running (pid %d)\n", hello.cmd.Process.Pid))

	require.NoError(t, hello.cmd.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, 0, hello.wait(), hello.out)
	assertEmptyDir(t, dir)
}

func driveGuard(t *testing.T, program string) {
	dir := t.TempDir()
	pidfile, log := filepath.Join(dir, "flaky.pid"), filepath.Join(dir, "flaky.log")
	endInBackground(t, pidfile)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "flaky.sh"), []byte("echo \"flaky: $1\"; test -e works || exit 3; : >runs; exec sleep 60\n"), 0o644))
	guard := func(args ...string) *exampleProcess {
		return startExample(t, dir, program, append([]string{"-name", "flaky", "-pidfile", pidfile, "-log", log}, args...)...)
	}
	failed := guard("start", "--", "sh", "flaky.sh", "an argument")
	assert.Equal(t, 1, failed.wait())
	assert.Contains(t, failed.out.String(), "flaky: start failed: died before it was ready (exit 3); its last words:\n  | flaky: an argument\n")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "works"), nil, 0o644))
	start := guard("start", "--", "sh", "flaky.sh", "an argument")
	require.Equal(t, 0, start.wait(), start.out)
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, "runs")); return err == nil }, examplePatience, time.Millisecond)
	require.NoError(t, os.Remove(filepath.Join(dir, "works")))
	status := func() string {
		p := guard("status")
		assert.Equal(t, 0, p.wait())
		return p.out.String()
	}
	first := regexp.MustCompile(`ready \(pid (\d+), worker (\d+)\)`).FindStringSubmatch(status())
	require.NotNil(t, first, status())
	worker, err := strconv.Atoi(first[2])
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		return strings.Contains(status(), "restarting (pid "+first[1]+")") && strings.Contains(status(), "; last: exit 3")
	}, examplePatience, time.Millisecond)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "works"), nil, 0o644))
	require.Eventually(t, func() bool { return strings.Contains(status(), "ready (pid "+first[1]+", worker ") }, examplePatience, time.Millisecond)
	assert.Contains(t, status(), "restart")
	stop := guard("stop")
	assert.Equal(t, 0, stop.wait(), stop.out)
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	assert.Contains(t, string(text), `the worker has ended how="signal SIGKILL"`)

	usage := guard("start")
	assert.Equal(t, 2, usage.wait())
	assert.Contains(t, usage.out.String(), "no program given")
}

func driveAgentctl(t *testing.T, program string) {
	setup := func(t *testing.T) (dir string, agentctl func(args ...string) *exampleProcess) {
		tmp, err := os.MkdirTemp("", "") // the path of a socket must be short
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(tmp) })
		dir = filepath.Join(tmp, "agent")
		require.NoError(t, os.Mkdir(dir, 0o755))
		endInBackground(t, filepath.Join(dir, "agentd.pid"))
		return dir, func(args ...string) *exampleProcess {
			return startExample(t, tmp, program, append([]string{"-dir", "agent"}, args...)...)
		}
	}
	says := func(t *testing.T, p *exampleProcess, code int, want string) {
		t.Helper()
		assert.Equal(t, code, p.wait())
		assert.Equal(t, want, p.out.String(), "%q", p.cmd.Args)
	}
	ends := func(t *testing.T, dir string, agentctl func(args ...string) *exampleProcess) {
		t.Helper()
		stop := agentctl("daemon", "stop")
		assert.Equal(t, 0, stop.wait(), stop.out)
		left, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		assert.Equal(t, []string{filepath.Join(dir, "agentd.log")}, left)
		says(t, agentctl("daemon", "status"), 3, "agentd: not running (nobody holds "+filepath.Join(dir, "agentd.pid")+")\n")
	}
	pidOf := func(t *testing.T, dir string) string {
		t.Helper()
		pid, err := os.ReadFile(filepath.Join(dir, "agentd.pid"))
		require.NoError(t, err)
		return strings.TrimSpace(string(pid))
	}

	t.Run("starts its daemon when it needs one", func(t *testing.T) {
		dir, agentctl := setup(t)
		says(t, agentctl("set", "colour", "red"), 0, "")
		pid := pidOf(t, dir)
		says(t, agentctl("get", "colour"), 0, "red\n")
		says(t, agentctl("set", "a key/with ü", "two words"), 0, "")
		says(t, agentctl("get", "a key/with ü"), 0, "two words\n")
		says(t, agentctl("get", "shape"), 1, "agentctl: unknown key shape\n")
		status := agentctl("daemon", "status")
		assert.Equal(t, 0, status.wait())
		assert.Regexp(t, `^agentd: ready \(pid `+pid+`\) for \d+s\n  log: /.*\n$`, status.out.String())
		says(t, agentctl("daemon", "start"), 1, "agentd: already running (pid "+pid+")\n")

		socket, err := os.Lstat(filepath.Join(dir, "agentd.sock"))
		require.NoError(t, err)
		assert.Equal(t, os.ModeSocket, socket.Mode().Type())
		assert.Zero(t, socket.Mode().Perm()&0o077, "only its owner may connect: %v", socket.Mode())
		ends(t, dir, agentctl)

		says(t, agentctl("get", "colour"), 1, "agentctl: unknown key colour\n") // of a new daemon
		assert.NotEqual(t, pid, pidOf(t, dir))
		ends(t, dir, agentctl)
	})

	t.Run("starts one daemon however many need it", func(t *testing.T) {
		dir, agentctl := setup(t)
		var all []*exampleProcess
		for i := range 20 {
			all = append(all, agentctl("set", fmt.Sprint("key", i), fmt.Sprint("value", i)))
		}
		for _, p := range all {
			says(t, p, 0, "")
		}
		for i := range 20 {
			says(t, agentctl("get", fmt.Sprint("key", i)), 0, fmt.Sprintf("value%d\n", i))
		}
		log, err := os.ReadFile(filepath.Join(dir, "agentd.log"))
		require.NoError(t, err)
		assert.Equal(t, 1, strings.Count(string(log), "ready pid="), "%s", log)
		ends(t, dir, agentctl)
	})

	t.Run("takes over from one that died", func(t *testing.T) {
		dir, agentctl := setup(t)
		says(t, agentctl("set", "colour", "red"), 0, "")
		daemon, err := lifecycle.Find(filepath.Join(dir, "agentd.pid"))
		require.NoError(t, err)
		defer daemon.Close()
		require.NoError(t, daemon.Kill(t.Context()))
		require.FileExists(t, filepath.Join(dir, "agentd.sock"))
		says(t, agentctl("set", "colour", "blue"), 0, "")
		says(t, agentctl("get", "colour"), 0, "blue\n")
		ends(t, dir, agentctl)
	})

	t.Run("says why its daemon does not start", func(t *testing.T) {
		dir, agentctl := setup(t)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "agentd.sock", "in", "the", "way"), 0o755))
		p := agentctl("get", "colour")
		assert.Equal(t, 1, p.wait())
		assert.Regexp(t, `^agentctl: cannot start the daemon: .*OnStart of socket: remove .*agentd.sock: directory not empty \(log /.*\)\n$`, p.out.String())
		assert.NoFileExists(t, filepath.Join(dir, "agentd.pid"))
	})

	t.Run("tells how it is used", func(t *testing.T) {
		dir, agentctl := setup(t)
		for _, args := range [][]string{nil, {"dance"}, {"set", "colour"}, {"get"}, {"get", "a", "b"}, {"-colour", "red"}, {"daemon"}, {"daemon", "dance"}} {
			p := agentctl(args...)
			assert.Equal(t, 2, p.wait(), "%q", args)
			assert.Contains(t, p.out.String(), "usage: agent", "%q", args)
		}
		assertEmptyDir(t, dir)
	})
}
