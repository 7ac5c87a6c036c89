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
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// fault is a system call that fails.
type fault struct {
	call  string
	errno syscall.Errno
}

func errnoNamed(name string) syscall.Errno {
	for _, errnos := range faults {
		for _, errno := range errnos {
			if unix.ErrnoName(errno) == name {
				return errno
			}
		}
	}
	panic("no fault has " + name)
}

// faults are the system calls that are made to fail, and how: what a full, a read-only and a broken disk answer, a full table of files, a
// file system without locks, missing rights and memory, and a signal in between.
var faults = map[string][]syscall.Errno{
	"openat":     {unix.EINTR, unix.EACCES, unix.EMFILE, unix.ENFILE, unix.ENOSPC, unix.EROFS, unix.EIO},
	"read":       {unix.EINTR, unix.EIO},
	"receive":    {unix.EINTR}, // read(2) of a pipe or a socket
	"pread64":    {unix.EINTR, unix.EIO},
	"write":      {unix.EINTR, unix.EIO, unix.ENOSPC, unix.EDQUOT},
	"send":       {unix.EINTR}, // write(2) to a pipe or a socket
	"pwrite64":   {unix.EINTR, unix.EIO, unix.ENOSPC, unix.EDQUOT},
	"flock":      {unix.EINTR, unix.ENOLCK},
	"record":     {unix.EINTR, unix.ENOLCK}, // fcntl(2) of a lock
	"dupfd":      {unix.EMFILE},             // and of a copy
	"ftruncate":  {unix.EINTR, unix.EIO},
	"fchmod":     {unix.EROFS, unix.EIO},
	"unlinkat":   {unix.EACCES, unix.EROFS, unix.EIO},
	"fork":       {unix.EAGAIN, unix.ENOMEM},
	"execve":     {unix.EACCES, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.EIO},
	"pipe2":      {unix.EMFILE, unix.ENFILE},
	"socketpair": {unix.EMFILE, unix.ENFILE},
	"pidfd_open": {unix.EMFILE, unix.ENFILE},
	"sendmsg":    {unix.EINTR, unix.ENOMEM},
	"recvmsg":    {unix.EINTR, unix.ENOMEM},
	"chdir":      {unix.EACCES, unix.EIO},
}

var faultyCalls = map[int]string{
	unix.SYS_OPENAT: "openat", unix.SYS_READ: "read", unix.SYS_PREAD64: "pread64", unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite64",
	unix.SYS_FLOCK: "flock", unix.SYS_FCNTL: "record", unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_FCHMOD: "fchmod", unix.SYS_UNLINKAT: "unlinkat",
	unix.SYS_CLONE: "fork", unix.SYS_EXECVE: "execve", unix.SYS_PIPE2: "pipe2", unix.SYS_SOCKETPAIR: "socketpair",
	unix.SYS_PIDFD_OPEN: "pidfd_open", unix.SYS_SENDMSG: "sendmsg", unix.SYS_RECVMSG: "recvmsg", unix.SYS_CHDIR: "chdir",
}

// faultyCall names a call, "" if it is none that is made to fail: what the Go runtime and the loader do for themselves they must be able to do.
func faultyCall(process, call int, first, second uint64) string {
	name := faultyCalls[call]
	switch name {
	case "fork":
		if first&unix.CLONE_THREAD != 0 {
			return ""
		}
	case "record":
		switch second {
		case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC:
			return "dupfd"
		case unix.F_GETLK, unix.F_SETLK, unix.F_OFD_GETLK, unix.F_OFD_SETLK:
		default:
			return ""
		}
	case "read", "pread64", "write":
		file, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", process, first))
		switch {
		case strings.HasPrefix(file, "anon_inode:"), strings.Contains(file, ".so"):
			return ""
		case !strings.HasPrefix(file, "/"):
			return map[string]string{"read": "receive", "write": "send"}[name]
		}
	}
	return name
}

