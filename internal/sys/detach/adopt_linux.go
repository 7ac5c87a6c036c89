package detach

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// adopting counts the callers, because subreaper is an attribute of the whole process.
var adopting struct {
	sync.Mutex
	n   int
	was uintptr
}

// AdoptOrphans makes orphaned descendants children of this process until undo is called
// (PR_SET_CHILD_SUBREAPER(2const)). This process can then wait for them. The kernel does not reuse
// their PIDs before this process has waited. On systems other than Linux, AdoptOrphans does
// nothing.
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
