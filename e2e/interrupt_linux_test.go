package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// A signal ends the launcher before the start has succeeded.
func TestAnInterruptedStartIsUndone(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGKILL} {
		for what, does := range map[string]string{"heeds": "start=wait", "does not": "start=hang"} {
			t.Run(fmt.Sprint(sig, " ", what), func(t *testing.T) {
				t.Parallel()
				b := inBackground(t)
				launcher, pid, _ := b.startHeld(does, "stoptimeout=200ms")
				launcher.Signal(sig)
				code := launcher.Wait()
				if sig == syscall.SIGKILL {
					require.Equal(t, -1, code)
					proctest.Eventually(t, func() bool { return proctest.IsOver(pid) }, "the end of pid %d", pid)
				} else {
					require.Equal(t, 1, code, "%s", launcher.Out)
					require.Contains(t, launcher.Out.String(), "daemon: start failed: stopped by signal: "+sig.String()+"\n")
					require.True(t, proctest.IsOver(pid), "the launcher has waited for the end of the daemon")
				}
				b.requireNothingLeft()
				b.start()
			})
		}
	}
}

// At the second signal, the launcher kills the start, because the user does not want to wait for
// the undoing.
func TestASecondInterruptKillsTheStart(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		b := inBackground(t)
		launcher, pid, _ := b.startHeld("start=hang", "stoptimeout=1h")
		launcher.Signal(sig)
		b.awaitSaid("msg=stopping")
		launcher.Signal(syscall.SIGHUP) // HUP no longer has an effect
		launcher.ForceQuit()
		require.Equal(t, 1, launcher.Wait(), "%s", launcher.Out)
		require.Equal(t, "daemon: start failed: stopped by signal: "+sig.String()+"; killed\n", launcher.Out.String())
		require.True(t, proctest.IsOver(pid))
		b.requireNothingLeft()
	}
}

// A launcher that is interrupted before the daemon calls Run ends the daemon.
func TestAnInterruptedStartBeforeRunIsUndone(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		b := inBackground(t)
		launcher := proctest.Start(t, scout, b.args("at=main", "do=until:/no/such/gate", "start")...)
		b.awaitSaid("scout\n")
		launcher.Signal(sig)
		require.Equal(t, 1, launcher.Wait(), "%s", launcher.Out)
		require.Equal(t, "scout: start failed: stopped by signal: "+sig.String()+"\n", launcher.Out.String())
		b.requireNothingLeft()
	}
}

// Stage 1 is paused after it has started the daemon and before it sends the PID. Therefore the
// launcher does not know the PID. Stage 1 writes to the launcher's socket only once, and this write
// is the message with the PID.
func TestAStartIsUndoneIfItIsInterruptedBeforeStage1SendsThePID(t *testing.T) {
	needsStrace(t)
	t.Parallel()
	b := inBackground(t)
	path := filepath.Join(t.TempDir(), "script")
	script := "#!/bin/sh\n" + proctest.Variable + `=scout exec strace -D -o /dev/null -P "$(readlink /proc/$$/fd/1)" -e trace=write -e inject=write:delay_enter=3000000 "` +
		proctest.Binary() + `" "$@" at=main do=until:/no/such/gate` + "\n"
	require.NoError(t, os.WriteFile(path, []byte(script), 0o755))
	cmd := proctest.Command(shapeShifter, b.args(path, "1m")...)
	cmd.Path = copyOfTestBinary(t)
	launcher := proctest.Launch(t, cmd)
	b.awaitSaid("scout\n")
	launcher.Signal(syscall.SIGTERM)
	require.Equal(t, 1, launcher.Wait(), "%s", launcher.Out)
	require.Equal(t, "scout: start failed: stopped by signal: terminated\n", launcher.Out.String())
	b.requireNothingLeft()
}

// nohup(1) protects a start from the hang-up.
func TestAHangUpDoesNotUndoAStartUnderNohup(t *testing.T) {
	proctest.Needs(t, "nohup")
	t.Parallel()
	b := inBackground(t)
	gate := filepath.Join(t.TempDir(), "gate")
	launcher := proctest.Launch(t, proctest.Wrapped([]string{"nohup"}, daemon, b.args("start=until:"+gate, "start")...))
	b.awaitSaid("OnStart\n")
	launcher.Signal(syscall.SIGHUP)
	awaitDelivery(t, launcher)
	proctest.Touch(t, gate)
	require.Equal(t, 0, launcher.Wait(), "%s", launcher.Out)
}

// If a signal interrupts a start at its very end, either the start fails and leaves nothing, or it
// succeeds and the daemon lives.
func TestAStartThatIsInterruptedAtItsEndReportsTheRightResult(t *testing.T) {
	t.Parallel()
	rounds := 8
	if testing.Short() {
		rounds = 4
	}
	b := inBackground(t)
	for round := range rounds {
		launcher, pid, gate := b.startHeld()
		proctest.Touch(t, gate)
		// The signals hit different moments of the handshake. No result depends on the time.
		time.Sleep(time.Duration(round) * 150 * time.Microsecond)
		_ = launcher.Cmd.Process.Signal(syscall.SIGTERM) // the launcher may have ended
		launcher.Wait()
		require.NoError(t, os.Truncate(b.log, 0))
		if launcher.Out.Count("ready (pid ") == 0 {
			// After the verdict, the launcher no longer handles TERM.
			if launcher.Cmd.ProcessState.ExitCode() == -1 {
				require.Equal(t, 0, b.call("stop").Code)
			}
			b.requireNothingLeft()
			continue
		}
		require.False(t, proctest.IsOver(pid))
		require.Equal(t, 0, b.call("status", "--ready").Code, "the launcher reported ready")
		b.stop()
	}
}
