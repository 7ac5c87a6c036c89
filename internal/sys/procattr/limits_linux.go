package procattr

import (
	"errors"

	"golang.org/x/sys/unix"
)

// harmful lists the limits that harm a process at their soft limit: the process gets SIGXCPU or
// SIGXFSZ, or a Go program gets no memory or no further thread.
var harmful = map[int]string{
	unix.RLIMIT_CPU:    "CPU",
	unix.RLIMIT_FSIZE:  "FSIZE",
	unix.RLIMIT_DATA:   "DATA",
	unix.RLIMIT_AS:     "AS",
	unix.RLIMIT_NPROC:  "NPROC",
	unix.RLIMIT_RTTIME: "RTTIME",
}

const (
	limits = 16 // RLIM_NLIMITS, getrlimit(2)

	// fewFiles and manyFiles are the soft and hard limits of descriptors that systemd sets for a
	// service (systemd-system.conf(5), DefaultLimitNOFILE=). The limits of process 1 are not used:
	// systemd raises its own to fs.nr_open, and some programs close every descriptor up to the
	// limit.
	fewFiles, manyFiles = 1 << 10, 512 << 10
)

// resetLimits resets the limits. A privileged process gets the limits of process 1. A service gets
// the same limits if start-stop-daemon(8) starts it at boot. The process keeps higher limits of its
// caller, because an init script may have raised them for the daemon.
func resetLimits(privileged bool) {
	for resource := range limits {
		if resource == unix.RLIMIT_CORE { // keep the caller's choice about core dumps
			continue
		}
		var now unix.Rlimit
		if unix.Prlimit(0, resource, nil, &now) != nil {
			continue
		}
		want := now
		if init, known := limitOfInit(resource); privileged && known {
			want = raised(resource, now, init)
		}
		if harmful[resource] != "" {
			want.Cur = want.Max
		}
		if want == now {
			continue
		}
		// unix.Prlimit tells package syscall the new limit of descriptors. Otherwise package
		// syscall would set the old limit in child processes.
		if err := unix.Prlimit(0, resource, &want, nil); errors.Is(err, unix.EPERM) {
			// This is root without CAP_SYS_RESOURCE.
			_ = unix.Prlimit(0, resource, &unix.Rlimit{Cur: min(want.Cur, now.Max), Max: now.Max}, nil)
		}
	}
}

// raised returns the limit for a privileged process. RLIM_INFINITY is the greatest number.
func raised(resource int, now, init unix.Rlimit) unix.Rlimit {
	want := unix.Rlimit{Cur: max(now.Cur, init.Cur), Max: max(now.Max, init.Max)}
	switch resource {
	case unix.RLIMIT_NOFILE: // package os has already raised the caller's soft limit
		want.Max = max(now.Max, min(init.Max, manyFiles))
		want.Cur = min(want.Max, manyFiles)
	case unix.RLIMIT_STACK: // an unlimited stack changes the layout of mmap(2)
		want.Cur = min(init.Cur, want.Max)
	}
	return want
}

// limitOfInit returns a limit of process 1. The limit is unknown if process 1 belongs to another
// user, for example to a user outside of this user namespace.
func limitOfInit(resource int) (limit unix.Rlimit, known bool) {
	err := unix.Prlimit(1, resource, nil, &limit)
	return limit, err == nil
}
