package e2e

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/proctest"
)

// fault is a system call that fails.
type fault struct {
	call  string
	errno syscall.Errno
}

func errnoNamed(name string) syscall.Errno {
	for _, errnos := range faults {
		for _, errno := range errnos {
			if unix.ErrnoName(errno) == name {
				return errno
			}
		}
	}
	panic("no fault has " + name)
}

// faults lists the system calls that the tests make fail, with their errors. Reasons for these
// errors are a full, a read-only or a broken disk, and a full file table. Others are a file system
// without locks, missing rights or memory, and a signal during the call.
var faults = map[string][]syscall.Errno{
	"openat":     {unix.EINTR, unix.EACCES, unix.EMFILE, unix.ENFILE, unix.ENOSPC, unix.EROFS, unix.EIO},
	"read":       {unix.EINTR, unix.EIO},
	"receive":    {unix.EINTR}, // read(2) from a pipe or a socket
	"pread64":    {unix.EINTR, unix.EIO},
	"write":      {unix.EINTR, unix.EIO, unix.ENOSPC, unix.EDQUOT},
	"send":       {unix.EINTR}, // write(2) to a pipe or a socket
	"pwrite64":   {unix.EINTR, unix.EIO, unix.ENOSPC, unix.EDQUOT},
	"flock":      {unix.EINTR, unix.ENOLCK},
	"record":     {unix.EINTR, unix.ENOLCK}, // fcntl(2) with a lock
	"dupfd":      {unix.EMFILE},             // fcntl(2) with a copy
	"ftruncate":  {unix.EINTR, unix.EIO},
	"fchmod":     {unix.EROFS, unix.EIO},
	"unlinkat":   {unix.EACCES, unix.EROFS, unix.EIO},
	"fork":       {unix.EAGAIN, unix.ENOMEM},
	"execve":     {unix.EACCES, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.EIO},
	"pipe2":      {unix.EMFILE, unix.ENFILE},
	"socketpair": {unix.EMFILE, unix.ENFILE},
	"pidfd_open": {unix.EMFILE, unix.ENFILE},
	"sendmsg":    {unix.EINTR, unix.ENOMEM},
	"recvmsg":    {unix.EINTR, unix.ENOMEM},
	"chdir":      {unix.EACCES, unix.EIO},
}

var faultyCalls = map[int]string{
	unix.SYS_OPENAT: "openat", unix.SYS_READ: "read", unix.SYS_PREAD64: "pread64", unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite64",
	unix.SYS_FLOCK: "flock", unix.SYS_FCNTL: "record", unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_FCHMOD: "fchmod", unix.SYS_UNLINKAT: "unlinkat",
	unix.SYS_CLONE: "fork", unix.SYS_EXECVE: "execve", unix.SYS_PIPE2: "pipe2", unix.SYS_SOCKETPAIR: "socketpair",
	unix.SYS_PIDFD_OPEN: "pidfd_open", unix.SYS_SENDMSG: "sendmsg", unix.SYS_RECVMSG: "recvmsg", unix.SYS_CHDIR: "chdir",
	unix.SYS_PIDFD_SEND_SIGNAL: sendsTERM, unix.SYS_KILL: sendsTERM,
}

// sendsTERM is the name of a call that sends TERM. The tests never make it fail.
const sendsTERM = "TERM"

// faultyCall returns the name of a call in faults, sendsTERM, or "". Calls that the Go runtime and
// the loader make for themselves must succeed.
func faultyCall(process, call int, first, second uint64) string {
	name := faultyCalls[call]
	switch name {
	case sendsTERM:
		if syscall.Signal(second) != unix.SIGTERM {
			return ""
		}
	case "fork":
		if first&unix.CLONE_THREAD != 0 {
			return ""
		}
	case "record":
		switch second {
		case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC:
			return "dupfd"
		case unix.F_GETLK, unix.F_SETLK, unix.F_OFD_GETLK, unix.F_OFD_SETLK:
		default:
			return ""
		}
	case "read", "pread64", "write":
		file, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", process, first))
		switch {
		case strings.HasPrefix(file, "anon_inode:"), strings.Contains(file, ".so"):
			return ""
		case !strings.HasPrefix(file, "/"):
			return map[string]string{"read": "receive", "write": "send"}[name]
		}
	}
	return name
}

// made returns how often each stage has made each of these calls. The tracer counts them.
func (p *sweptStart) made() (calls [stages]map[string]int) {
	p.t.Helper()
	for stage := range calls {
		calls[stage] = map[string]int{}
	}
	for line := range strings.Lines(p.notes.String()) {
		var stage, n int
		var call string
		if _, err := fmt.Sscanf(line, "made %d %s %d", &stage, &call, &n); err == nil {
			calls[stage][call] = n
		}
	}
	return calls
}

// sweepFaults calls step for each of these calls, with each of its errors, at each occurrence and
// once after the last. Unless LIFECYCLE_LONG is set, it selects a few of them.
func sweepFaults(t *testing.T, calls map[string]int, few int, step func(t *testing.T, at string) (outcome string)) {
	t.Helper()
	var all []string
	for _, call := range slices.Sorted(maps.Keys(calls)) {
		for n := range calls[call] + 1 {
			for _, errno := range faults[call] {
				all = append(all, fmt.Sprintf("%s:%s:%d", call, unix.ErrnoName(errno), n+1))
			}
		}
	}
	if !proctest.Long() {
		all = fewOf(all, few)
	}
	sweepEach(t, all, step)
}

// requireTold requires that the output names the error of the fault and contains no crash report.
func requireTold(t *testing.T, at, said, what string) {
	t.Helper()
	errno := strings.Split(at, ":")[1]
	require.Contains(t, said, errnoNamed(errno).Error(), what)
}

// lastLine returns the last line of the output, without the parts that differ in each run.
func lastLine(said, pidfile, log string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return ", " + strings.NewReplacer(pidfile, "PIDFILE", proctest.StatePath(pidfile), "STATE", log, "LOG").Replace(lines[len(lines)-1])
}

func requireCalm(t *testing.T, said, what string) {
	t.Helper()
	for _, crash := range []string{"panic", "goroutine ", "fatal error", "nil pointer", "DATA RACE"} {
		require.NotContains(t, said, crash, what)
	}
}