// made is what each stage has called of what can fail, as the tracer has counted it.
func (p *sweptStart) made() (calls [stages]map[string]int) {
	p.t.Helper()
	for stage := range calls {
		calls[stage] = map[string]int{}
	}
	for line := range strings.Lines(p.notes.String()) {
		var stage, n int
		var call string
		if _, err := fmt.Sscanf(line, "made %d %s %d", &stage, &call, &n); err == nil {
			calls[stage][call] = n
		}
	}
	return calls
}

// sweepFaults calls step for each of these calls, each of its errors and each time that it is called, and one time more. Unless LIFECYCLE_LONG is set, it
// does so for a few of them.
func sweepFaults(t *testing.T, calls map[string]int, few int, step func(t *testing.T, at string) (outcome string)) {
	t.Helper()
	var all []string
	for _, call := range slices.Sorted(maps.Keys(calls)) {
		for n := range calls[call] + 1 {
			for _, errno := range faults[call] {
				all = append(all, fmt.Sprintf("%s:%s:%d", call, unix.ErrnoName(errno), n+1))
			}
		}
	}
	if !proctest.Long() {
		all = fewOf(all, few)
	}
	sweepEach(t, all, step)
}

// requireTold requires that what was said names the error of a fault, and is no crash.
func requireTold(t *testing.T, at, said, what string) {
	t.Helper()
	errno := strings.Split(at, ":")[1]
	require.Contains(t, said, errnoNamed(errno).Error(), what)
}

// lastLine is that of what was said, without what is another one each time.
func lastLine(said, pidfile, log string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return ", " + strings.NewReplacer(pidfile, "PIDFILE", proctest.StatePath(pidfile), "STATE", log, "LOG").Replace(lines[len(lines)-1])
}

func requireCalm(t *testing.T, said, what string) {
	t.Helper()
	for _, crash := range []string{"panic", "goroutine ", "fatal error", "nil pointer", "DATA RACE"} {
		require.NotContains(t, said, crash, what)
	}
}

// sweepFaultyStart has a call of that stage of a start fail, and requires that what is left is true and usable. It says what became of it.
func sweepFaultyStart(t *testing.T, stage int, at string) (outcome string, p *sweptStart) {
	t.Helper()
	pidfile, log := proctest.PIDPath(t), logPlace(t)
	endAll(t, pidfile)
	begun := time.Now()
	p = startTraced(t, stage, at, pidfile, "log="+log, "start")
	code := p.awaitExit()
	took := time.Since(begun)
	left, free := p.processes(), isFree(t, pidfile)
	p.settle()
	p.letGo()
	running := p.settle()

	failed := p.numbers("failed")
	text, err := os.ReadFile(log)
	require.True(t, err == nil || errors.Is(err, os.ErrNotExist), "%v", err)
	what := fmt.Sprintf("failed %v, exit %d in %v, then %d; said:\n%s\nthe log:\n%s", failed, code, took, running, p.Out, text)
	requireCalm(t, p.Out.String()+string(text), what)
	said := readyText.FindStringSubmatch(p.Out.String())
	switch {
	case code == 0:
		require.NotNil(t, said, what)
		require.Equal(t, said[1], strconv.Itoa(running), what)
		outcome = "ready"
		if readsState := callVerb(t, pidfile, "status", "--ready").Code == 0; !readsState {
			require.Regexp(t, "level=WARN msg=.*state file: status and reload will know less", string(text), what)
			outcome += ", without a state"
		}
	default:
		require.NotEmpty(t, failed, what)
		require.NotContains(t, at, "EINTR", what)
		require.Contains(t, []int{1, 4}, code, what)
		require.Zero(t, running, "a failed start has left a daemon; %s", what)
		require.Empty(t, left, "a failed start has left processes; %s", what)
		require.True(t, free, "a failed start has left a lock; %s", what)
		require.Contains(t, p.Out.String(), "daemon: start failed: ", what)
		requireTold(t, at, p.Out.String(), what)
		if !strings.HasPrefix(at, "unlinkat:") {
			requireNothingLeft(t, pidfile)
		}
		outcome = "exit " + strconv.Itoa(code) + lastLine(p.Out.String(), pidfile, log)
		require.Equal(t, 3, callVerb(t, pidfile, "status").Code, what)
	}
	if took > 5*time.Second {
		outcome += ", slow"
	}
	requireStartAfter(t, pidfile, log, running, what)
	return outcome, p
}

