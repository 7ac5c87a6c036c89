//go:build linux

package conformance

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAGuardSupervises runs each daemon of Debian under the guard: every verb, a crash, and a KILL
// of the guard.
func TestAGuardSupervises(t *testing.T) {
	for _, d := range slices.Concat(webServers, applications, services) {
		t.Run(strings.Trim(filepath.Base(d.command), "*"), func(t *testing.T) {
			t.Parallel()
			d.guard(t).goThrough()
		})
	}
}

func (g *guarded) goThrough() {
	g.startWithABrokenConfiguration()
	g.startOnABusyPort()
	g.t.Log(g.succeeds("start"))
	if g.begin != nil {
		g.begin(g)
	}
	require.Equal(g.t, g.first(), g.ask(g), "ready is true")
	g.requireOne()
	worker := g.status(workerPID)
	require.NotZero(g.t, worker)

	g.refuseABrokenConfiguration()
	g.reloads()
	g.reopens()
	g.requireOne()
	g.crash(g.second())
	g.requireOne()
	g.killGuard("start")
	g.killGuard("stop")
	g.succeeds("start")
	g.succeeds("restart")
	require.Equal(g.t, g.second(), g.ask(g))
	g.requireOne()
	g.stop()
}

// startOnABusyPort requires that a daemon that cannot bind its port fails the start.
func (g *guarded) startOnABusyPort() {
	g.t.Helper()
	if g.retries {
		return
	}
	release, err := holdPort(g.port)
	require.NoError(g.t, err)
	out, code := g.call("start")
	g.t.Logf("busy: %s", out)
	require.Equal(g.t, 1, code, out)
	g.requireNone()
	release()
}

func (g *guarded) startWithABrokenConfiguration() {
	g.t.Helper()
	if g.check == "" {
		return
	}
	defer g.breakConfiguration()()
	out, code := g.call("start")
	g.t.Logf("broken: %s", out)
	require.Equal(g.t, 1, code, out)
	g.requireNone()
}

// breakConfiguration writes a configuration with an error, and returns a function that mends it.
func (g *guarded) breakConfiguration() (mend func()) {
	g.t.Helper()
	good, err := os.ReadFile(g.config())
	require.NoError(g.t, err)
	require.NoError(g.t, os.WriteFile(g.config(), append(slices.Clone(good), "\n}nonsense(\n"...), 0o644))
	return func() { require.NoError(g.t, os.WriteFile(g.config(), good, 0o644)) }
}

// refuseABrokenConfiguration requires that no verb damages a running daemon.
func (g *guarded) refuseABrokenConfiguration() {
	g.t.Helper()
	if g.check == "" {
		return
	}
	mend := g.breakConfiguration()
	for verb, want := range map[string]int{"check": 6, "reload": 1, "restart": 6} {
		out, code := g.call(verb)
		require.Equal(g.t, want, code, "%s: %s", verb, out)
	}
	require.Equal(g.t, g.first(), g.ask(g))
	mend()
}

func (g *guarded) reloads() {
	g.t.Helper()
	worker := g.status(workerPID)
	g.configure(g.second())
	refused := g.connectAllTheTime()
	out, code := g.call("reload")
	g.t.Logf("reload: %s", out)
	if g.reload.code != either {
		require.Equal(g.t, g.reload.code, code, out)
	}
	require.Regexp(g.t, g.reload.says, out)
	if g.same && !g.ends {
		require.Equal(g.t, g.first(), g.ask(g))
	} else {
		eventually(g.t, func() bool { return g.ask(g) == g.second() }, "the new configuration")
	}
	if n, of := refused(); !g.gap && !g.ends {
		require.Zero(g.t, n, "connections refused, of %d", of)
	} else {
		g.t.Logf("refused: %d of %d", n, of)
	}
	if !g.ends {
		require.Equal(g.t, worker, g.status(workerPID), "it lives on")
	}
}

// connectAllTheTime returns a function that ends the connections and counts them.
func (g *guarded) connectAllTheTime() (end func() (refused, of int)) {
	stop, done := make(chan struct{}), make(chan [2]int)
	go func() {
		var n [2]int
		for {
			select {
			case <-stop:
				done <- n
				return
			default:
			}
			n[1]++
			conn, err := net.Dial("tcp", g.address())
			if err != nil {
				n[0]++
				continue
			}
			conn.Close()
		}
	}()
	return func() (refused, of int) {
		close(stop)
		n := <-done
		return n[0], n[1]
	}
}

// reopens requires that the verb reopen ends nothing, and that a daemon with a log of its own opens
// it again.
func (g *guarded) reopens() {
	g.t.Helper()
	worker := g.status(workerPID)
	log := g.file(g.ownLog)
	if g.ownLog != "" {
		require.NoError(g.t, os.Rename(log, log+".1"))
	}
	g.succeeds("reopen")
	if g.ownLog != "" {
		eventually(g.t, func() bool { g.ask(g); _, err := os.Stat(log); return err == nil }, "a new log")
	}
	require.Equal(g.t, worker, g.status(workerPID), "it lives on")
}

// crash kills the daemon, and waits until the next one gives that answer.
func (g *guarded) crash(answer string) {
	g.t.Helper()
	worker := g.status(workerPID)
	require.NoError(g.t, syscall.Kill(worker, syscall.SIGKILL))
	begun := time.Now()
	eventually(g.t, func() bool {
		next := g.status(workerPID)
		return next != 0 && next != worker && g.ask(g) == answer
	}, "the next one")
	g.t.Logf("back after %v", time.Since(begun))
}

// killGuard kills the guard, and requires that the verb ends what it has left.
func (g *guarded) killGuard(verb string) {
	g.t.Helper()
	before := g.processes()
	guard := g.status(guardPID)
	require.NoError(g.t, syscall.Kill(guard, syscall.SIGKILL))
	g.awaitEnd(guard)
	g.t.Logf("left by a killed guard: %v", g.processes().names())
	begun := time.Now()
	out, code := g.call(verb)
	g.t.Logf("%s after %v: %s", verb, time.Since(begun), out)
	if verb == "start" || strings.Contains(out, "left behind") {
		require.Equal(g.t, 0, code, out)
	}
	for pid, p := range before {
		now, ok := processOf(pid)
		require.False(g.t, ok && now.began == p.began, "%s (pid %d) has survived", p.name, pid)
	}
	if verb == "stop" {
		g.requireNone()
		return
	}
	require.Equal(g.t, g.second(), g.ask(g))
	g.requireOne()
}

// awaitEnd waits until all threads of a process have ended. The locks of the process are free after
// that.
func (g *guarded) awaitEnd(pid int) {
	g.t.Helper()
	eventually(g.t, func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		_, lives := processOf(pid)
		return !lives && len(threads) <= 1
	}, "the end of pid %d", pid)
}

// stop stops the daemon while a client reads an answer.
func (g *guarded) stop() {
	g.t.Helper()
	finish := func() bool { return !g.cuts }
	if g.slow != nil {
		finish = g.slow(g)
	}
	before := len(g.log())
	g.t.Log(g.succeeds("stop"))
	whole := finish()
	g.t.Logf("whole: %v", whole)
	require.Equal(g.t, !g.cuts, whole, "the request")
	g.requireNone()
	require.NotContains(g.t, g.log()[before:], "killed")
}

func (g *guarded) log() string {
	g.t.Helper()
	text, _ := os.ReadFile(g.file("log"))
	return string(text)
}
