package detach

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// adopting counts, because to be a subreaper is the property of a process.
var adopting struct {
	sync.Mutex
	n   int
	was uintptr
}

// AdoptOrphans makes what this process's descendants leave behind its children until undo is called: so it can be waited for, and its PID is not
// given to another before that (PR_SET_CHILD_SUBREAPER(2const)). Elsewhere than on Linux it does nothing.
func AdoptOrphans() (undo func()) {
	adopting.Lock()
	defer adopting.Unlock()
	if adopting.n == 0 {
		var was int32
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&was)), 0)
		adopting.was = uintptr(was)
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	adopting.n++
	return sync.OnceFunc(func() {
		adopting.Lock()
		defer adopting.Unlock()
		if adopting.n--; adopting.n == 0 {
			_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, adopting.was, 0, 0, 0)
		}
	})
}
