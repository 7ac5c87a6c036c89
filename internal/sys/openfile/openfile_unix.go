//go:build unix && !aix

package openfile

import (
	"os"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

func same(a, b *os.File) (is bool) {
	_ = rawconn.Control(a, func(first int) error {
		return rawconn.Control(b, func(second int) error {
			is = sameDescription(first, second)
			return nil
		})
	})
	return is
}

// sameFile compares inodes and access modes, for kernels that cannot compare descriptions. sameFile
// also returns true for two descriptions of one file that have the same access mode.
func sameFile(a, b int) bool {
	var first, second unix.Stat_t
	if unix.Fstat(a, &first) != nil || unix.Fstat(b, &second) != nil {
		return false
	}
	if first.Dev != second.Dev || first.Ino != second.Ino {
		return false
	}
	mode, err := unix.FcntlInt(uintptr(a), unix.F_GETFL, 0)
	other, otherErr := unix.FcntlInt(uintptr(b), unix.F_GETFL, 0)
	return err == nil && otherErr == nil && mode&unix.O_ACCMODE == other&unix.O_ACCMODE
}

func duplicate(f *os.File, name string) (copied *os.File, err error) {
	err = rawconn.Control(f, func(fd int) error {
		other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstOther)
		if err == nil {
			copied = os.NewFile(uintptr(other), name)
		}
		return os.NewSyscallError("fcntl", err)
	})
	return copied, err
}

// firstOther is the first descriptor after stdin, stdout and stderr.
const firstOther = 3
