package e2e

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// isLost reports whether the process must not get a signal.
func (tr *trace) isLost(process int, sig syscall.Signal) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if sig != tr.loses || !tr.daemons[process] {
		return false
	}
	tr.loses = 0
	fmt.Println("lost", process)
	return true
}

// executed records that a process has executed a program. Its other threads have ended. If wait is
// not nil, the tracer suspends all stages until wait is closed.
func (tr *trace) executed(process int) (wait <-chan struct{}) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for tid, t := range tr.tasks {
		if t.process == process && tid != process {
			delete(tr.tasks, tid)
		}
	}
	switch stage := tr.stage[process]; {
	case stage < daemonStage:
		tr.stage[process]++
		tr.daemons[process] = stage+1 == daemonStage
	case stage > daemonStage:
	case tr.daemons[process]: // an upgrade does not change the stage
		return tr.hold
	case tr.anew:
		tr.stage[process] = newWorkerStage
	default:
		tr.stage[process] = workerStage
	}
	return nil
}

// unsteady are the calls whose number depends on the scheduler.
var unsteady = map[int]bool{
	unix.SYS_FUTEX: true, unix.SYS_NANOSLEEP: true, unix.SYS_SCHED_YIELD: true, unix.SYS_MADVISE: true, unix.SYS_EPOLL_PWAIT: true,
}

// enterSignal counts a call of the daemon from the moment at which it makes the memfd for its next
// program, and sends the signal.
func (tr *trace) enterSignal(process, call int) {
	if unsteady[call] || tr.since == 0 && (!tr.anew || call != unix.SYS_MEMFD_CREATE) {
		return
	}
	tr.since++
	if tr.hit || tr.signal == 0 || tr.since != tr.at {
		return
	}
	tr.hit = true
	sig := tr.signal
	if sig == unix.SIGCHLD {
		sig = unix.SIGKILL
		for pid, stage := range tr.stage {
			if stage == workerStage {
				process = pid
			}
		}
	}
	_ = unix.Kill(process, sig)
	fmt.Println("sent", tr.stage[process], process, call)
}