func needsInjection(t *testing.T) {
	t.Helper()
	if !canInject {
		t.Skip("this test needs the registers of amd64")
	}
	needsTrace(t)
}

// A start in which the launcher, stage 1 or the daemon is told by one of its system calls that it cannot be.
// Rows B9, B10, B11, I1.
func TestAFaultDuringAStartLeavesADaemonOrNothing(t *testing.T) {
	needsInjection(t)
	t.Parallel()
	outcome, p := sweepFaultyStart(t, launcherStage, "openat:EIO:0")
	require.Equal(t, "ready", outcome)
	calls := p.made()
	t.Logf("system calls of %v: %v", stageNames, calls)
	t.Run("that it is ready cannot be written", func(t *testing.T) {
		t.Parallel()
		outcome, _ := sweepFaultyStart(t, daemonStage, fmt.Sprintf("pwrite64:EIO:%d", calls[daemonStage]["pwrite64"]))
		require.Equal(t, "ready, without a state", outcome)
	})
	for stage, name := range stageNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sweepFaults(t, calls[stage], 6, func(t *testing.T, at string) string {
				outcome, _ := sweepFaultyStart(t, stage, at)
				return outcome
			})
		})
	}
}

// sweepFaultyVerb has a call of the daemon fail in what it does when the verb is called. The verb must say the truth, and the daemon do without.
func sweepFaultyVerb(t *testing.T, verb, at string) (outcome string, p *sweptStart) {
	t.Helper()
	pidfile, log := proctest.PIDPath(t), logPlace(t)
	endAll(t, pidfile)
	p = startTraced(t, daemonStage, 0, pidfile, "log="+log, "start")
	require.Equal(t, 0, p.awaitExit(), "%s", p.Out)
	pid := p.settle()
	require.NoError(t, os.Rename(log, log+".1"))
	p.countAnew(at)
	begun := time.Now()
	got := callVerb(t, pidfile, verb)
	took := time.Since(begun)
	p.settle()
	p.letGo()
	running := p.settle()

	failed := p.numbers("failed")
	text := string(readFile(t, log+".1"))
	now, err := os.ReadFile(log)
	require.True(t, err == nil || errors.Is(err, os.ErrNotExist), "%v", err)
	text += string(now)
	what := fmt.Sprintf("failed %v, exit %d in %v, then %d; %s has said:\n%s\nthe log:\n%s", failed, got.Code, took, running, verb, got.Stderr, text)
	requireCalm(t, got.Stderr+text, what)
	interrupted := len(failed) == 0 || strings.Contains(at, ":EINTR:")
	outcome = "exit " + strconv.Itoa(got.Code)
	switch verb {
	case "stop":
		require.Equal(t, 0, got.Code, what)
		require.Contains(t, got.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", pid), what)
		require.Zero(t, running, what)
		require.Equal(t, 3, callVerb(t, pidfile, "status").Code, what)
		if !strings.HasPrefix(at, "unlinkat:") {
			requireNothingLeft(t, pidfile)
		}
		if interrupted || !strings.HasPrefix(at, "write:") { // or that is the line which is missing
			require.Equal(t, 1, strings.Count(text, "OnExit\n"), what)
		}
	default:
		require.Equal(t, pid, running, what)
		switch {
		case interrupted:
			require.Equal(t, 0, got.Code, what)
		case got.Code != 0:
			require.Equal(t, 1, got.Code, what)
			require.Contains(t, got.Stderr, "daemon: "+verb, what)
			requireTold(t, at, got.Stderr+text, what)
			outcome += lastLine(got.Stderr, pidfile, log)
		}
		if verb == "reopen" && got.Code == 0 {
			require.FileExists(t, log, what)
		}
		// What was wrong was once: all is as it should be after the next one.
		require.Equal(t, 0, callVerb(t, pidfile, "reopen").Code, what)
		require.FileExists(t, log, what)
		reloaded := callVerb(t, pidfile, "reload")
		require.Equal(t, 0, reloaded.Code, "%s%s", reloaded.Stderr, what)
		requireRunning(t, pidfile, pid)
	}
	if took > 5*time.Second {
		outcome += ", slow"
	}
	requireStartAfter(t, pidfile, log, running, what)
	return outcome, p
}

// A daemon that cannot do what a verb wants of it, at any of its system calls.
// Rows B12, B13, K13, I5, I7.
func TestAFaultInADaemonIsToldAndDoesNotEndIt(t *testing.T) {
	needsInjection(t)
	t.Parallel()
	for _, verb := range []string{"reload", "reopen", "stop"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			_, p := sweepFaultyVerb(t, verb, "openat:EIO:0")
			sweepFaults(t, p.made()[daemonStage], 4, func(t *testing.T, at string) string {
				outcome, _ := sweepFaultyVerb(t, verb, at)
				return outcome
			})
		})
	}
}

