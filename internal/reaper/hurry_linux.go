package reaper

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// hurry lets this process run before others until undo is called: there may be thousands that want
// to run, and the goroutine may go from thread to thread. A thread that is started meanwhile
// inherits that, and so would a process: so none may be. A process that may not have it goes on as
// it is.
func hurry() (undo func()) {
	runtime.LockOSThread() // which comes first
	defer runtime.UnlockOSThread()
	// sched(7): real-time threads leave 5 % of the processor to others.
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
