//go:build unix && !aix && !linux

package detach

import (
	"os"

	"golang.org/x/sys/unix"
)

const cloexecRights, noSignal = 0, 0

func dup2(from, to int) error { return os.NewSyscallError("dup2", unix.Dup2(from, to)) }
