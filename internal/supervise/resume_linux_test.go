package supervise

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/sdnotify"
	"example.com/lifecycle/internal/sys/takeover"
	"example.com/lifecycle/internal/sys/worker"
)

// helperVariable makes the test binary a supervisor that a test controls.
const helperVariable = "SUPERVISE_TEST_HELPER"

// helper is a supervisor in a separate process. It reads commands from stdin, and writes one answer
// or event per line to stdout.
type helper struct {
	s      *Supervisor
	result chan error
}

// supervisor is all code that a helper runs.
func supervisor() int {
	h := &helper{result: make(chan error, 1)}
	spec := testSpec(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	spec.On = func(e Event) { answer(fmt.Sprintf("event %T", e), e) }
	spec.StopTimeout = 3 * time.Second
	switch os.Getenv(helperVariable) {
	case "patient":
		spec.Policy.MinDelay = time.Second
	case "program":
		sleeps(&spec)
	}
	var err error
	if in := takeover.Inherited(); in != nil {
		h.s, err = Resume(spec, in.State, in.Files)
	} else {
		f, _ := os.Open(os.DevNull)
		spec.Stored = append(spec.Stored, fdstore.Entry{Name: "first", File: f})
		h.s = New(spec)
		err = h.s.Start(context.Background())
	}
	answer("runs", text(err))
	if err != nil {
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { h.result <- h.s.Run(ctx) }()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		command, path, _ := strings.Cut(in.Text(), " ")
		h.obey(command, path)
	}
	cancel()
	answer("stopped", text(h.s.Stop()))
	answer("result", text(<-h.result))
	h.s.Close()
	return 0
}

func (h *helper) obey(command, path string) {
	switch command {
	case "upgrade":
		r, err := h.s.Upgrade(context.Background(), UpgradeSpec{Path: path, DrainTimeout: 2 * time.Second, State: h.s.Snapshot})
		answer("upgraded", r, text(err))
	case "execute":
		state, files, err := h.s.Freeze()
		if err == nil {
			err = takeover.Execute(worker.OnForkThread, takeover.Spec{Path: path, Args: os.Args, Env: os.Environ(), State: state, Files: files})
			h.s.Thaw()
		}
		answer("executed", text(err))
	case "restart":
		answer("restarted", text(h.s.Restart()))
	case "look":
		h.s.mu.Lock()
		p := h.s.last.Load()
		seen := seen{PID: p.PID, State: stateNames[p.state], Executed: h.s.executed, Exits: len(h.s.backoff.exits), Others: len(h.s.others)}
		for _, k := range h.s.store.all {
			seen.Stored = append(seen.Stored, k.Name)
		}
		h.s.mu.Unlock()
		answer("look", seen)
	}
}

// seen is the answer to the command look.
type seen struct {
	PID      int
	State    string
	Executed int
	Exits    int
	Others   int
	Stored   []string
}

func text(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

func answer(what string, values ...any) {
	line, _ := json.Marshal(values)
	_, _ = fmt.Fprintln(os.Stdout, what, string(line))
}

// controlled is the connection of a test to its helper.
type controlled struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	said  []string
}

func newHelper(t *testing.T, kind string) *controlled {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	c := &controlled{t: t, cmd: exec.Command(exe), lines: make(chan string, 1000)}
	c.cmd.Env = append(os.Environ(), helperVariable+"="+kind)
	c.cmd.Stderr = t.Output()
	c.in, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	go func() {
		defer close(c.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			c.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = c.in.Close()
		_ = c.cmd.Wait()
	})
	require.Equal(t, `["ok"]`, c.await("runs"))
	return c
}

func (c *controlled) send(command string) {
	c.t.Helper()
	_, err := io.WriteString(c.in, command+"\n")
	require.NoError(c.t, err)
}

// await returns the values of the next line that begins with what. It also searches earlier lines
// that no await has returned.
func (c *controlled) await(what string) string {
	c.t.Helper()
	late := time.After(proctest.Patience)
	for i := 0; ; i++ {
		if i == len(c.said) {
			select {
			case line, ok := <-c.lines:
				require.True(c.t, ok, "the helper has ended before %q: %q", what, c.said)
				c.said = append(c.said, line)
			case <-late:
				require.Fail(c.t, "no "+what, "%q", c.said)
			}
		}
		if rest, found := strings.CutPrefix(c.said[i], what+" "); found {
			c.said = slices.Delete(c.said, i, i+1)
			return rest
		}
	}
}

func (c *controlled) look() (s seen) {
	c.t.Helper()
	c.send("look")
	all := []*seen{&s}
	require.NoError(c.t, json.Unmarshal([]byte(c.await("look")), &all))
	return s
}

// awaitReady waits until the current worker is ready.
func (c *controlled) awaitReady() (s seen) {
	c.t.Helper()
	proctest.Eventually(c.t, func() bool {
		s = c.look()
		return s.State == stateNames[ready]
	}, "a ready worker")
	return s
}

func exeOf(t *testing.T, pid int) string {
	t.Helper()
	exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	require.NoError(t, err)
	return filepath.Base(exe)
}

func TestAnotherProgramContinuesAsTheSupervisor(t *testing.T) {
	c := newHelper(t, "plain")
	require.Contains(t, c.await("event supervise.Started"), `"Restarts":0`)
	require.Equal(t, []string{"first"}, c.look().Stored)
	lingers := program(t, "lingers")
	c.send("upgrade " + lingers)
	require.Contains(t, c.await("upgraded"), `"ok"`)
	c.await("event supervise.Drained")
	v2 := program(t, "v2")
	c.send("upgrade " + v2)
	require.Contains(t, c.await("upgraded"), `"ok"`)
	before := c.look()
	require.Equal(t, 1, before.Others)
	c.send("execute " + v2)
	require.Equal(t, `["ok"]`, c.await("runs"))
	require.Equal(t, "v2", exeOf(t, c.cmd.Process.Pid))
	require.Equal(t, before, c.look())
	require.Contains(t, c.await("event supervise.Drained"), errNotDrained.Error(), "the deadline of a worker that drains stays")

	require.NoError(t, syscall.Kill(before.PID, syscall.SIGKILL))
	require.Contains(t, c.await("event supervise.Exited"), "SIGKILL")
	require.Contains(t, c.await("event supervise.Started"), `"Restarts":1`)
	after := c.awaitReady()
	require.Equal(t, "v2", exeOf(t, after.PID))
	require.Equal(t, 1, after.Exits)
	require.Equal(t, before.Stored, after.Stored)

	c.send("execute " + v2)
	require.Equal(t, `["ok"]`, c.await("runs"))
	require.Equal(t, after, c.look(), "the count of exits stays")
	require.NoError(t, c.in.Close())
	require.Equal(t, `["ok"]`, c.await("stopped"))
	require.Equal(t, `["ok"]`, c.await("result"))
	require.ErrorIs(t, syscall.Kill(after.PID, 0), syscall.ESRCH)
}

// The worker has ended, and the next one has not started.
func TestAnotherProgramContinuesToWaitBeforeARestart(t *testing.T) {
	c := newHelper(t, "patient")
	c.await("event supervise.Started")
	require.NoError(t, syscall.Kill(c.look().PID, syscall.SIGKILL))
	c.await("event supervise.Exited")
	v2 := program(t, "v2")
	c.send("execute " + v2)
	require.Equal(t, `["ok"]`, c.await("runs"))
	require.Equal(t, seen{State: "gone", Executed: 1, Exits: 1, Stored: []string{"first"}}, c.look())
	require.Contains(t, c.await("event supervise.Started"), `"Restarts":1`)
	require.Equal(t, "v2", exeOf(t, c.awaitReady().PID))
}

func TestAnotherProgramAdoptsASupervisedProgram(t *testing.T) {
	c := newHelper(t, "program")
	before := c.look()
	c.send("execute " + program(t, "v2"))
	require.Equal(t, `["ok"]`, c.await("runs"))
	require.Equal(t, before, c.look())
	require.NoError(t, syscall.Kill(before.PID, syscall.SIGKILL))
	require.Contains(t, c.await("event supervise.Exited"), "SIGKILL")
	c.awaitReady()
}

func TestASupervisorGoesOnIfItsNewProgramCannotBeExecuted(t *testing.T) {
	c := newHelper(t, "plain")
	c.await("event supervise.Started")
	before := c.look()
	c.send("execute " + filepath.Join(t.TempDir(), "none"))
	require.Contains(t, c.await("executed"), "no such file")
	require.Equal(t, before, c.look())
	require.NoError(t, syscall.Kill(before.PID, syscall.SIGKILL))
	c.await("event supervise.Started")
	c.send("restart")
	require.Equal(t, `["ok"]`, c.await("restarted"))
}

// When an unknown process sends a message, isWorker waits until no fork is in progress. Freeze
// forbids forks.
func TestMessagesOfUnknownProcessesDoNotBlockFreeze(t *testing.T) {
	r := run(t, nil)
	conn, err := net.Dial("unixgram", r.server.Address)
	require.NoError(t, err)
	defer conn.Close()
	var sender sync.WaitGroup
	defer sender.Wait()
	over := make(chan struct{})
	defer close(over)
	sender.Go(func() {
		for !isClosed(over) {
			_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			_, _ = conn.Write([]byte("STATUS=x"))
		}
	})
	for range 100 {
		_, _, err := r.Freeze()
		require.NoError(t, err)
		r.Thaw()
	}
	r.requireServing(r.pid())
}

func TestTheStateOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	s, p, _ := newProcess(t)
	p.handle(saidReady)
	state, err := s.Snapshot()
	require.NoError(t, err)
	require.NoError(t, CheckState(state))
	for _, bad := range []string{
		"", "[]", "{}", `{"version":2}`, `{"version":1}`,
		strings.Replace(string(state), `"ready"`, `"gone"`, 1),
		strings.Replace(string(state), `"version":1`, `"version":2`, 1),
	} {
		require.Error(t, CheckState(json.RawMessage(bad)), bad)
		_, err := Resume(s.spec, json.RawMessage(bad), nil)
		require.Error(t, err, bad)
	}
	_, err = Resume(s.spec, state, nil)
	require.ErrorContains(t, err, "cannot adopt a notify socket")
}

