//go:build unix

package lifecycle_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
)

// exampleDrivers do with each program of _example what a user would.
var exampleDrivers = map[string]func(t *testing.T, program string){
	"agentctl": driveAgentctl,
	"echod":    driveEchod,
	"guard":    func(t *testing.T, program string) { driveGuard(t, program); driveGuardOfTheREADME(t, program) },
	"hello":    driveHello,
	"tour":     driveTour,
}

// examplePatience is when a test stops to wait: far beyond slow, so that only what hangs fails.
const examplePatience = 60 * time.Second

// TestExamples stands in for `go vet`, `go build` and `go test` with ./_example/..., which match nothing and say so with 0.
func TestExamples(t *testing.T) {
	entries, err := os.ReadDir("_example")
	require.NoError(t, err)
	found := map[string]bool{}
	for _, entry := range entries {
		name := entry.Name()
		if !entry.IsDir() && filepath.Ext(name) != ".go" || name == "deploy" { // which holds no program: package conformance runs what is in it
			continue
		}
		found[name] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drive, known := exampleDrivers[name]
			require.True(t, known, "_example/%s has no driver in exampleDrivers", name)
			exampleGo(t, "vet", "./_example/"+name)
			program := filepath.Join(t.TempDir(), name)
			exampleGo(t, "build", "-o", program, "./_example/"+name)
			drive(t, program)
		})
	}
	for name := range exampleDrivers {
		assert.True(t, found[name], "_example/%s is gone, its driver is not", name)
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
	require.NoError(t, os.WriteFile(filepath.Join(dir, "flaky.sh"), []byte("echo \"flaky: $1\"; test -e works || exit 3; exec sleep 60\n"), 0o644))
	guard := func(args ...string) *exampleProcess {
		return startExample(t, dir, program, append([]string{"-name", "flaky", "-pidfile", pidfile, "-log", log}, args...)...)
	}
	failed := guard("start", "--", "sh", "flaky.sh", "an argument")
	assert.Equal(t, 1, failed.wait())
	assert.Contains(t, failed.out.String(), "flaky: start failed: died before it was ready (exit 3); its last words:\n  | flaky: an argument\n")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "works"), nil, 0o644))
	start := guard("start", "--", "sh", "flaky.sh", "an argument")
	require.Equal(t, 0, start.wait(), start.out)
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
	assert.Contains(t, usage.out.String(), "which program?")
}

