package procattr

import (
	"errors"

	"golang.org/x/sys/unix"
)

// harmful are the limits that end a process, or a write, at the soft limit: SIGXCPU, SIGXFSZ, and a
// Go program without memory or without another thread.
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

	// fewFiles and manyFiles are the soft and the hard limit of descriptors that systemd gives a
	// service (systemd-system.conf(5), DefaultLimitNOFILE=). Those of systemd itself are no
	// example: it raises its own to fs.nr_open, up to which some programs close every descriptor.
	fewFiles, manyFiles = 1 << 10, 512 << 10
)

// resetLimits sets the limits. Those of a privileged process become the ones of process 1, which is
// what start-stop-daemon(8) passes on at boot, when init calls it. A limit that the caller has
// higher stays: that is how an init script asks for more.
func resetLimits(privileged bool) {
	for resource := range limits {
		if resource == unix.RLIMIT_CORE { // whether there are core dumps is for the caller to say
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
		// Not setrlimit(2): package syscall has to know of a new limit of descriptors, or it sets
		// the old one in what is forked.
		if err := unix.Prlimit(0, resource, &want, nil); errors.Is(err, unix.EPERM) { // root without CAP_SYS_RESOURCE
			_ = unix.Prlimit(0, resource, &unix.Rlimit{Cur: min(want.Cur, now.Max), Max: now.Max}, nil)
		}
	}
}

// raised is the limit of a privileged process. RLIM_INFINITY is the greatest number.
func raised(resource int, now, init unix.Rlimit) unix.Rlimit {
	want := unix.Rlimit{Cur: max(now.Cur, init.Cur), Max: max(now.Max, init.Max)}
	switch resource {
	case unix.RLIMIT_NOFILE: // the soft one of the caller is lost: package os has raised it
		want.Max = max(now.Max, min(init.Max, manyFiles))
		want.Cur = min(want.Max, manyFiles)
	case unix.RLIMIT_STACK: // an unlimited one changes where mmap(2) puts things
		want.Cur = min(init.Cur, want.Max)
	}
	return want
}

// limitOfInit is not known where process 1 is of another user, such as outside of a user namespace.
func limitOfInit(resource int) (limit unix.Rlimit, known bool) {
	err := unix.Prlimit(1, resource, nil, &limit)
	return limit, err == nil
}
