package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// Rows G8, G9.
func TestAnExitInAHookFailsTheStart(t *testing.T) {
	t.Parallel()
	for i, hook := range slices.Sorted(maps.Keys(hooksOfAStart)) {
		others := hooksOfAStart[hook]
		for _, fault := range someEnds(i) {
			how := faultyEnds[fault]
			t.Run(hook+" "+fault, func(t *testing.T) {
				t.Parallel()
				b := inBackground(t)
				got := b.call(slices.Concat(others, []string{hook + "=" + fault, "start"})...)
				require.Equal(t, 1, got.Code, got.Stderr)
				require.True(t, strings.HasPrefix(got.Stderr, "daemon: start failed: died before it was ready ("+how+")"), got.Stderr)
				b.requireNothingLeft()

				code, err := strconv.Atoi(strings.TrimPrefix(how, "exit "))
				require.NoError(t, err)
				inFront := b.call(slices.Concat(others, []string{hook + "=" + fault, "run"})...)
				require.Equal(t, code, inFront.Code, inFront.Stderr)
				b.requireDead()
			})
		}
	}
}

// requireDead requires that the daemon here has died, that the verbs report that, and that a new
// daemon can start.
func (b *background) requireDead() {
	b.t.Helper()
	proctest.Eventually(b.t, func() bool { return len(b.processes()) == 0 && isFree(b.t, b.pidfile) }, "the end of the process")
	status := b.call("status")
	require.Equal(b.t, 1, status.Code, "%s%s", status.Stdout, status.Stderr)
	require.True(b.t, strings.HasPrefix(status.Stdout, "daemon: dead: pid "), status.Stdout)
	require.Equal(b.t, 7, b.call("stop").Code)
	pid := b.start()
	requireRunning(b.t, b.pidfile, pid)
	b.stop()
}