func driveAgentctl(t *testing.T, program string) {
	setup := func(t *testing.T) (dir string, agentctl func(args ...string) *exampleProcess) {
		tmp, err := os.MkdirTemp("", "") // the path of a socket may not be long
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
		says(t, agentctl("get", "shape"), 1, "agentctl: nothing is known of shape\n")
		status := agentctl("daemon", "status")
		assert.Equal(t, 0, status.wait())
		assert.Regexp(t, `^agentd: ready \(pid `+pid+`\) for \d+s\n$`, status.out.String())
		says(t, agentctl("daemon", "start"), 1, "agentd: already running (pid "+pid+")\n")

		socket, err := os.Lstat(filepath.Join(dir, "agentd.sock"))
		require.NoError(t, err)
		assert.Equal(t, os.ModeSocket, socket.Mode().Type())
		assert.Zero(t, socket.Mode().Perm()&0o077, "only its owner may connect: %v", socket.Mode())
		ends(t, dir, agentctl)

		says(t, agentctl("get", "colour"), 1, "agentctl: nothing is known of colour\n") // of a daemon that is new
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
		assert.Regexp(t, `^agentctl: cannot start the daemon: .*OnStart of socket: remove .*agentd.sock: directory not empty\n$`, p.out.String())
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

func driveEchod(t *testing.T, program string) {
	const good = `{"listen": "127.0.0.1:0", "greeting": "hello"}`
	setup := func(t *testing.T, config string) (dir string) {
		dir = t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "echod.json"), []byte(config), 0o600))
		return dir
	}
	echod := func(t *testing.T, dir string, args ...string) *exampleProcess {
		return startExample(t, dir, program, append([]string{"-pidfile", "echod.pid"}, args...)...)
	}

	t.Run("its own tests", func(t *testing.T) {
		exampleGo(t, "test", "./_example/echod")
	})

	t.Run("answers the request in hand over TERM", func(t *testing.T) {
		dir := setup(t, good)
		p := echod(t, dir, "run")
		p.waitFor("INFO ready")
		addr := p.waitFor(`INFO listening addr=(\S+)`)[1]

		// The server asks for the body with 100 Continue: then the request is in its hands.
		ctx, cancel := context.WithTimeout(t.Context(), examplePatience)
		defer cancel()
		asked := make(chan struct{})
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() { close(asked) }})
		body, held := io.Pipe()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/echo", body)
		require.NoError(t, err)
		req.Header.Set("Expect", "100-continue")
		type answer struct {
			code int
			body string
			err  error
		}
		answered := make(chan answer, 1)
		go func() {
			client := http.Client{Transport: &http.Transport{ExpectContinueTimeout: examplePatience, DisableKeepAlives: true}}
			resp, err := client.Do(req)
			if err != nil {
				answered <- answer{err: err}
				return
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			answered <- answer{resp.StatusCode, string(text), err}
		}()
		select {
		case <-asked:
		case got := <-answered:
			require.Fail(t, "answered before its body was sent", "%+v", got)
		}

		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		p.waitFor("INFO stopping")
		require.Eventually(t, func() bool {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
			}
			return err != nil
		}, examplePatience, 5*time.Millisecond, "still takes connections")
		select {
		case got := <-answered:
			require.Fail(t, "answered before its body was sent", "%+v", got)
		case <-p.exited:
			require.Fail(t, "echod did not wait for its request", p.out.String())
		default:
		}

		_, err = io.WriteString(held, "world")
		require.NoError(t, err)
		require.NoError(t, held.Close())
		assert.Equal(t, answer{200, "hello, world\n", nil}, <-answered)
		assert.Equal(t, 0, p.wait(), p.out)
		assert.NoFileExists(t, filepath.Join(dir, "echod.pid"))
	})

	t.Run("refuses a start with a bad configuration", func(t *testing.T) {
		for config, want := range map[string]string{
			"{\n\"lisen\": \":80\"\n}":                        `:2: unknown field "lisen"`,
			"{\n\"listen\": \":80\",\n\"level\": \"loud\"\n}": `:3: field "level": "loud" is not one of debug, info, warn, error`,
		} {
			dir := setup(t, config)
			want := "config: " + filepath.Join(dir, "echod.json") + want
			p := echod(t, dir, "run")
			assert.Equal(t, 1, p.wait())
			assert.Contains(t, p.out.String(), "echod: start failed: "+want+"\n")
			assert.NoFileExists(t, filepath.Join(dir, "echod.pid"))

			p = echod(t, dir, "check")
			assert.Equal(t, 6, p.wait())
			assert.Equal(t, "echod: check failed: "+want+"\n", p.out.String())
		}
	})

	t.Run("refuses a start where its address is taken", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		dir := setup(t, fmt.Sprintf(`{"listen": %q}`, taken.Addr()))
		p := echod(t, dir, "run")
		assert.Equal(t, 1, p.wait())
		assert.Contains(t, p.out.String(), fmt.Sprintf("echod: start failed: http: listen tcp %s: bind: %v\n",
			taken.Addr(), syscall.EADDRINUSE))
		assert.NoFileExists(t, filepath.Join(dir, "echod.pid"))
	})

	t.Run("goes into the background, appends to its log and takes its level", func(t *testing.T) {
		dir := setup(t, good)
		log := filepath.Join(dir, "echod.log")
		endInBackground(t, filepath.Join(dir, "echod.pid"))
		read := func() string {
			text, err := os.ReadFile(log)
			require.NoError(t, err)
			return string(text)
		}

		p := echod(t, dir, "-log", "echod.log", "status")
		assert.Equal(t, 3, p.wait())
		require.NoFileExists(t, log, "status logs nothing, so it creates nothing")

		p = echod(t, dir, "-log", "echod.log", "start")
		require.Equal(t, 0, p.wait(), p.out)
		assert.Regexp(t, `^echod: ready \(pid \d+, .*\), log `+regexp.QuoteMeta(log)+`\n$`, p.out.String())
		info, err := os.Stat(log)
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&^0o640, info.Mode())

		require.Eventually(t, func() bool { return strings.Contains(read(), "INFO ready") }, examplePatience, 5*time.Millisecond)
		before := read()
		p = echod(t, dir, "-log", "echod.log", "start")
		assert.Equal(t, 1, p.wait())
		assert.Contains(t, p.out.String(), "echod: already running")
		assert.Equal(t, before, read(), "the log is the first one's")

		addr := regexp.MustCompile(`INFO listening addr=(\S+)`).FindStringSubmatch(before)[1]
		get := func() {
			resp, err := http.Get("http://" + addr + "/healthz")
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, 200, resp.StatusCode)
		}
		get()
		assert.NotContains(t, read(), "DEBUG request")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "echod.json"),
			[]byte(`{"listen": "127.0.0.1:0", "level": "debug"}`), 0o600))
		p = echod(t, dir, "-log", "echod.log", "reload")
		require.Equal(t, 0, p.wait(), p.out)
		require.Eventually(t, func() bool {
			get()
			return strings.Contains(read(), "DEBUG request method=GET path=/healthz")
		}, examplePatience, 5*time.Millisecond)

		p = echod(t, dir, "stop")
		assert.Equal(t, 0, p.wait(), p.out)
		assert.True(t, strings.HasPrefix(read(), before))
		assert.Contains(t, read(), "INFO stopped")
	})

	t.Run("tells how it is used", func(t *testing.T) {
		dir := setup(t, good)
		for _, args := range [][]string{nil, {"dance"}, {"run", "-config", "echod.json"}, {"-color", "run"}} {
			p := startExample(t, dir, program, args...)
			assert.Equal(t, 2, p.wait(), "%q", args)
			assert.NotEmpty(t, p.out.String(), "%q", args)
		}
	})
}