func testSpec(log *slog.Logger) Spec {
	return Spec{
		Args: []string{"worker"}, Note: func(bool) any { return nil }, Dir: func() string { return "" }, Umask: -1,
		Policy: Policy{
			MinDelay: time.Millisecond, MaxDelay: time.Second, Reset: time.Minute, Limit: 100, Window: time.Minute,
			Clean: []int{0}, StopSignal: syscall.SIGTERM, ReloadSignal: syscall.SIGHUP,
		},
		StartTimeout: 10 * time.Second, StartLimit: 10 * time.Second, StopTimeout: 10 * time.Second, ReloadTimeout: 10 * time.Second,
		Listen: sdnotify.Listen, Log: log,
		Tail:   func() func() string { return func() string { return "" } },
		Decode: func(text json.RawMessage) error { return fmt.Errorf("%s", text) },
		Text:   func(err error) string { return err.Error() },
	}
}

// Any sequence of upgrades, executions, crashes and restarts leaves one ready worker, and a stop
// leaves none.
func TestARandomWalkOverUpgradesLeavesOneReadyWorker(t *testing.T) {
	programs := []string{program(t, "v2"), program(t, "lingers"), program(t, "dies"), program(t, "collapses")}
	first, last := proctest.Seeds(t, 5, 200)
	for seed := first; seed <= last; seed++ {
		random := rand.New(rand.NewPCG(seed, 0))
		c := newHelper(t, "plain")
		workers := map[int]bool{}
		var walk []string
		for range 12 {
			now := c.awaitReady()
			workers[now.PID] = true
			step := [...]string{"upgrade", "upgrade", "execute", "kill", "restart"}[random.IntN(5)]
			path := programs[random.IntN(len(programs))]
			if step == "execute" {
				path = programs[random.IntN(2)]
			}
			walk = append(walk, step+" "+filepath.Base(path))
			t.Logf("seed %d: %s", seed, walk[len(walk)-1])
			switch step {
			case "upgrade":
				c.send("upgrade " + path)
				require.Equal(t, path == programs[0] || path == programs[1], strings.Contains(c.await("upgraded"), `"ok"`), "%d: %q", seed, walk)
			case "execute":
				c.send("execute " + path)
				require.Equal(t, `["ok"]`, c.await("runs"), "%d: %q", seed, walk)
			case "kill":
				_ = syscall.Kill(now.PID, syscall.SIGKILL)
				proctest.Eventually(t, func() bool { return c.look().PID != now.PID }, "the next worker")
			case "restart":
				c.send("restart")
				c.await("restarted")
			}
		}
		workers[c.awaitReady().PID] = true
		require.NoError(t, c.in.Close())
		require.Equal(t, `["ok"]`, c.await("stopped"), "%d: %q", seed, walk)
		require.NoError(t, c.cmd.Wait())
		for pid := range workers {
			require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "%d: %q", seed, walk)
		}
	}
}
