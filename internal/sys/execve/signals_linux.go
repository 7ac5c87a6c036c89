package execve

import (
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func ignoredSignals() (ignored []os.Signal) {
	for _, sig := range ignorable {
		if isIgnored(sig) {
			ignored = append(ignored, sig)
		}
	}
	return ignored
}

func defaultSignals() (any bool) {
	for _, sig := range ignorable {
		if isIgnored(sig) {
			any = true
			sigaction(sig, new(kernelSigaction), nil)
		}
	}
	return any
}

// ofLibc are the signals flagged _SigSetStack in runtime/sigtab_linux_generic.go: the runtime
// installs no handler for them.
var ofLibc = []unix.Signal{32, 33, 34}

func defaultRuntimeSignals() {
	for _, sig := range ofLibc {
		if isIgnored(sig) {
			sigaction(sig, new(kernelSigaction), nil)
		}
	}
}

func ignoreSignal(sig os.Signal) (restore func()) {
	var before, ignore kernelSigaction
	handler := 0
	if onMIPS { // the flags come first there
		handler = 1
	}
	ignore[handler] = sigIgn
	sigaction(sig, &ignore, &before)
	return func() { sigaction(sig, &before, nil) }
}

func defaultSignal(sig os.Signal) (restore func()) {
	if isIgnored(sig) {
		return func() {}
	}
	var before kernelSigaction
	sigaction(sig, new(kernelSigaction), &before)
	return func() { sigaction(sig, &before, nil) }
}

// kernelSigaction is at least as long as struct sigaction of every kernel. The zero value is
// SIG_DFL.
type kernelSigaction [8]uintptr

const sigIgn = 1 // SIG_IGN

func isIgnored(sig os.Signal) bool {
	var now kernelSigaction
	sigaction(sig, nil, &now)
	if onMIPS { // the flags come first there
		return now[1] == sigIgn
	}
	return now[0] == sigIgn
}

// sigaction calls rt_sigaction(2). Package signal can report for only two signals whether they are
// ignored.
func sigaction(sig os.Signal, action, old *kernelSigaction) {
	setSize := uintptr(8)
	if onMIPS {
		setSize = 16
	}
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig.(unix.Signal)), uintptr(unsafe.Pointer(action)), uintptr(unsafe.Pointer(old)), setSize, 0, 0)
}

var onMIPS = strings.HasPrefix(runtime.GOARCH, "mips")
