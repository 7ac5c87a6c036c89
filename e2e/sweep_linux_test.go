package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/filelock"
	"example.com/lifecycle/internal/proctest"
)

// The stages of a start, as the tracer counts them. What a process does between fork and exec counts for the one that forked.
const (
	launcherStage = iota
	firstStage
	daemonStage
	stages
)

var stageNames = [stages]string{"launcher", "stage 1", "daemon"}

// tracer runs the program daemon and kills that stage of it when it enters its Nth system call, or has its Nth call of one kind fail:
//
//	tracer STAGE N [key=value …] verb
//	tracer STAGE CALL:ERRNO:N [key=value …] verb
//
// and lets everything else live; 0 does nothing. strace(1) can do that too, but counts for each thread, and a launcher that is killed at its Nth
// call hides that stage 1 would be killed at the same. With another such text on stdin it counts anew, up to that one, and when stdin ends, it lets
// go of all that it traces. On stdout it says:
//
//	launcher PID
//	counting N
//	killed STAGE PID CALL
//	failed STAGE PID CALL
//	exit CODE               of the launcher, -1 if it was killed
//	made STAGE CALL N       when it lets go, of each call that can be made to fail
//	counts N N N            when it lets go
var tracer = proctest.Register("tracer", func(args []string) int {
	victim, err := strconv.Atoi(args[0])
	runtime.LockOSThread() // ptrace(2) is between threads
	cmd := proctest.Command(daemon, args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err = errors.Join(err, cmd.Start()); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("launcher", cmd.Process.Pid)
	tr := &trace{victim: victim, tasks: map[int]*task{}, stage: map[int]int{}}
	tr.aim(args[1])
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			tr.countAnew(in.Text())
		}
		tr.letGo()
	}()
	tr.follow(cmd.Process.Pid)
	select {} // until stdin ends
})

type trace struct {
	victim int
	tasks  map[int]*task // by thread ID
	stage  map[int]int   // of a process

	mu     sync.Mutex
	at     int
	fault  *fault // nil: it is killed
	counts [stages]int
	made   [stages]map[string]int
	hit    bool
}

type task struct {
	process int
	inside  bool          // a system call
	fails   syscall.Errno // of the one that it is inside of; 0: none
}

func (tr *trace) aim(at string) {
	tr.counts, tr.fault = [stages]int{}, nil
	for stage := range tr.made {
		tr.made[stage] = map[string]int{}
	}
	if call, rest, found := strings.Cut(at, ":"); found {
		errno, n, _ := strings.Cut(rest, ":")
		tr.fault, at = &fault{call, errnoNamed(errno)}, n
	}
	tr.at, _ = strconv.Atoi(at)
}

func (tr *trace) countAnew(at string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.aim(at)
	fmt.Println("counting", tr.at)
}

// letGo ends the tracer, with which the tracing ends.
func (tr *trace) letGo() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for stage, made := range tr.made {
		for call, n := range made {
			fmt.Println("made", stage, call, n)
		}
	}
	fmt.Println("counts", strings.Trim(fmt.Sprint(tr.counts), "[]"))
	os.Exit(0)
}

func (tr *trace) follow(launcher int) {
	for known := false; ; {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil: // nobody is left
			return
		case status.Exited(), status.Signaled():
			delete(tr.tasks, tid)
			if tid == launcher {
				fmt.Println("exit", status.ExitStatus())
			}
			continue
		case !known && tid == launcher:
			known = true
			const follow = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC
			if err := unix.PtraceSetOptions(tid, follow); err != nil {
				fmt.Println(err)
				return
			}
			tr.tasks[tid] = &task{process: tid}
			_ = unix.PtraceSyscall(tid, 0)
			continue
		}
		signal, sig := 0, status.StopSignal()
		t := tr.tasks[tid]
		if t == nil {
			t = tr.begin(tid)
			if sig == unix.SIGSTOP { // from ptrace, unless a SIGCONT has cancelled it
				sig = unix.SIGTRAP
			}
		}
		switch {
		case sig == unix.SIGTRAP|0x80:
			t.inside = !t.inside
			switch {
			case t.inside:
				tr.enter(tid, t)
			case t.fails != 0:
				failCall(tid, t.fails)
				t.fails = 0
			}
		case sig == unix.SIGTRAP && status.TrapCause() == unix.PTRACE_EVENT_EXEC:
			t.inside = true // execve(2) is yet to return
			tr.stage[t.process] = min(tr.stage[t.process]+1, daemonStage)
		case sig == unix.SIGTRAP:
		default:
			signal = int(sig)
		}
		_ = unix.PtraceSyscall(tid, signal) // it may have been killed
	}
}

