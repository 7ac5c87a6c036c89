package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle"
	"example.com/lifecycle/internal/proctest"
)

// failedEnd is one way in which a life ends with a failure of one hook.
type failedEnd struct {
	does string // the behaviour of the daemon
	stop string // the output of the verb stop
	kept string // the later output of status
	code int    // of the daemon
	hook string
}

var failedEnds = []failedEnd{
	{"stop=error", "OnStop of daemon failed: OnStop failed on purpose", "OnStop of daemon: OnStop failed on purpose (exit 1)", 1, "OnStop"},
	{"exit=error", "OnExit of daemon failed: OnExit failed on purpose", "OnExit of daemon: OnExit failed on purpose (exit 1)", 1, "OnExit"},
	{"exit=panic", "OnExit of daemon failed: panic: OnExit panics on purpose", "OnExit of daemon: panic: OnExit panics on purpose (exit 70)", 70, "OnExit"},
	{"stop=hang", "OnStop of daemon did not return in 300ms", "OnStop of daemon did not return in 300ms (exit 1)", 1, "OnStop"},
}

func TestStopStatusAndTheLogReportAFailedEnd(t *testing.T) {
	t.Parallel()
	for _, end := range failedEnds {
		for _, how := range []string{"detached", "supervised"} {
			if how == "supervised" && (testing.Short() || !strings.HasSuffix(end.does, "=error")) {
				continue
			}
			t.Run(how+" "+end.does, func(t *testing.T) {
				t.Parallel()
				b := inBackground(t)
				args := []string{end.does, "stoptimeout=300ms"}
				if how == "supervised" {
					args = append(args, atOnce)
				}
				pid := b.start(args...)
				got := b.call("stop")
				require.Equal(t, 1, got.Code)
				require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, \S+ m?s\), but %s\n$`, pid, end.stop), got.Stderr)
				b.requireFailed(end.kept)

				errors := linesWith(b.said(), "level=ERROR")
				require.Len(t, errors, 1, "%s", b.said())
				require.Contains(t, errors[0], " component=daemon hook="+end.hook)
				require.NotRegexp(t, "(?m)^daemon: ", b.said(), "every line has a time and a level")

				requireRunning(t, b.pidfile, b.start())
				b.stop()
				require.Equal(t, proctest.Result{Stdout: notRunning(b.pidfile), Code: 3}, b.call("status"), "the next start has replaced the record")
			})
		}
	}
}

// linesWith returns the lines of text that contain part.
func linesWith(text, part string) (found []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			found = append(found, line)
		}
	}
	return found
}

// requireFailed requires that status says why the last life failed, and where its log is.
func (b *background) requireFailed(why string) lifecycle.Status {
	b.t.Helper()
	got := b.call("status")
	require.Equal(b.t, 3, got.Code, "LSB: not running")
	log := ""
	if b.log != "" {
		log = "  log: " + b.log + "\n"
	}
	require.Regexp(b.t, `^daemon: not running; failed \d+s ago: `, got.Stdout)
	_, said, _ := strings.Cut(got.Stdout, " ago: ")
	require.Equal(b.t, why+"\n"+log, said)
	var all struct {
		State string
		lifecycle.Status
	}
	require.NoError(b.t, json.Unmarshal([]byte(b.call("status", "--json").Stdout), &all))
	require.Equal(b.t, "not running", all.State)
	require.Equal(b.t, lifecycle.Exited, all.Phase)
	require.NotNil(b.t, all.Failed)
	return all.Status
}

func TestStatusReportsAFailedEndInTheForeground(t *testing.T) {
	t.Parallel()
	b := inBackground(t).quietly()
	p := proctest.Start(t, daemon, b.args("run=error", "exit=error", "run")...)
	require.Equal(t, 1, p.Wait())
	s := b.requireFailed("fn failed on purpose; OnExit of daemon failed: OnExit failed on purpose (exit 1)")
	require.Equal(t, p.PID(), s.PID)
	require.Equal(t, []string{"OnExit of daemon failed: OnExit failed on purpose"}, s.Failed.Also)
	require.Equal(t, 2, p.Out.Count("level=ERROR"), "one record for each failure:\n%s", p.Out)
}

func TestEachFailureOfAWorkersEndIsReported(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.start("stop=error", "exit=error", atOnce)
	got := b.call("stop")
	require.Equal(t, 1, got.Code)
	const said = "failed: OnStop failed on purpose; OnExit of daemon failed: OnExit failed on purpose\n"
	require.Contains(t, got.Stderr, "), but OnStop of daemon "+said)
	require.Len(t, b.requireFailed("OnStop of daemon: OnStop failed on purpose; OnExit of daemon failed: OnExit failed on purpose (exit 1)").Failed.Also, 1)
}

func TestStatusExplainsAFailedStartUntilTheNextStart(t *testing.T) {
	t.Parallel()
	for does, want := range map[string]string{
		"start=error":                "OnStart failed on purpose (exit 1)",
		"start=panic":                "panic: OnStart panics on purpose (exit 70)",
		"run=: ready=wait":           "fn returned before the daemon was ready; it must block until its context ends (exit 1)",
		"run=: ready=wait " + atOnce: "fn returned before the daemon was ready; it must block until its context ends (exit 1)",
		"start=exit:3":               "died before it was ready (exit 3): OnStart",
		"workdir=/no/such/place":     "working directory: chdir /no/such/place: no such file or directory",
	} {
		t.Run(does, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			got := b.call(append(strings.Fields(does), "start")...)
			require.NotZero(t, got.Code)
			require.True(t, strings.HasSuffix(got.Stderr, "\n  log: "+b.log+"\n"), got.Stderr)
			b.requireFailed(want)
			b.start()
			b.stop()
			require.Equal(t, notRunning(b.pidfile), b.call("status").Stdout)
		})
	}
}

func TestAnInterruptedStartIsNotAFailure(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	p := proctest.Start(t, daemon, b.args("start=wait", "start")...)
	b.awaitSaid("OnStart\n")
	p.Signal(syscall.SIGINT)
	require.NotZero(t, p.Wait())
	require.Equal(t, proctest.Result{Stdout: notRunning(b.pidfile), Code: 3}, b.call("status"))
	require.NotContains(t, b.said(), "level=ERROR")
}

// The process of the verb is suspended before the daemon ends, until the next daemon is ready.
func TestStopReturnsTheEndOfItsDaemonEvenIfTheNextOneHasTheFiles(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	p, pidfile := startDaemon(t, "stop=until:"+gate, "exit=error")
	stop := proctest.Start(t, daemon, "pidfile="+pidfile, "stop")
	p.Await("OnStop\n")
	stop.Signal(syscall.SIGSTOP)
	proctest.Touch(t, gate)
	require.Equal(t, 1, p.Wait())
	next := proctest.Start(t, daemon, "pidfile="+pidfile)
	next.Await("msg=ready")
	stop.Signal(syscall.SIGCONT)
	require.Equal(t, 1, stop.Wait())
	require.Regexp(t, fmt.Sprintf(`^daemon: stopped \(pid %d, .*\), but OnExit of daemon failed: OnExit failed on purpose\n$`, p.PID()), stop.Out.String())
	requireRunning(t, pidfile, next.PID())
}

func TestStopReturnsTheErrorOfTheEnd(t *testing.T) {
	t.Parallel()
	p, path := startDaemon(t, "exit=error")
	err := sendOff(t, mustFind(t, path).Stop).wait()
	require.EqualError(t, err, fmt.Sprintf("lifecycle: pid %d stopped, but OnExit of daemon failed: OnExit failed on purpose", p.PID()))
	var hook *lifecycle.HookError
	require.ErrorAs(t, err, &hook)
	require.Equal(t, [2]string{"daemon", "OnExit"}, [2]string{hook.Component, hook.Hook})
	require.Equal(t, 1, lifecycle.ExitCode(err))

	_, path = startDaemon(t, "stop=hang", "stoptimeout=50ms")
	require.ErrorIs(t, sendOff(t, mustFind(t, path).Stop).wait(), lifecycle.ErrStopTimeout)

	_, path = startDaemon(t, "stop=panic")
	err = sendOff(t, mustFind(t, path).Stop).wait()
	var panicked *lifecycle.PanicError
	require.ErrorAs(t, err, &panicked)
	require.Equal(t, 1, lifecycle.ExitCode(err), "the exit code of the verb, not of the daemon")
}

func TestAKilledDaemonIsAFailedEnd(t *testing.T) {
	t.Parallel()
	path := proctest.PIDPath(t)
	p := proctest.Start(t, stuckStop, path)
	p.Await("msg=ready")
	require.Equal(t, 1, callVerb(t, path, "stop").Code)
	require.Regexp(t, `^daemon: not running; failed \d+s ago: killed: OnStop of daemon still running after \S+ s\n`, callVerb(t, path, "status").Stdout)
}

func TestARestartReportsAFailedStopAndStartsTheNextDaemon(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	first := b.start("exit=error")
	got := b.call("restart")
	require.Equal(t, 0, got.Code, "%s", got.Stderr)
	require.Contains(t, got.Stderr, "), but OnExit of daemon failed: OnExit failed on purpose\n")
	require.NotEqual(t, first, b.readied(proctest.Result{Stderr: got.Stderr[strings.LastIndex(strings.TrimSuffix(got.Stderr, "\n"), "\n")+1:]}))
	b.stop()
}

// Such a daemon can write its files and not remove them.
func TestAUserWithoutRightsToTheDirectoryStillRecordsTheFailure(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "root")
	b := inBackground(t)
	everybodyMayEnter(t, filepath.Dir(b.log))
	b.start("user=54321:54321", "exit=error")
	got := b.call("stop")
	require.Equal(t, 1, got.Code)
	require.Contains(t, got.Stderr, "but OnExit of daemon failed: OnExit failed on purpose\n")
	require.NoFileExists(t, b.pidfile)
	b.requireFailed("OnExit of daemon: OnExit failed on purpose (exit 1)")
	b.start("user=54321:54321")
	require.Equal(t, 0, b.call("stop").Code) // root's verb removes the files
	require.NoFileExists(t, proctest.StatePath(b.pidfile))
}

func TestSupervisorAndWorkerLogEachEventOnceWithTheirRole(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	pid := b.start(atOnce)
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(worker, syscall.SIGKILL))
	b.worker(worker)
	require.Equal(t, 0, b.call("reload").Code)
	require.Equal(t, 0, b.call("reopen").Code)
	worker = b.worker(0)
	b.stop()
	said := b.said()
	for message, role := range map[string]string{
		fmt.Sprintf("msg=ready pid=%d ", pid): "supervisor", `msg="the worker has ended"`: "supervisor", `msg="restarting the worker"`: "supervisor",
		fmt.Sprintf(`msg="the worker is ready" worker=%d`, worker): "supervisor",
		"msg=reloaded ": "worker", `msg="log reopened"`: "supervisor", "msg=stopping ": "supervisor", "msg=stopped ": "supervisor",
	} {
		found := linesWith(said, message)
		require.Len(t, found, 1, "%s:\n%s", message, said)
		require.Contains(t, found[0], " role="+role+"\n")
	}
	require.Len(t, linesWith(said, "ready"), 2, said)
	for _, record := range linesWith(said, "level=") {
		require.Regexp(t, ` role=(supervisor|worker)\n$`, record)
	}
}

func TestOnlyTheWorkerLogsItsFailure(t *testing.T) {
	t.Parallel()
	for does, verbs := range map[string][]string{"start=error": nil, "stop=error": {"stop"}, "reload=error": {"reload", "stop"}} {
		t.Run(does, func(t *testing.T) {
			t.Parallel()
			b := inBackground(t)
			_ = b.call(atOnce, does, "start")
			for _, verb := range verbs {
				_ = b.call(verb)
			}
			errors := linesWith(b.said(), "level=ERROR")
			require.Len(t, errors, 1, b.said())
			require.Contains(t, errors[0], " role=worker\n")
		})
	}
}

func TestTheWorkerLogsASignalThatOnlyTheWorkerGets(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	b.start("supervise=always,min:-1ns,limit:-1")
	worker := b.worker(0)
	require.NoError(t, syscall.Kill(worker, syscall.SIGTERM))
	b.worker(worker)
	require.Len(t, linesWith(b.said(), `msg="stopped by a signal" reason="stopped by signal: terminated" role=worker`), 1, b.said())
	b.stop()
}

func TestAFailedStartInTheForegroundPrintsALineOnlyOnATerminal(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 200)
	p := s.verb(nil, "pidfile="+proctest.PIDPath(t), "start=error", "run")
	require.Equal(t, 1, p.Wait())
	s.awaitText("daemon: start failed: OnStart failed on purpose")
	require.Contains(t, s.String(), `level=ERROR msg="OnStart of daemon failed"`)
}
