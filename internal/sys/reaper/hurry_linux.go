package reaper

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// hurry gives this process priority over others until undo is called: thousands of processes may
// want to run, and the goroutine may move between threads. Threads and processes that are started
// meanwhile inherit the priority, so no process may be started. Without permission for it, the
// process continues with its own priority.
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
		for range 2 { // threads of the first round may have started others
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