// Rows G8, G9.
func TestAnExitInAHookGivesNoVerdict(t *testing.T) {
	t.Parallel()
	verbs := map[string]string{
		"check": "reload", "reload": "reload", "stop": "stop", "exit": "stop", "usr2": "", "every": "",
	}
	for i, hook := range slices.Sorted(maps.Keys(verbs)) {
		verb := verbs[hook]
		for _, fault := range someEnds(i) {
			t.Run(hook+" "+fault, func(t *testing.T) {
				t.Parallel()
				b := inBackground(t)
				pid := b.start(hook + "=" + fault)
				if hook == "usr2" {
					require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
				}
				switch verb {
				case "reload":
					want := fmt.Sprintf("daemon: reload: no verdict: pid %d ended during the reload\n", pid)
					require.Equal(t, proctest.Result{Stderr: want, Code: 1}, b.call(verb))
				case "stop":
					got := b.call(verb)
					require.Equal(t, 1, got.Code, "the daemon is gone: %s", got.Stderr)
					where := map[string]string{"stop": "OnStop", "exit": "OnExit"}[hook]
					require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, .*\), but it died before its stop was over, in %s of daemon\n$`, pid, where), got.Stderr)
				}
				b.requireDead()
			})
		}
	}
}

// OnCheck also runs in the process of the verb.
// Rows G8, G9.
func TestAnExitInOnCheckDoesNotAffectTheDaemon(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	pid := b.start()
	for _, verb := range []string{"check", "restart", "try-restart"} {
		require.Equal(t, 37, b.call("check=exit:37", verb).Code, verb)
		requireRunning(t, b.pidfile, pid)
	}
	b.stop()
}

// A goroutine that ends with its thread locked also ends the thread.
// Row G7.
func TestAHookThatCallsGoexitWithItsThreadLockedIsAnError(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	for hook, others := range hooksOfAStart {
		if len(others) == 1 && hook != "run" {
			continue
		}
		got := b.call(hook+"=locked", "start")
		require.Equal(t, 70, got.Code, "%s: %s", hook, got.Stderr)
		require.Contains(t, got.Stderr, "daemon: start failed: panic: runtime.Goexit was called\n", hook)
		b.requireNothingLeft()
	}
	b.start("reload=locked", "check=", "usr2=locked", "every=locked", "stop=locked", "exit=locked")
	require.Equal(t, proctest.Result{Stderr: "daemon: reload rejected, old configuration kept: panic: runtime.Goexit was called\n", Code: 1}, b.call("reload"))
	b.awaitSaid("panic in Every(10ms) of daemon")
	stopped := b.call("stop")
	require.Equal(t, 1, stopped.Code)
	require.Contains(t, stopped.Stderr, "but OnStop of daemon failed: panic: runtime.Goexit was called; OnExit of daemon failed: panic: runtime.Goexit was called\n")
	b.requireNothingLeft()
	require.Contains(t, b.said(), "panic in OnStop of daemon")
	require.Contains(t, b.said(), "panic in OnExit of daemon")
}

// A program changes its working directory and its umask, for example. The life is not affected,
// because its paths are absolute and its modes are exact.
// Row G8.
func TestAHookThatChangesTheProcessDoesNotChangeTheLife(t *testing.T) {
	t.Parallel()
	closed := func(fd int) func(t *testing.T, pid int) bool {
		return func(t *testing.T, pid int) bool {
			_, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
			return errors.Is(err, os.ErrNotExist)
		}
	}
	faults := map[string]func(t *testing.T, pid int) bool{
		"chdir": func(t *testing.T, pid int) bool {
			dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
			require.NoError(t, err)
			return dir == "/proc"
		},
		"umask":       func(t *testing.T, pid int) bool { return statusField(t, pid, "Umask") == "0777" },
		"closestdio":  closed(2),
		"closestdout": closed(1),
		"closestderr": closed(2),
	}
	for i, fault := range slices.Sorted(maps.Keys(faults)) {
		done := faults[fault]
		hooks := []string{"start", "usr2"}
		for n := range proctest.Rounds(1, 2, 2) {
			hook := hooks[(i+n)%2]
			t.Run(hook+" "+fault, func(t *testing.T) {
				t.Parallel()
				b := inBackground(t)
				pid := b.start(hook + "=" + fault)
				if hook == "usr2" {
					require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
				}
				proctest.Eventually(t, func() bool { return done(t, pid) }, "what the hook does")
				require.NoError(t, os.Remove(b.log))
				for _, verb := range []string{"reload", "reopen"} {
					got := b.call(verb)
					require.Equal(t, 0, got.Code, got.Stderr)
				}
				requireRunning(t, b.pidfile, pid)
				require.EqualValues(t, 0o640, logPerm(t, b.log))
				require.Contains(t, b.said(), "msg=reloaded")
				for _, fd := range []int{1, 2} {
					require.Equal(t, b.log, logOpened(t, pid, fd))
				}
				b.stop()
			})
		}
	}
}

// The closed descriptor releases the lock. The first daemon reports the loss, and the verbs report
// only one holder.
// Rows A11, G8.
func TestAProgramThatClosesTheDescriptorOfTheLockReportsTheLoss(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"closelock", "reuse"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			require.NoError(t, os.WriteFile(treasure(b.pidfile), []byte("do not touch"), 0o600))
			first := b.start("usr2=" + fault)
			require.NoError(t, syscall.Kill(first, syscall.SIGUSR2))
			proctest.Eventually(t, func() bool { return strings.Contains(b.said(), lostWarning) }, "the warning")
			require.True(t, isFree(t, b.pidfile))
			status := b.call("status")
			require.Equal(t, 1, status.Code, status.Stdout)
			require.Contains(t, status.Stdout, fmt.Sprintf("daemon: dead: pid %d left ", first))
			if fault == "closelock" {
				require.Contains(t, status.Stdout, fmt.Sprintf("pid %d may still run: its PID file ", first))
				got := b.call("start")
				require.Equal(t, 1, got.Code)
				require.Contains(t, got.Stderr, fmt.Sprintf("already running (pid %d), but its PID file ", first))
				require.NoError(t, os.Remove(proctest.StatePath(b.pidfile)))
			}

			second := b.start()
			requireRunning(t, b.pidfile, second)
			require.NoError(t, syscall.Kill(first, syscall.SIGHUP))
			proctest.Eventually(t, func() bool { return strings.Contains(b.said(), "msg=reloaded") }, "a reload")
			require.NoError(t, syscall.Kill(first, syscall.SIGTERM))
			proctest.Eventually(t, func() bool { return proctest.IsOver(first) }, "the end of pid %d", first)
			proctest.RequireText(t, treasure(b.pidfile), "do not touch")
			proctest.RequireText(t, b.pidfile, fmt.Sprintln(second))
			requireRunning(t, b.pidfile, second)
			b.stop()
		})
	}
}

// Row G8.
func TestAProgramThatClosesTheDescriptorOfTheStateFileKeepsItsLock(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	pid := b.start("usr2=closestate")
	require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
	b.awaitSaid("cannot write the state file")
	require.Equal(t, proctest.Result{Stderr: alreadyRunning(pid), Code: 1}, b.call("start"))
	require.NoError(t, syscall.Kill(pid, syscall.SIGHUP))
	b.awaitSaid("msg=reloaded")
	require.Equal(t, 0, b.call("stop").Code)
	require.True(t, proctest.IsOver(pid))
	require.NoFileExists(t, b.pidfile)
	b.start() // this replaces the old state file
	b.stop()
}

// The Go runtime crashes when its poller is closed. Until it does, the daemon lives without the
// lock.
// Row G8.
func TestAProgramThatClosesAllItsDescriptorsBlocksNoOtherStart(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	for _, hook := range []string{"start", "ready"} {
		got := b.call(hook+"=closeall", "start")
		require.Equal(t, 1, got.Code, got.Stderr)
		require.Contains(t, got.Stderr, "daemon: start failed: died before it was ready")
		b.requireNothingLeft()
	}
	pid := b.start("usr2=closeall")
	require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
	proctest.Eventually(t, func() bool { return isFree(t, b.pidfile) }, "the loss of the lock")
	_ = syscall.Kill(pid, syscall.SIGTERM)
	b.requireDead()
}

// A program resets or ignores the signals of the life. The verbs report the effect, and can still
// end the daemon.
// Row G8.
func TestAProgramThatResetsTheSignalsCanStillBeStopped(t *testing.T) {
	t.Parallel()
	for fault, want := range map[string]struct{ reload, stop string }{
		"reset":  {"no verdict: pid %d ended during the reload\n", ""},
		"ignore": {"no verdict after 100ms; see `daemon status`\n", "daemon: killed (pid %d): still running after "},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			args := func(verb string) []string {
				return []string{"start=" + fault, "reloadtimeout=100ms", "stoptimeout=100ms", verb}
			}
			pid := b.start("start=" + fault)
			reloaded := b.call(args("reload")...)
			require.Equal(t, 1, reloaded.Code)
			require.Equal(t, "daemon: reload: "+strings.ReplaceAll(want.reload, "%d", strconv.Itoa(pid)), reloaded.Stderr)
			if want.stop == "" {
				b.requireDead()
				return
			}
			requireRunning(t, b.pidfile, pid)
			stopped := b.call(args("stop")...)
			require.Equal(t, strings.Count(want.stop, "killed"), stopped.Code)
			require.Contains(t, stopped.Stderr, fmt.Sprintf(want.stop, pid))
			b.requireNothingLeft()
		})
	}
}
