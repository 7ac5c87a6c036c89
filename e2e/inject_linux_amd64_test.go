package e2e

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const canInject = true

// skipCall makes the kernel skip the system call that the thread is about to enter (ptrace(2): "the
// system call number can be modified").
func skipCall(tid int) { setRegister(tid, func(r *unix.PtraceRegs) { r.Orig_rax = ^uint64(0) }) }

// failCall sets the result of the system call from which the thread is about to return.
func failCall(tid int, errno syscall.Errno) {
	setRegister(tid, func(r *unix.PtraceRegs) { r.Rax = -uint64(errno) })
}

func setRegister(tid int, set func(r *unix.PtraceRegs)) {
	var r unix.PtraceRegs
	if unix.PtraceGetRegs(tid, &r) == nil { // otherwise the thread was killed
		set(&r)
		_ = unix.PtraceSetRegs(tid, &r)
	}
}
