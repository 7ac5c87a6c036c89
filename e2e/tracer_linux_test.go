package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// These are the stages of a start, as the tracer counts them. The calls of a process between fork
// and exec count for the process that forked.
const (
	launcherStage = iota
	firstStage
	daemonStage
	stages
)

// These are the stages of the programs that the daemon executes. A worker that is executed after
// the counting has restarted is a new one.
const (
	workerStage = stages + iota
	newWorkerStage
	tracedStages
)

var stageNames = [stages]string{"launcher", "stage 1", "daemon"}

// tracer runs the program daemon. It kills one stage of the start when that stage enters its Nth
// system call, or makes the Nth call of one kind fail:
//
//	tracer STAGE N [key=value …] verb
//	tracer STAGE CALL:ERRNO:N [key=value …] verb
//
//	tracer STAGE SIGNAL@N [key=value …] verb
//
// In the third form it sends the signal to the daemon when that enters its Nth system call since it
// has begun to execute its next program. With CHLD it kills the worker instead, so that the kernel
// sends the signal. With "lost" instead of N, the daemon never gets the first such signal.
// HOLD@exec suspends all stages until the next argument, when the daemon has executed its next
// program.
//
// With the argument "guard" after N, it runs the program guard instead, whose stage daemon is the
// supervisor. With the path of a release there, it runs that.
//
// With N = 0 it kills no stage and makes no call fail. strace(1) is no alternative, because it
// counts the calls of each thread separately and cannot select a stage. When it reads another such
// argument from stdin, it counts again from 0, up to that argument. When stdin ends, it releases
// all that it traces. On stdout it prints:
//
//	launcher PID
//	counting N
//	killed STAGE PID CALL
//	failed STAGE PID CALL
//	sent STAGE PID CALL     a signal
//	exit CODE               of the launcher, -1 if it was killed
//	made STAGE CALL N       when it lets go, of each call that can be made to fail
//	since N                 when it lets go: calls of the daemon that the third form counts
//	counts N N N N N        when it lets go
var tracer = proctest.Register("tracer", func(args []string) int {
	victim, err := strconv.Atoi(args[0])
	runtime.LockOSThread() // ptrace(2) works between threads
	program, args := daemon, args
	path := ""
	switch {
	case args[2] == guard:
		program, args = guard, slices.Delete(args, 2, 3)
	case strings.HasPrefix(args[2], "/"):
		program, path = release, args[2]
		args = slices.Delete(args, 2, 3)
	}
	cmd := proctest.Command(program, args[2:]...)
	if path != "" {
		cmd.Path, cmd.Args[0] = path, path
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err = errors.Join(err, cmd.Start()); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("launcher", cmd.Process.Pid)
	tr := &trace{victim: victim, tasks: map[int]*task{}, stage: map[int]int{}, daemons: map[int]bool{}}
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
	stage  map[int]int   // by process ID

	daemons map[int]bool // whether a process has executed the program of the stage daemon

	mu     sync.Mutex
	anew   bool // the counting has restarted
	at     int
	fault  *fault         // nil: kill the stage, or send the signal
	signal syscall.Signal // 0: kill the stage
	counts [tracedStages]int
	made   [stages]map[string]int
	since  int            // calls of the daemon since it has begun to execute its next program
	loses  syscall.Signal // the signal that the daemon does not get; 0: none
	hold   chan struct{}  // closed when the stages go on; nil: they are not suspended
	hit    bool
}

type task struct {
	process int
	inside  bool          // inside a system call
	fails   syscall.Errno // the error of the call that it is in; 0 if there is none
}

func (tr *trace) aim(at string) {
	tr.counts, tr.fault, tr.signal, tr.since, tr.loses = [tracedStages]int{}, nil, 0, 0, 0
	if tr.hold != nil {
		close(tr.hold)
		tr.hold = nil
	}
	for stage := range tr.made {
		tr.made[stage] = map[string]int{}
	}
	if call, rest, found := strings.Cut(at, ":"); found {
		errno, n, _ := strings.Cut(rest, ":")
		tr.fault, at = &fault{call, errnoNamed(errno)}, n
	}
	if name, n, found := strings.Cut(at, "@"); found {
		switch sig := unix.SignalNum("SIG" + name); {
		case name == "HOLD":
			tr.hold = make(chan struct{})
		case n == "lost":
			tr.loses = sig
		default:
			tr.signal = sig
		}
		at = n
	}
	tr.at, _ = strconv.Atoi(at)
}

func (tr *trace) countAnew(at string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.aim(at)
	tr.anew = true
	fmt.Println("counting", tr.at)
}

// letGo ends the tracer. This also ends the tracing.
func (tr *trace) letGo() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for stage, made := range tr.made {
		for call, n := range made {
			fmt.Println("made", stage, call, n)
		}
	}
	fmt.Println("since", tr.since)
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
		case err != nil: // no traced process remains
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
			t.inside = true // execve(2) has not returned yet
			if wait := tr.executed(t.process); wait != nil {
				fmt.Println("holding", t.process)
				<-wait
			}
		case sig == unix.SIGTRAP:
		case tr.isLost(t.process, sig):
		default:
			signal = int(sig)
		}
		_ = unix.PtraceSyscall(tid, signal) // the thread may have been killed
	}
}

// begin records a new thread or process.
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
		fmt.Println("process", process)
	}
	return tr.tasks[tid]
}

// inner are the system calls that the Go runtime makes for itself. The tracer does not count them,
// because other processes cannot notice whether a process dies before or after them.
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
	stage := tr.stage[t.process]
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.daemons[t.process] {
		tr.enterSignal(t.process, call)
	}
	if inner[call] {
		return
	}
	tr.counts[stage]++
	name := ""
	if stage < stages {
		name = faultyCall(t.process, call, first, second)
	}
	if name != "" {
		tr.made[stage][name]++
	}
	switch {
	case stage != tr.victim || tr.hit:
	case tr.fault != nil && tr.fault.call == name && tr.made[stage][name] == tr.at:
		tr.hit, t.fails = true, tr.fault.errno
		skipCall(tid)
		fmt.Println("failed", stage, t.process, call)
	case tr.fault == nil && tr.signal == 0 && tr.counts[stage] == tr.at:
		tr.hit = true
		_ = unix.Kill(t.process, unix.SIGKILL)
		fmt.Println("killed", stage, t.process, call)
	}
}
