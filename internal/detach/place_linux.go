package detach

import (
	"errors"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	cloexecRights = unix.MSG_CMSG_CLOEXEC
	noSignal      = unix.MSG_NOSIGNAL
)

func dup2(from, to int) error {
	if from == to {
		return nil
	}
	for {
		switch err := unix.Dup3(from, to, 0); err {
		case unix.EINTR, unix.EBUSY: // dup2(2): EBUSY is a race with open(2)
		default:
			return os.NewSyscallError("dup3", err)
		}
	}
}

func closeOnExec(from int) error {
	err := unix.CloseRange(uint(from), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) { // before Linux 5.11, or seccomp
		return closeListedOnExec("/proc/self/fd", from)
	}
	return err
}

func emptySignalMask() {
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil)
}

// ignoredSignals are those of ignorable that are ignored. To catch one takes two switches of threads, so none is caught that need not be.
func ignoredSignals() []os.Signal {
	status, err := os.ReadFile("/proc/self/status")
	_, rest, found := strings.Cut(string(status), "\nSigIgn:\t")
	text, _, _ := strings.Cut(rest, "\n")
	mask, parseErr := strconv.ParseUint(text, 16, 64)
	if err != nil || !found || parseErr != nil {
		return ignorable
	}
	return slices.DeleteFunc(slices.Clone(ignorable), func(sig os.Signal) bool {
		return mask&(1<<(sig.(unix.Signal)-1)) == 0
	})
}

// madeByUs says whether a socket pair was made by our own effective user and group (unix(7), SO_PEERCRED).
func madeByUs(fd int) bool {
	by, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	return err == nil && int(by.Uid) == os.Geteuid() && int(by.Gid) == os.Getegid()
}

// setProcessName gives the process the name of the program where it was started as /proc/self/exe, of which the name is exe (proc_pid_comm(5)).
func setProcessName(name string) {
	if comm, err := os.ReadFile("/proc/self/comm"); err == nil && string(comm) == "exe\n" {
		_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
	}
}
