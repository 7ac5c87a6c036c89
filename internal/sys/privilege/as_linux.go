package privilege

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// borrowing is held while a thread has other rights, because the change resets PR_SET_DUMPABLE,
// which belongs to the whole process.
var borrowing sync.Mutex

func as(id Identity, do func() error) error {
	done := make(chan error)
	go func() {
		borrowing.Lock()
		defer borrowing.Unlock()
		runtime.LockOSThread()
		var err error
		was, lookErr := lookAtRights()
		if lookErr != nil {
			runtime.UnlockOSThread()
			done <- lookErr
			return
		}
		if err = borrow(id, was); err == nil {
			err = do()
		}
		if returnErr := was.restore(); returnErr != nil {
			err = errors.Join(err, returnErr) // the thread stays locked, and ends with its goroutine
		} else {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// rights are the file access rights of one thread, and the attributes that change with them.
type rights struct {
	uid, gid     int
	groups       []int
	capabilities [2]unix.CapUserData
	dumpable     int
}

func lookAtRights() (r rights, err error) {
	if r.uid, err = unix.SetfsuidRetUid(-1); err != nil {
		return r, os.NewSyscallError("setfsuid", err)
	}
	if r.gid, err = unix.SetfsgidRetGid(-1); err != nil {
		return r, os.NewSyscallError("setfsgid", err)
	}
	if r.groups, err = unix.Getgroups(); err != nil {
		return r, os.NewSyscallError("getgroups", err)
	}
	if err = unix.Capget(capabilityHeader(), &r.capabilities[0]); err != nil {
		return r, os.NewSyscallError("capget", err)
	}
	r.dumpable, err = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	return r, os.NewSyscallError("prctl", err)
}

func capabilityHeader() *unix.CapUserHeader {
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
}

// borrow uses package unix, which changes only the calling thread. It clears all effective
// capabilities. The thread then has only the rights of the user, even with SECBIT_NO_SETUID_FIXUP.
func borrow(id Identity, was rights) error {
	if err := unix.Setgroups(id.Groups); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	// setfsuid(2) and setfsgid(2) return no error.
	if err := errors.Join(unix.Setfsgid(id.GID), unix.Setfsuid(id.UID)); err != nil {
		return os.NewSyscallError("setfsuid", err)
	}
	none := was.capabilities
	for i := range none {
		none[i].Effective = 0
	}
	if err := unix.Capset(capabilityHeader(), &none[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	now, err := lookAtRights()
	taken := Identity{UID: now.uid, GID: now.gid, Groups: now.groups}
	if err == nil && !taken.equal(id) {
		err = fmt.Errorf(notDropped+"a thread has %v instead of %v", taken, id)
	}
	return err
}

func (i Identity) equal(to Identity) bool {
	return i.UID == to.UID && i.GID == to.GID && slices.Equal(sorted(i.Groups), sorted(to.Groups))
}

func (r rights) restore() error {
	// This must be first: the calls below need CAP_SETGID and CAP_SETUID.
	err := os.NewSyscallError("capset", unix.Capset(capabilityHeader(), &r.capabilities[0]))
	err = errors.Join(err, unix.Setfsuid(r.uid), unix.Setfsgid(r.gid))
	err = errors.Join(err, os.NewSyscallError("setgroups", unix.Setgroups(r.groups)))
	// setfsuid(2) changes the capabilities. Restore them after it.
	setErr := unix.Capset(capabilityHeader(), &r.capabilities[0])
	err = errors.Join(err, os.NewSyscallError("capset", setErr))
	if r.dumpable == 1 { // 2 cannot be set
		setErr := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
		err = errors.Join(err, os.NewSyscallError("prctl", setErr))
	}
	now, lookErr := lookAtRights()
	same := now.uid == r.uid && now.gid == r.gid && slices.Equal(now.groups, r.groups)
	if lookErr == nil && !(same && now.capabilities == r.capabilities) {
		lookErr = errors.New("cannot restore the privileges of a thread")
	}
	return errors.Join(err, lookErr)
}
