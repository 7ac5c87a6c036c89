package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// When the launcher continues, its time limit has passed. It has not yet read the messages that the
// daemon has sent in time.
func TestAResumedLauncherReadsQueuedMessagesBeforeItReportsATimeout(t *testing.T) {
	t.Parallel()
	for impatience := 300 * time.Millisecond; ; impatience *= 2 {
		b := inBackground(t)
		gate, begun := filepath.Join(t.TempDir(), "gate"), time.Now()
		launcher := proctest.Start(t, scout, b.args("at=main", "do=until:"+gate, "impatience="+impatience.String(), "start")...)
		proctest.Eventually(t, func() bool { return b.said() != "" || time.Since(begun) > impatience }, "main")
		if b.said() == "" {
			continue // on a busy machine, the daemon may be late anyway
		}
		resume := launcher.Suspend()
		if time.Since(begun) > impatience {
			resume()
			launcher.Wait()
			continue
		}
		time.Sleep(time.Until(begun.Add(impatience)))
		proctest.Touch(t, gate)
		proctest.Eventually(t, func() bool { text, _ := os.ReadFile(b.pidfile); return len(text) > 0 }, "the PID in the PID file")
		resume()
		require.Equal(t, 0, launcher.Wait(), "%s", launcher.Out)
		pid := b.readied(proctest.Result{Stderr: launcher.Out.String()})
		requireRunning(t, b.pidfile, pid)
		return
	}
}

func TestAStartIsUndoneIfItsLauncherIsSuspendedTooLong(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	launcher, pid, gate := b.startHeld("starttimeout=2s")
	resume := launcher.Suspend()
	proctest.Touch(t, gate)
	proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)
	require.Contains(t, b.said(), "OnExit done\n", "the daemon has undone its start")
	resume()
	require.Equal(t, 1, launcher.Wait())
	require.Regexp(t, `^daemon: start failed: (stopped before it was ready: the launcher has ended or does not answer, so the start is undone\n|.*in 2s)`, launcher.Out.String(),
		"on a machine that is busy the time may be over before the gate is open")
	b.requireNothingLeft()
}

// Row D16.
func TestASuspendedDaemonIsStopped(t *testing.T) {
	t.Parallel()
	pidfile := proctest.PIDPath(t)
	endAll(t, pidfile)
	require.Equal(t, 0, callVerb(t, pidfile, "start").Code)
	pid := processesOf(pidfile)[0]
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	proctest.Eventually(t, func() bool { return strings.HasPrefix(statusField(t, pid, "State"), "T") }, "the daemon to stand still")
	requireRunning(t, pidfile, pid)
	stopped := callVerb(t, pidfile, "stop")
	require.Equal(t, 0, stopped.Code, stopped.Stderr)
	require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, .* m?s\)\n$`, pid), stopped.Stderr)
	requireNothingLeft(t, pidfile)
}

// A verb that was suspended until its limit has passed reports the result, not a timeout.
// Row D16.
func TestAResumedVerbReportsTheRightResult(t *testing.T) {
	t.Parallel()
	for verb, want := range map[string]struct {
		hook, said string
		time       time.Duration // the limit of the verb
	}{
		"reload": {"OnReload\n", "daemon: reloaded (", 700 * time.Millisecond},
		"stop":   {"OnStop\n", "daemon: stopped (", 2300 * time.Millisecond},
	} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			var suspended []*proctest.Process
			for range 4 { // the verb may notice either of two events first
				b := inBackground(t)
				gate := filepath.Join(t.TempDir(), "gate")
				pid := b.start("reload=until:"+gate, "stop=until:"+gate, "stoptimeout=200ms")
				p := proctest.Start(t, daemon, b.args("reloadtimeout=200ms", "stoptimeout=200ms", verb)...)
				b.awaitSaid(want.hook)
				p.Signal(syscall.SIGSTOP)
				proctest.Touch(t, gate)
				if verb == "reload" {
					b.awaitSaid("msg=reloaded")
				} else {
					proctest.Eventually(t, func() bool { return isFree(t, b.pidfile) && proctest.IsOver(pid) }, "the end of pid %d", pid)
				}
				suspended = append(suspended, p)
			}
			time.Sleep(want.time)
			for _, p := range suspended {
				p.Signal(syscall.SIGCONT)
				require.Equal(t, 0, p.Wait(), "%s", p.Out)
				require.Contains(t, p.Out.String(), want.said)
			}
		})
	}
}

func TestTheLockGoesFromTheLauncherToTheDaemonWithoutAGap(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	launcher, pid, gate := b.startHeld()
	require.NotEqual(t, launcher.PID(), pid)
	for _, verb := range []string{"start", "run"} {
		require.Equal(t, proctest.Result{Stderr: fmt.Sprintf("daemon: already running (pid %d), not ready yet\n", pid), Code: 1}, b.call(verb))
	}
	h := mustLook(t, b.pidfile)
	require.Equal(t, holder{Held: true, Daemon: true, Known: true, PID: pid, Number: pid, Owner: os.Geteuid()}, h, "the kernel reports this owner of the lock")
	proctest.Touch(t, gate)
	require.Equal(t, 0, launcher.Wait())
	require.Equal(t, pid, b.readied(proctest.Result{Stderr: launcher.Out.String()}))
	require.Equal(t, h, mustLook(t, b.pidfile))
}

func TestADaemonIsNotReadyBeforeItsSuspendedLauncherReadsTheMessage(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	launcher, pid, gate := b.startHeld()
	resume := launcher.Suspend()
	proctest.Touch(t, gate)
	b.awaitSaid("fn\n")
	require.Equal(t, 150, b.call("status", "--ready").Code)
	require.Equal(t, lifecycle.Starting, stateOf(t, b.pidfile).Phase)
	resume()
	require.Equal(t, 0, launcher.Wait())
	require.Equal(t, pid, b.readied(proctest.Result{Stderr: launcher.Out.String()}))
	require.Equal(t, 0, b.call("status", "--ready").Code)
}
