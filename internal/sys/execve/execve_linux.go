package execve

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

func closeOnExec(from int) error {
	err := unix.CloseRange(uint(from), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		// Linux before 5.11, or seccomp forbids it
		return closeListedOnExec("/proc/self/fd", from)
	}
	return err
}

func emptySignalMask() {
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil)
}

func nameProcess(name string) {
	before, _ := loader()
	if comm, err := os.ReadFile("/proc/self/comm"); err == nil && (string(comm) == "exe\n" || len(before) > 0) {
		_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
	}
}
