//go:build unix && !aix && !linux

package detach

import (
	"os"

	"golang.org/x/sys/unix"
)

const cloexecRights, noSignal = 0, 0

func dup2(from, to int) error { return os.NewSyscallError("dup2", unix.Dup2(from, to)) }

func closeOnExec(from int) error { return closeListedOnExec("/dev/fd", from) }

func emptySignalMask() {}

func ignoredSignals() []os.Signal { return ignorable } // those that may be

func setProcessName(string) {}

// madeByUs is true only where it must be so, for who made a socket pair is not told.
func madeByUs(int) bool { return os.Getuid() == os.Geteuid() && os.Getgid() == os.Getegid() }