func driveTour(t *testing.T, program string) {
	// start puts the tour into a process group, where all it starts stays findable, and its temporary files into tmp.
	start := func(t *testing.T, env ...string) (tour *exampleProcess, tmp string) {
		tmp = t.TempDir()
		tour = prepareExample(t, ".", program)
		tour.cmd.Env = append(append(tour.cmd.Env, "TMPDIR="+tmp), env...)
		tour.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		return tour, tmp
	}
	// What the tour detaches is in no group of its, but runs from its directory.
	assertNothingLeft := func(t *testing.T, tour *exampleProcess, tmp string) {
		assertEmptyDir(t, tmp)
		assert.ErrorIs(t, syscall.Kill(-tour.cmd.Process.Pid, 0), syscall.ESRCH, "a process is left")
		programs, err := filepath.Glob("/proc/[0-9]*/exe")
		require.NoError(t, err)
		for _, program := range programs {
			path, _ := os.Readlink(program)
			assert.False(t, strings.HasPrefix(path, tmp), "%s is left: %s", program, path)
		}
	}

	t.Run("all answers are right", func(t *testing.T) {
		tour, tmp := start(t)
		tour.start()
		assert.Equal(t, 0, tour.wait(), tour.out)
		assert.Contains(t, tour.out.String(), "Every answer was right.")
		assertShown(t, "echod", tour.out.String())
		assertNothingLeft(t, tour, tmp)
	})

	t.Run("interrupted", func(t *testing.T) {
		tour, tmp := start(t)
		tour.start()
		tour.waitFor("echod: ready")
		require.NoError(t, tour.cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, 1, tour.wait(), tour.out)
		assertNothingLeft(t, tour, tmp)
	})

	t.Run("interrupted while it builds", func(t *testing.T) {
		tour, tmp := start(t, "GOCACHE="+t.TempDir())
		tour.start()
		tour.waitFor("go build")
		require.Eventually(t, func() bool {
			builds, err := filepath.Glob(filepath.Join(tmp, "*", "go-build*"))
			return err == nil && len(builds) > 0
		}, examplePatience, time.Millisecond)
		require.NoError(t, tour.cmd.Process.Signal(os.Interrupt))
		assert.Equal(t, 1, tour.wait(), tour.out)
		assertNothingLeft(t, tour, tmp)
	})

	t.Run("nobody reads it any more", func(t *testing.T) { // tour | head -5
		tour, tmp := start(t)
		r, w, err := os.Pipe()
		require.NoError(t, err)
		defer r.Close()
		tour.cmd.Stdout = w
		tour.start()
		require.NoError(t, w.Close())
		for lines := bufio.NewScanner(r); ; { // up to a point where echod runs
			require.True(t, lines.Scan(), "%v", tour.out)
			if strings.Contains(lines.Text(), "echod: ready") {
				break
			}
		}
		require.NoError(t, r.Close())
		assert.Equal(t, 1, tour.wait(), tour.out)
		assertNothingLeft(t, tour, tmp)
	})

	t.Run("wrong answers", func(t *testing.T) {
		bin := t.TempDir() // with a go that builds an echod which does nothing
		require.NoError(t, os.WriteFile(filepath.Join(bin, "go"), []byte(`#!/bin/sh
printf '#!/bin/sh\n' >"$3"
chmod +x "$3"
`), 0o700))
		tour, tmp := start(t, "PATH="+bin+":"+os.Getenv("PATH"))
		tour.start()
		assert.Equal(t, 1, tour.wait(), tour.out)
		assert.Regexp(t, `(?s)\ntour: \d+ wrong\n.*echod start: exit code 0 and "", want 1 and "echod: start failed: `, tour.out.String())
		assertNothingLeft(t, tour, tmp)
	})
}

