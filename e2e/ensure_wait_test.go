package e2e

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/handshake"
	"example.com/lifecycle/internal/proctest"
)

func TestEnsureWaitsForAStartInProgress(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	pidfile := verbPlace(t)
	p := proctest.Start(t, daemon, "pidfile="+pidfile, "start=until:"+gate)
	p.Await("OnStart")
	e := ensureProgram(t, "once", pidfile)
	e.Await("calls Ensure")
	select {
	case <-e.Done:
		t.Fatalf("it does not wait: %s", e.Out)
	default:
	}
	proctest.Touch(t, gate)
	require.Equal(t, 0, e.Wait(), e.Out)
	require.Equal(t, p.PID(), verbSays(t, ensureReady, e.Out.String()))
	requireLives(t, p)
}

func TestEnsureStartsTheDaemonIfAnotherStartFails(t *testing.T) {
	t.Parallel()
	pidfile, log := verbPlace(t), logPlace(t)
	other := proctest.Start(t, daemon, "pidfile="+pidfile, "log="+log, "start=wait", "starttimeout=2s", "start")
	awaitLog(t, log, "OnStart\n")
	code, says := callEnsure(t, "once", pidfile)
	require.Equal(t, 0, code, says)
	require.Equal(t, 1, other.Wait())
	requireVerbRuns(t, pidfile, verbSays(t, ensureReady, says))
}

func TestEnsureWaitsForAStopAndStartsTheDaemonAgain(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	pidfile := verbPlace(t)
	p := proctest.Start(t, daemon, "pidfile="+pidfile, "stop=until:"+gate)
	p.Await("msg=ready")
	p.Signal(syscall.SIGTERM)
	p.Await("OnStop")
	e := ensureProgram(t, "once", pidfile)
	e.Await("calls Ensure")
	proctest.Touch(t, gate)
	require.Equal(t, 0, e.Wait(), e.Out)
	require.Equal(t, 0, p.Wait())
	pid := verbSays(t, ensureReady, e.Out.String())
	require.NotEqual(t, p.PID(), pid)
	requireVerbRuns(t, pidfile, pid)
}

// The caller's own limit would expire after about 2 s.
func TestEnsureUsesTheLimitsOfTheDaemon(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"the start", "the roll-back"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b, dir := inBackground(t), t.TempDir()
			gate, enough := filepath.Join(dir, "gate"), filepath.Join(dir, "enough")
			var e *proctest.Process
			// A busy machine takes some time to reach Run.
			for impatience := 200 * time.Millisecond; b.said() == ""; impatience *= 2 {
				e = ensureProgram(t, "until:"+enough, b.pidfile, "log="+b.log, "impatience="+impatience.String(), "start=until:"+gate)
				proctest.Eventually(t, func() bool {
					select {
					case <-e.Done:
						return true
					default:
						return b.said() != ""
					}
				}, "OnStart")
			}
			if what == "the roll-back" {
				proctest.Touch(t, enough)
				b.awaitSaid("msg=stopping")
			}
			select {
			case <-e.Done:
				t.Fatalf("it does not wait: %s", e.Out)
			case <-time.After(handshake.StopMargin + 700*time.Millisecond):
			}
			proctest.Touch(t, gate)
			if what == "the start" {
				require.Equal(t, 0, e.Wait(), e.Out)
				requireVerbRuns(t, b.pidfile, verbSays(t, ensureReady, e.Out.String()))
				return
			}
			require.Equal(t, 1, e.Wait())
			require.Contains(t, e.Out.String(), "is: enough\n")
			require.Contains(t, b.said(), "msg=stopped", "the daemon was not killed")
			b.requireNothingLeft()
		})
	}
}

// The stop exceeds its limit. The start does not.
func TestAStopDuringAStartThatTakesTooLongIsErrStopTimeout(t *testing.T) {
	t.Parallel()
	held := func(launch func(b *background) *proctest.Process) (launcher *proctest.Process) {
		b := inBackground(t)
		launcher = launch(b)
		b.awaitSaid("OnStart\n")
		require.NoError(t, mustFind(t, b.pidfile).Signal(syscall.SIGTERM))
		require.Equal(t, 1, launcher.Wait())
		b.requireNothingLeft()
		return launcher
	}
	e := held(func(b *background) *proctest.Process {
		return ensureProgram(t, "once", b.pidfile, "log="+b.log, "start=hang", "stoptimeout=100ms")
	})
	require.Regexp(t, `^calls Ensure\nerror: lifecycle: OnStart of daemon: did not return in .*s \(log /.*\)\nhook: OnStart of daemon\nis: ErrStopTimeout\n$`, e.Out.String())
	verb := held(func(b *background) *proctest.Process {
		return proctest.Start(t, daemon, b.args("start=hang", "stoptimeout=100ms", "start")...)
	})
	require.Regexp(t, `^daemon: start failed: OnStart of daemon did not return in .*s\n  log: /.*\n$`, verb.Out.String())
}

func TestEnsureUndoesItsStartWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		pidfile, log, gate := verbPlace(t), logPlace(t), filepath.Join(t.TempDir(), "gate")
		e := ensureProgram(t, "until:"+gate, pidfile, "log="+log, "start=wait")
		awaitLog(t, log, "OnStart\n")
		proctest.Touch(t, gate)
		require.Equal(t, 1, e.Wait())
		require.Regexp(t, `(?m)^error: .*enough \(log /.*\)\n(.*\n)*is: enough$`, e.Out.String())
		require.Contains(t, logText(t, log), "OnStart done\n", "the daemon was stopped and not killed")
		requireVerbLeftNothing(t, pidfile)
	})
	t.Run("deadline", func(t *testing.T) {
		t.Parallel()
		pidfile := verbPlace(t)
		code, says := callEnsure(t, "within:100ms", pidfile, "start=wait")
		require.Equal(t, 1, code)
		require.Regexp(t, `(?m)^is: DeadlineExceeded$`, says)
		requireVerbLeftNothing(t, pidfile)
	})
	t.Run("over before it began", func(t *testing.T) {
		t.Parallel()
		pidfile := verbPlace(t)
		code, says := callEnsure(t, "within:0s", pidfile)
		require.Equal(t, 1, code)
		require.Regexp(t, `(?m)^is: DeadlineExceeded$`, says)
		requireVerbLeftNothing(t, pidfile)
	})
	t.Run("a hook that does not heed it", func(t *testing.T) {
		t.Parallel()
		pidfile := verbPlace(t)
		code, says := callEnsure(t, "within:100ms", pidfile, "start=hang", "stoptimeout=200ms")
		require.Equal(t, 1, code)
		require.Regexp(t, `(?m)^is: DeadlineExceeded$`, says)
		requireVerbLeftNothing(t, pidfile)
	})
}

func TestASignalDuringEnsureGoesToTheCallerAndTheEndOfTheCallerUndoesTheStart(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		b := inBackground(t)
		e := ensureProgram(t, "once", b.pidfile, "log="+b.log, "start=wait")
		b.awaitSaid("OnStart\n")
		e.Signal(sig)
		require.Equal(t, -1, e.Wait())
		require.Equal(t, sig, e.Cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
		b.awaitSaid("msg=stopped")
		require.Contains(t, b.said(), "OnStart done\n")
		proctest.Eventually(t, func() bool { return len(b.processes()) == 0 }, "the end of the daemon")
		b.requireNothingLeft()
	}
}

func TestTheEndOfItsContextDoesNotUndoTheStartOfAnotherProcess(t *testing.T) {
	t.Parallel()
	pidfile, log, gate, enough := verbPlace(t), logPlace(t), filepath.Join(t.TempDir(), "gate"), filepath.Join(t.TempDir(), "enough")
	other := proctest.Start(t, daemon, "pidfile="+pidfile, "log="+log, "start=until:"+gate, "start")
	awaitLog(t, log, "OnStart\n")
	e := ensureProgram(t, "until:"+enough, pidfile)
	e.Await("calls Ensure")
	proctest.Touch(t, enough)
	require.Equal(t, 1, e.Wait())
	require.Contains(t, e.Out.String(), "error: lifecycle: waiting for a daemon at "+pidfile+": enough\n")
	require.Contains(t, e.Out.String(), "is: enough\n")
	require.NotContains(t, logText(t, log), "msg=stopping")
	proctest.Touch(t, gate)
	require.Equal(t, 0, other.Wait(), other.Out)
	requireVerbRuns(t, pidfile, verbSays(t, verbReady, other.Out.String()))
}

func TestTheEndOfItsContextDoesNotAffectTheStopOfAnotherProcess(t *testing.T) {
	t.Parallel()
	pidfile, gate := verbPlace(t), filepath.Join(t.TempDir(), "gate")
	p := proctest.Start(t, daemon, "pidfile="+pidfile, "stop=until:"+gate)
	p.Await("msg=ready")
	p.Signal(syscall.SIGTERM)
	p.Await("OnStop")
	code, says := callEnsure(t, "within:50ms", pidfile)
	require.Equal(t, 1, code)
	require.Equal(t, "error: lifecycle: waiting for a daemon at "+pidfile+": context deadline exceeded\nis: DeadlineExceeded\n", says)
	proctest.Touch(t, gate)
	require.Equal(t, 0, p.Wait())
	requireVerbLeftNothing(t, pidfile)
}
