package reaper

import (
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pinning is held during a call. Otherwise a concurrent call would mistake the pidfds of this call
// for claims.
var pinning sync.Mutex

// batch is how many ended children are pinned at the same time. The claims are read once for each
// batch.
const batch = 64

func reap() (reaped []int) {
	if pid, err := ended(unix.P_ALL, 0); err != nil || pid == 0 || !claimsAreMade() {
		return nil
	}
	size := batch
	for pids := children(); len(pids) > 0; {
		n := min(size, len(pids))
		some, err := reapOf(pids[:n])
		reaped = append(reaped, some...)
		if err != nil && size > 1 { // too few descriptors are free
			size /= 2
			continue
		}
		pids = pids[n:]
	}
	return reaped
}

// reapOf reaps those of the children that have ended and are orphans. It pins them before it reads
// the claims. Otherwise the PID of an orphan could be reused, and other code could start a child
// that gets this PID.
func reapOf(pids []int) (reaped []int, err error) {
	pinning.Lock()
	defer pinning.Unlock()
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	var pinned []Orphan
	for _, pid := range pids {
		if e, err := ended(unix.P_PID, pid); err != nil || e != pid {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err == unix.ESRCH {
			continue
		}
		if err != nil {
			return nil, err
		}
		fds, pinned = append(fds, fd), append(pinned, Orphan{pid, fd})
	}
	if len(pinned) == 0 {
		return nil, nil
	}
	claimed, err := claims(fds...)
	if err != nil {
		return nil, err
	}
	for _, o := range pinned {
		if slices.Contains(claimed, o.PID) {
			continue
		}
		if pid, err := wait(unix.P_PIDFD, o.fd, 0); err == nil && pid == o.PID {
			reaped = append(reaped, pid)
		}
	}
	return reaped, nil
}

// ended returns the PID of a child that has ended, or 0 if no child has ended. It does not reap the
// child. If no child matches kind and id, it returns ECHILD.
func ended(kind, id int) (pid int, err error) { return wait(kind, id, unix.WNOWAIT) }

// wait calls waitid(2) for a child that has ended. It does not block.
func wait(kind, id, options int) (pid int, err error) {
	var info siginfo
	options |= unix.WEXITED | unix.WNOHANG
	err = unix.Waitid(kind, id, (*unix.Siginfo)(unsafe.Pointer(&info)), options, nil)
	return int(info.child.pid), err
}

// siginfo is siginfo_t of a child (sigaction(2)). The fields after the first three numbers have the
// alignment of a pointer.
type siginfo struct {
	_     [3]int32
	child struct {
		_   [0]uintptr
		pid int32
		_   [28]int32
	}
}
