package reaper

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// hurry gives all threads of this process priority over other processes until undo is called,
// because thousands of processes may want to run. All threads need the priority, because the
// goroutine may move between them. The caller must start no process before undo. The process would
// inherit the priority. Without the permission, the priority does not change.
func hurry() (undo func()) {
	runtime.LockOSThread() // this thread gets the priority first
	defer runtime.UnlockOSThread()
	// Real-time threads leave 5 % of the processor to others (sched(7)).
	first := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil || before.Policy != unix.SCHED_NORMAL || unix.SchedSetAttr(0, first, 0) != nil {
		return func() {}
	}
	eachThread(func(thread int) { _ = unix.SchedSetAttr(thread, first, 0) })
	return func() {
		for range 2 { // a thread may have started another one during the first round
			eachThread(func(thread int) { _ = unix.SchedSetAttr(thread, before, 0) })
		}
	}
}

func eachThread(do func(thread int)) {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, entry := range threads {
		if thread, err := strconv.Atoi(entry.Name()); err == nil {
			do(thread)
		}
	}
}
