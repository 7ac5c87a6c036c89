package pin

import (
	"os"

	"golang.org/x/sys/unix"
)

func effectiveUID(pid int) (int, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return -1, os.NewSyscallError("sysctl kern.proc.pid", err)
	}
	return int(info.Eproc.Ucred.Uid), nil
}