// begin notes a new thread or process.
func (tr *trace) begin(tid int) *task {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	process, parent := tid, 0
	for line := range strings.Lines(string(text)) {
		_, _ = fmt.Sscanf(line, "Tgid: %d", &process)
		_, _ = fmt.Sscanf(line, "PPid: %d", &parent)
	}
	tr.tasks[tid] = &task{process: process}
	if process == tid {
		tr.stage[process] = tr.stage[parent]
	}
	return tr.tasks[tid]
}

// inner are the system calls by which the Go runtime looks after itself. For everybody else, to die before one of them is to die before the
// next call that is not.
var inner = map[int]bool{
	unix.SYS_FUTEX: true, unix.SYS_NANOSLEEP: true, unix.SYS_SCHED_YIELD: true, unix.SYS_MADVISE: true, unix.SYS_EPOLL_PWAIT: true,
	unix.SYS_RT_SIGACTION: true, unix.SYS_RT_SIGPROCMASK: true, unix.SYS_RT_SIGRETURN: true, unix.SYS_SIGALTSTACK: true,
	unix.SYS_MMAP: true, unix.SYS_MUNMAP: true, unix.SYS_MPROTECT: true, unix.SYS_GETTID: true, unix.SYS_TGKILL: true,
}

func (tr *trace) enter(tid int, t *task) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", tid))
	if err != nil {
		return // it has been killed
	}
	call, first, second := -1, uint64(0), uint64(0)
	_, _ = fmt.Sscanf(string(text), "%d 0x%x 0x%x", &call, &first, &second)
	if inner[call] {
		return
	}
	stage := tr.stage[t.process]
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.counts[stage]++
	name := faultyCall(t.process, call, first, second)
	if name != "" {
		tr.made[stage][name]++
	}
	switch {
	case stage != tr.victim || tr.hit:
	case tr.fault != nil && tr.fault.call == name && tr.made[stage][name] == tr.at:
		tr.hit, t.fails = true, tr.fault.errno
		skipCall(tid)
		fmt.Println("failed", stage, t.process, call)
	case tr.fault == nil && tr.counts[stage] == tr.at:
		tr.hit = true
		_ = unix.Kill(t.process, unix.SIGKILL)
		fmt.Println("killed", stage, t.process, call)
	}
}

// sweptStart is a program daemon under the tracer.
type sweptStart struct {
	*proctest.Process
	t       *testing.T
	pidfile string
	stdin   io.WriteCloser
	notes   *proctest.Lines // of the tracer
}

// startTraced starts it: at is a number or a fault, as the tracer takes them.
func startTraced(t *testing.T, stage int, at any, pidfile string, args ...string) *sweptStart {
	t.Helper()
	return followTraced(t, proctest.Command(tracer, append([]string{strconv.Itoa(stage), fmt.Sprint(at), "pidfile=" + pidfile}, args...)...), pidfile)
}

func followTraced(t *testing.T, cmd *exec.Cmd, pidfile string) *sweptStart {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	notes := &proctest.Lines{}
	cmd.Stdout = notes
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the tracer has said:\n%s", notes)
		}
	})
	return &sweptStart{t: t, pidfile: pidfile, stdin: stdin, notes: notes, Process: proctest.Launch(t, cmd)}
}

// numbers are those behind the word in what the tracer has said.
func (p *sweptStart) numbers(word string) (n []int) {
	for line := range strings.Lines(p.notes.String()) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != word {
			continue
		}
		for _, field := range fields[1:] {
			number, err := strconv.Atoi(field)
			require.NoError(p.t, err)
			n = append(n, number)
		}
	}
	return n
}