// endInBackground ends the daemon at that PID file, if there still is one when the test is over.
func endInBackground(t *testing.T, pidfile string) {
	t.Cleanup(func() {
		daemon, err := lifecycle.Find(pidfile)
		if err != nil {
			return
		}
		defer daemon.Close()
		ctx, cancel := context.WithTimeout(context.Background(), examplePatience)
		defer cancel()
		assert.NoError(t, daemon.Kill(ctx))
	})
}

// exampleProcess is a program that runs, or has run.
type exampleProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *exampleOutput // stdout and stderr
	exited chan struct{}
}

func prepareExample(t *testing.T, dir, program string, args ...string) *exampleProcess {
	p := &exampleProcess{t: t, cmd: exec.Command(program, args...), out: new(exampleOutput), exited: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // else each process takes a second to end
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	return p
}

func startExample(t *testing.T, dir, program string, args ...string) *exampleProcess {
	p := prepareExample(t, dir, program, args...)
	p.start()
	return p
}

func (p *exampleProcess) start() {
	require.NoError(p.t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	p.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
	})
}

// wait returns the exit code.
func (p *exampleProcess) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(examplePatience):
		require.Fail(p.t, "does not end", "%v:\n%v", p.cmd.Args, p.out)
	}
	return p.cmd.ProcessState.ExitCode()
}

// waitFor waits until the output has what the pattern matches, and returns the submatches.
func (p *exampleProcess) waitFor(pattern string) (match []string) {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(examplePatience); ; {
		ended := false
		select {
		case <-p.exited:
			ended = true // before the look, which sees its last words
		default:
		}
		if match = re.FindStringSubmatch(p.out.String()); match != nil {
			return match
		}
		require.False(p.t, ended || time.Now().After(deadline), "%v did not say %q but:\n%v", p.cmd.Args, pattern, p.out)
		time.Sleep(2 * time.Millisecond)
	}
}

// exampleOutput can be read while it is written.
type exampleOutput struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *exampleOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *exampleOutput) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// exampleGo runs the go command. What it builds and tests has the race detector where this test has it.
func exampleGo(t *testing.T, verb string, args ...string) {
	t.Helper()
	info, _ := debug.ReadBuildInfo()
	for _, setting := range info.Settings {
		if setting.Key == "-race" && setting.Value == "true" && verb != "vet" {
			args = append([]string{"-race"}, args...)
		}
	}
	out, err := exec.Command("go", append([]string{verb}, args...)...).CombinedOutput()
	require.NoError(t, err, "go %s %s\n%s", verb, strings.Join(args, " "), out)
}

func assertEmptyDir(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}
