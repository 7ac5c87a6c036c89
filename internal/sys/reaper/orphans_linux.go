package reaper

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxDepth limits the depth of a pass over the descendants, because the pass keeps one descriptor
// open for each level. A later pass reaches deeper descendants, when their ancestors have been
// killed.
const maxDepth = 64

// look is one pass over the orphans.
type look struct {
	claimed map[int]bool
	deep    bool               // include the descendants of orphans
	until   time.Time          // the pass ends at that time, even if processes remain
	parent  func(Orphan, stat) // called before the pass visits the children of the process; may be nil
	child   func(Orphan)       // called after the pass has visited the children; may be nil
	err     error
}

func eachOrphan(do func(Orphan)) error {
	if !hasChildren() {
		return nil
	}
	if err := lockForks(forkTime); err != nil {
		return err
	}
	defer syscall.ForkLock.RUnlock()
	l := &look{child: do, until: time.Now().Add(lookTime)}
	return l.pinned(l.once)
}

// lookTime limits one pass for a caller that sets no deadline.
const lookTime = 500 * time.Millisecond

var errLate = errors.New("the time was too short to list all orphans")

// hasChildren reports whether this process has children, and can distinguish orphans from other
// children.
func hasChildren() bool {
	_, err := ended(unix.P_ALL, 0)
	return err == nil && claimsAreMade()
}

// pinned calls do. During the call, no child is reaped and no other code can start a child.
// Therefore no new claims arise.
func (l *look) pinned(do func()) error {
	pinning.Lock()
	defer pinning.Unlock()
	claimed, err := claims()
	switch {
	case errors.Is(err, errNoProc):
		return nil // orphans cannot be distinguished from other children
	case err != nil:
		return err
	}
	l.claimed = map[int]bool{}
	for _, pid := range claimed {
		l.claimed[pid] = true
	}
	l.err = nil
	do()
	return l.err
}

// lockForks keeps other code from starting a child until the caller calls syscall.ForkLock.RUnlock.
// Without the lock, a new child could be mistaken for an orphan, because its pidfd exists only when
// fork(2) returns. lockForks waits until a start in progress is over.
func lockForks(limit time.Duration) error {
	for end := time.Now().Add(limit); !syscall.ForkLock.TryRLock(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("this process is starting another one")
		}
	}
	return nil
}

const forkTime = 50 * time.Millisecond

func (l *look) once() {
	list := children
	if l.deep {
		list = func() []int { return childrenOf(os.Getpid()) } // list only once, for speed
	}
	for _, pid := range list() {
		if !l.claimed[pid] {
			l.at(pid, Orphan{}, 0)
		}
	}
}

// at visits one process from the list of its parent's children. The parent is pinned. At level 0,
// the parent is this process.
func (l *look) at(pid int, parent Orphan, level int) {
	if l.err == errLate || time.Now().After(l.until) {
		l.err = errLate
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	switch err {
	case nil:
	case unix.ESRCH, unix.ENOENT, unix.EINVAL: // it is gone, or the number is now the ID of a thread
		return
	default:
		l.err = os.NewSyscallError("pidfd_open", err)
		return
	}
	defer unix.Close(fd)
	o := Orphan{pid, fd}
	s, lives := o.livesBelow(parent, level, l.deep)
	if !lives {
		return
	}
	if l.parent != nil {
		l.parent(o, s)
	}
	if l.deep && level < maxDepth {
		for _, child := range childrenOf(pid) {
			l.at(child, o, level+1)
		}
	}
	if l.child != nil {
		l.child(o)
	}
}

// livesBelow reports whether the pinned process is alive and a child of parent. It returns false if
// another process has received the PID since the listing.
func (o Orphan) livesBelow(parent Orphan, level int, deep bool) (s stat, lives bool) {
	if level == 0 {
		// waitid(2) returns ECHILD for "a process that is not a child of the calling process".
		if pid, err := ended(unix.P_PIDFD, o.fd); err != nil || pid != 0 {
			return s, false
		}
		if deep {
			s, _ = statOf(o.PID)
		}
		return s, true
	}
	s, ok := statOf(o.PID)
	// The last three checks show that both processes still exist. Therefore the data describes them,
	// and not other processes with the same PIDs.
	return s, ok && s.parent == parent.PID && !o.isOver() && o.isThere() && parent.isThere()
}

// isThere reports whether the process still has its PID. A process has its PID until its parent has
// waited for it. No other process can have the PID before that.
func (o Orphan) isThere() bool { return o.signal(0) != unix.ESRCH }

// isOver reports whether the process has ended, with all of its threads.
func (o Orphan) isOver() bool {
	fds := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

func (o Orphan) signal(sig syscall.Signal) error {
	return unix.PidfdSendSignal(o.fd, sig, nil, 0)
}