// awaitExit returns the exit code of the launcher, -1 if it was killed.
func (p *sweptStart) awaitExit() (exitCode int) {
	p.t.Helper()
	proctest.Eventually(p.t, func() bool { return len(p.numbers("exit")) > 0 }, "the end of the launcher of %s", p.pidfile)
	return p.numbers("exit")[0]
}

// countAnew has the stage killed at that call from now on, or that call fail.
func (p *sweptStart) countAnew(at any) {
	p.t.Helper()
	_, err := fmt.Fprintln(p.stdin, at)
	require.NoError(p.t, err)
	proctest.Eventually(p.t, func() bool { return len(p.numbers("counting")) > 0 }, "the tracer of %s", p.pidfile)
}

// letGo ends the tracing, after which nothing is killed any more, and returns how many calls each stage has made.
func (p *sweptStart) letGo() (counts []int) {
	p.t.Helper()
	require.NoError(p.t, p.stdin.Close())
	require.Equal(p.t, 0, p.Wait())
	for _, pid := range p.processes() { // a thread that began at that moment has a SIGSTOP from ptrace(2) to come, and nobody who takes it away
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	return p.numbers("counts")
}

// processes are those of the program daemon that live by that PID file.
func (p *sweptStart) processes() []int {
	var pids []int
	for _, pid := range processesOf(p.t, p.pidfile) {
		if pid != p.PID() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// processesOf are those that have the PID file among their arguments.
func processesOf(t *testing.T, pidfile string) (pids []int) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, path := range found {
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), "pidfile="+pidfile+"\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// endAll ends what a test has detached, by PID.
func endAll(t *testing.T, pidfile string) {
	t.Helper()
	t.Cleanup(func() {
		for _, pid := range processesOf(t, pidfile) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}

// settle waits until nothing is left, or a daemon alone that has finished with its launcher. It returns its PID, 0 for nothing.
func (p *sweptStart) settle() (pid int) {
	p.t.Helper()
	proctest.Eventually(p.t, func() bool {
		pids := p.processes()
		if len(pids) == 0 {
			pid = 0
			return true
		}
		pid = pids[0]
		return len(pids) == 1 && !hasSocket(pid) && settled.MatchString(callVerb(p.t, p.pidfile, "status").Stdout)
	}, "a ready daemon or none at %s", p.pidfile)
	return pid
}

// settled is a daemon that is ready, or has no state file to say so.
var settled = regexp.MustCompile(`^daemon: (ready \(pid \d+\) |running \(pid \d+\); what it is doing cannot be told: )`)

func hasSocket(pid int) bool {
	found, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, path := range found {
		if target, _ := os.Readlink(path); strings.HasPrefix(target, "socket:") {
			return true
		}
	}
	return false
}

// isFree says whether nobody holds the PID file.
func isFree(t *testing.T, pidfile string) bool {
	t.Helper()
	f, err := os.Open(pidfile)
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	require.NoError(t, err)
	defer f.Close()
	return filelock.TryLock(f) == nil
}

var readyText = regexp.MustCompile(`(?m)^daemon: ready \(pid ([1-9]\d*), .* m?s\), log .*\n`)

// sweepStart kills that stage of a start at that call, and requires that what is left is true and usable. It says what became of it.
func sweepStart(t *testing.T, stage, at int) (outcome string, counts []int) {
	t.Helper()
	pidfile := proctest.PIDPath(t)
	endAll(t, pidfile)
	log := pidfile + ".log"
	p := startTraced(t, stage, at, pidfile, "log="+log, "start")
	code := p.awaitExit()
	left, free := p.processes(), isFree(t, pidfile)
	p.settle()
	counts = p.letGo()
	running := p.settle()

	killed := p.numbers("killed")
	what := fmt.Sprintf("killed %v, exit %d, then %d; said:\n%s", killed, code, running, p.Out)
	hit := len(killed) > 0
	said := readyText.FindStringSubmatch(p.Out.String())
	launcherKilled := hit && killed[1] == p.numbers("launcher")[0]
	status := callVerb(t, pidfile, "status")
	switch {
	case launcherKilled:
		require.Equal(t, -1, code, what)
		if said != nil && running != 0 {
			require.Equal(t, said[1], strconv.Itoa(running), what)
		}
		require.False(t, said != nil && running == 0, "it said ready, but it is gone; %s", what)
		outcome = "launcher killed, none"
		if running != 0 {
			outcome = "launcher killed, ready"
		}
	case code == 0:
		require.NotNil(t, said, what)
		outcome = "ready"
		if running != 0 {
			require.Equal(t, said[1], strconv.Itoa(running), what)
		} else {
			require.Equal(t, said[1], strconv.Itoa(killed[1]), "it has died by itself: %s", what)
			require.Equal(t, 1, status.Code, "%s%s", status.Stdout, what)
			require.Contains(t, status.Stdout, "was ready ", what)
			outcome = "ready, killed later"
		}
	default:
		require.True(t, hit, what)
		require.Equal(t, 1, code, what)
		require.Nil(t, said, what)
		require.Contains(t, p.Out.String(), "daemon: start failed: ", what)
		require.Zero(t, running, "a failed start has left a daemon; %s", what)
		require.Empty(t, left, "a failed start has left processes; %s", what)
		require.True(t, free, "a failed start has left a lock; %s", what)
		outcome = "failed: " + strings.TrimPrefix(strings.SplitN(p.Out.String(), "\n", 2)[0], "daemon: start failed: ")
	}
	if running == 0 {
		require.Contains(t, []int{1, 3}, status.Code, "%s%s%s", status.Stdout, status.Stderr, what)
	}
	requireStartAfter(t, pidfile, log, running, what)
	return outcome, counts
}

// requireStartAfter requires that the next start does what it should where that daemon runs, or, if it is 0, none, and that it can be stopped.
func requireStartAfter(t *testing.T, pidfile, log string, running int, what string) {
	t.Helper()
	next := callVerb(t, pidfile, "log="+log, "start")
	if running != 0 {
		require.Equal(t, proctest.Result{Stderr: alreadyRunning(running), Code: 1}, next, what)
	} else {
		require.Equal(t, 0, next.Code, "%s%s", next.Stderr, what)
		require.Regexp(t, readyText, next.Stderr, what)
		running, _ = strconv.Atoi(readyText.FindStringSubmatch(next.Stderr)[1])
		requireVerbAlone(t, pidfile, running)
		requireRunning(t, pidfile, running)
	}
	stopped := callVerb(t, pidfile, "stop")
	require.Equal(t, 0, stopped.Code, "%s%s", stopped.Stderr, what)
	require.Contains(t, stopped.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", running))
	require.Empty(t, processesOf(t, pidfile), what)
	require.NoFileExists(t, pidfile)
	require.NoFileExists(t, proctest.StatePath(pidfile))
}

// needsTrace skips a test where a sandbox forbids what the tracer does, even with its own children.
func needsTrace(t *testing.T) {
	t.Helper()
	proctest.Use(tracer)
	p := startTraced(t, launcherStage, 0, proctest.PIDPath(t), "status")
	proctest.Eventually(t, func() bool { return len(p.notes.String()) > 0 }, "the tracer")
	if len(p.numbers("launcher")) == 0 {
		t.Skipf("this test needs the right to ptrace(2): %s", p.notes)
	}
	p.awaitExit()
	p.letGo()
}

// spare is how many calls more one run may make than another.
const spare = 10

// sweepAll calls step for every call up to that one and some more, or, unless LIFECYCLE_LONG is set, for a few of them.
func sweepAll(t *testing.T, last, few int, step func(t *testing.T, at int) (outcome string)) {
	t.Helper()
	var all []int
	for i := range last + spare {
		all = append(all, i+1)
	}
	if !proctest.Long() {
		all = fewOf(all[:last], few)
	}
	sweepEach(t, all, step)
}

// fewOf are a few of all, spread evenly.
func fewOf[T any](all []T, few int) (some []T) {
	for i := range few {
		some = append(some, all[(len(all)-1)*(i+1)/(few+1)])
	}
	return some
}

// sweepEach calls step for each, and tells how often what came of it.
func sweepEach[T any](t *testing.T, all []T, step func(t *testing.T, at T) (outcome string)) {
	t.Helper()
	outcomes := map[string]int{}
	for _, at := range all {
		t.Run(fmt.Sprint(at), func(t *testing.T) { outcomes[step(t, at)]++ })
	}
	for outcome, n := range outcomes {
		t.Logf("%3d of %d: %s", n, len(all), outcome)
	}
}

// A start in which the launcher, stage 1 or the daemon is killed at any of its system calls.
// Rows D1, D2, D3, D4, D5.
func TestAKillDuringAStartLeavesADaemonOrNothing(t *testing.T) {
	needsTrace(t)
	t.Parallel()
	outcome, counts := sweepStart(t, launcherStage, 0)
	require.Equal(t, "ready", outcome)
	t.Logf("system calls of %v: %v", stageNames, counts)
	for stage, name := range stageNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sweepAll(t, counts[stage], 4, func(t *testing.T, at int) string {
				outcome, _ := sweepStart(t, stage, at)
				return outcome
			})
		})
	}
}

// sweepVerb kills the daemon at that call of what it does when the verb is called.
func sweepVerb(t *testing.T, verb string, at int) (outcome string, counts []int) {
	t.Helper()
	pidfile := proctest.PIDPath(t)
	endAll(t, pidfile)
	log := pidfile + ".log"
	p := startTraced(t, daemonStage, 0, pidfile, "log="+log, "start")
	require.Equal(t, 0, p.awaitExit(), "%s", p.Out)
	pid := p.settle()
	p.countAnew(at)
	got := callVerb(t, pidfile, "log="+log, verb)
	p.settle()
	counts = p.letGo()
	running := p.settle()

	killed := p.numbers("killed")
	if len(killed) != 0 { // which takes it some time to die of
		proctest.Eventually(t, func() bool { running = p.settle(); return running != pid }, "the end of who was killed")
	}
	what := fmt.Sprintf("killed %v, then %d; %s has said:\n%s", killed, running, verb, got.Stderr)
	outcome = "exit " + strconv.Itoa(got.Code)
	switch text := string(readFile(t, log)); {
	case verb == "stop":
		require.Equal(t, 0, got.Code, what)
		require.Contains(t, got.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", pid), what)
		require.Zero(t, running, what)
	case verb == "restart":
		require.Equal(t, 0, got.Code, what)
		require.Contains(t, got.Stderr, fmt.Sprintf("daemon: stopped (pid %d, ", pid), what)
		require.Equal(t, strconv.Itoa(running), readyText.FindStringSubmatch(got.Stderr)[1], what)
	case verb == "reopen" && got.Code == 0:
		require.Contains(t, got.Stderr, fmt.Sprintf("daemon: log reopened (pid %d)\n", pid), what)
	case verb == "reopen":
		require.Equal(t, proctest.Result{Stderr: notRunning(pidfile), Code: 7}, got, what)
	case got.Code == 0:
		require.Contains(t, text, "OnReload done\n", what)
	default:
		require.Equal(t, 1, got.Code, what)
		require.Contains(t, got.Stderr, fmt.Sprintf("daemon: reload: no verdict: pid %d ended before there was one\n", pid), what)
	}
	switch {
	case verb == "restart":
		require.NotEqual(t, pid, running, what)
	case running != 0:
		require.Empty(t, killed, what)
		require.Equal(t, pid, running, what)
	default:
		status := callVerb(t, pidfile, "status")
		require.Contains(t, []int{1, 3}, status.Code, "%s%s%s", status.Stdout, status.Stderr, what)
		if status.Code == 1 {
			require.Contains(t, status.Stdout, fmt.Sprintf("daemon: dead: pid %d left %s", pid, pidfile), what)
			outcome += ", a stale file"
		}
	}
	requireStartAfter(t, pidfile, log, running, what)
	return outcome, counts
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return text
}

// A daemon that is killed at any of the system calls of what a verb asks for.
// Rows D6, D7, D8, D9.
func TestAKillDuringAReloadOrAStopLeavesNoLock(t *testing.T) {
	needsTrace(t)
	t.Parallel()
	for _, verb := range []string{"reload", "reopen", "stop", "restart"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			_, counts := sweepVerb(t, verb, 0)
			sweepAll(t, counts[daemonStage], 3, func(t *testing.T, at int) string {
				outcome, _ := sweepVerb(t, verb, at)
				return outcome
			})
		})
	}
}
