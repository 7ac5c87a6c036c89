package reaper

import (
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reaping keeps two calls apart: the pidfd by which the one holds on to a child would be a claim to the other.
var reaping sync.Mutex

func reap() (reaped []int) {
	reaping.Lock()
	defer reaping.Unlock()
	for {
		pid, err := ended(unix.P_ALL, 0)
		if err != nil || pid == 0 {
			return reaped
		}
		if collect(pid) {
			reaped = append(reaped, pid)
			continue
		}
		// It is somebody's, and waitid(2) names it again and again until that one has waited for it.
		n := len(reaped)
		for _, pid := range children() {
			if e, err := ended(unix.P_PID, pid); err == nil && e == pid && collect(pid) {
				reaped = append(reaped, pid)
			}
		}
		if len(reaped) == n {
			return reaped
		}
	}
}

func orphans() (pids []int) {
	if _, err := ended(unix.P_ALL, 0); err != nil {
		return nil
	}
	reaping.Lock()
	defer reaping.Unlock()
	all := children()
	before, err := claims()
	if err != nil || !claimsAreMade() {
		return nil
	}
	pids = slices.DeleteFunc(all, func(pid int) bool {
		e, err := ended(unix.P_PID, pid)
		return err != nil || e == pid || slices.Contains(before, pid)
	})
	if len(pids) == 0 {
		return nil
	}
	// A child of somebody's may have been waited for before its claim was looked for, and its PID have been given to the next one of somebody's.
	after, err := claims()
	return slices.DeleteFunc(pids, func(pid int) bool { return err != nil || slices.Contains(after, pid) })
}

// collect waits for a child that has ended, unless it is somebody's, and says whether it has. It holds on to the child meanwhile: its PID could be given to a
// child of somebody's since it was named.
func collect(pid int) bool {
	if !claimsAreMade() {
		return false
	}
	child, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(child)
	if claimed, err := claims(child); err != nil || slices.Contains(claimed, pid) {
		return false
	}
	reaped, err := wait(unix.P_PIDFD, child, 0)
	return err == nil && reaped == pid
}

// ended returns the PID of a child that has ended, and leaves it so; 0 if there is none. Where there is no such child at all it returns ECHILD.
func ended(kind, id int) (pid int, err error) { return wait(kind, id, unix.WNOWAIT) }

// wait is waitid(2) for a child that has ended, without blocking.
func wait(kind, id, options int) (pid int, err error) {
	var info siginfo
	err = unix.Waitid(kind, id, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|options, nil)
	return int(info.child.pid), err
}

// siginfo is siginfo_t of a child (sigaction(2)): what is behind the first three numbers is aligned as a pointer is.
type siginfo struct {
	_     [3]int32
	child struct {
		_   [0]uintptr
		pid int32
		_   [28]int32
	}
}
