package procattr

import (
	"bytes"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	ioprioWhoProcess = 1      // ioprio_set(2)
	timerSlack       = 50_000 // ns, the value of init (PR_SET_TIMERSLACK(2const))
	cpuMaskBytes     = 1 << 10
)

// resetScheduling sets the attributes of the calling thread that its children inherit.
func resetScheduling() {
	// The nice value becomes 0.
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0)
	// This mask is larger than unix.CPUSet, which has only 1024 bits. The kernel ignores CPUs that are
	// not in the cpuset of the process.
	all := bytes.Repeat([]byte{0xff}, cpuMaskBytes)
	raw(unix.SYS_SCHED_SETAFFINITY, 0, uintptr(len(all)), uintptr(unsafe.Pointer(&all[0])))
	raw(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, 0) // IOPRIO_CLASS_NONE
	raw(unix.SYS_SET_MEMPOLICY, 0, 0, 0)             // MPOL_DEFAULT
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0)
}

// resetProcess sets the other attributes. Timers, PR_SET_PDEATHSIG, pending signals and
// PR_SET_DUMPABLE do not survive fork(2) and execve(2).
func resetProcess() {
	const oomScore = "/proc/self/oom_score_adj"
	if now, err := os.ReadFile(oomScore); err == nil && string(now) != "0\n" {
		_ = os.WriteFile(oomScore, []byte("0"), 0)
	}
	raw(unix.SYS_PERSONALITY, 0, 0, 0) // PER_LINUX, with randomized addresses
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 0, 0, 0, 0)
	_ = unix.Prctl(unix.PR_MCE_KILL, unix.PR_MCE_KILL_CLEAR, 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_IO_FLUSHER, 0, 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_MEMORY_MERGE, 0, 0, 0, 0)
	raw(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0) // a new, unnamed keyring
}

// raw makes one system call in the calling thread and ignores the result.
func raw(number, a, b, c uintptr) { _, _, _ = unix.RawSyscall(number, a, b, c) }