// sweepFaultyCaller has a call of the process of the verb fail.
func sweepFaultyCaller(t *testing.T, verb, at string) (outcome string, p *sweptStart) {
	t.Helper()
	pidfile, log := proctest.PIDPath(t), logPlace(t)
	endAll(t, pidfile)
	started := callVerb(t, pidfile, "log="+log, "start")
	require.Equal(t, 0, started.Code, started.Stderr)
	pid := verbSays(t, verbReady, started.Stderr)
	begun := time.Now()
	p = startTraced(t, launcherStage, at, pidfile, "log="+log, verb)
	code := p.awaitExit()
	took := time.Since(begun)
	p.settle()
	p.letGo()
	running := p.settle()

	failed := p.numbers("failed")
	what := fmt.Sprintf("failed %v, exit %d in %v, then %d of %d; said:\n%s", failed, code, took, running, pid, p.Out)
	requireCalm(t, p.Out.String(), what)
	outcome = "exit " + strconv.Itoa(code)
	if len(failed) == 0 || strings.Contains(at, ":EINTR:") {
		require.Equal(t, 0, code, what)
	}
	if code != 0 {
		require.Contains(t, []int{1, 4}, code, what)
		requireTold(t, at, p.Out.String(), what)
		outcome += lastLine(p.Out.String(), pidfile, log)
	}
	switch {
	case verb == "stop" && code == 0:
		require.Zero(t, running, what)
		requireNothingLeft(t, pidfile)
	case verb == "restart" && code == 0:
		require.NotZero(t, running, what)
		require.NotEqual(t, pid, running, what)
	case verb == "restart" && strings.Contains(p.Out.String(), "start failed: "):
		require.Zero(t, running, what)
	case code == 0:
		require.Equal(t, pid, running, what)
	default:
		require.Contains(t, []int{0, pid}, running, what) // that the end of one cannot be seen is no reason that it should not end
		require.True(t, running == pid || verb == "stop" || verb == "restart", what)
	}
	if took > 5*time.Second {
		outcome += ", slow"
	}
	requireStartAfter(t, pidfile, log, running, what)
	return outcome, p
}

// A verb that cannot do what it wants, at any of its system calls.
// Rows I1, B19.
func TestAFaultInAVerbIsTold(t *testing.T) {
	needsInjection(t)
	t.Parallel()
	for _, verb := range []string{"status", "reload", "reopen", "stop", "restart"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			_, p := sweepFaultyCaller(t, verb, "openat:EIO:0")
			sweepFaults(t, p.made()[launcherStage], 2, func(t *testing.T, at string) string {
				outcome, _ := sweepFaultyCaller(t, verb, at)
				return outcome
			})
		})
	}
}

const canInject = true
