package reaper

import (
	"cmp"
	"errors"
	"hash/maphash"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookAgain is the pause between two looks at processes that may fork at any time.
	lookAgain = 200 * time.Microsecond
	// pinTime bounds how long nothing is reaped.
	pinTime = 50 * time.Millisecond
	// lastLook is how long orphans are killed for when the deadline is over.
	lastLook = 100 * time.Millisecond
	// settled is how many looks must have found the same processes before the rest is taken to be
	// suspended, or unable to be.
	settled = 5
)

var errLeft = errors.New("processes are left")

func kill(deadline time.Time) (err error) {
	if !hasChildren() {
		return nil
	}
	if err := lockForks(time.Until(deadline)); err != nil {
		return err
	}
	defer syscall.ForkLock.RUnlock()
	defer hurry()()
	freeze(time.Now().Add(time.Until(deadline) / 2))
	return killFrozen(deadline)
}

// freeze suspends the orphans and their descendants, until a look finds none that runs, or always
// the same: one in vfork(2) does not stop, nor one that this process may not signal.
func freeze(deadline time.Time) {
	var last uint64
	same := 0
	for time.Now().Before(deadline) {
		running, hash := stopAll(deadline)
		if hash == last && running > 0 {
			same++
		} else {
			same = 0
		}
		if last = hash; running == 0 || same == settled {
			return
		}
		time.Sleep(lookAgain * time.Duration(1+same))
	}
}

var seed = maphash.MakeSeed()

// stopAll suspends those that run, as often as new ones turn up, and returns how many the last look
// has found, and a hash of which ones.
func stopAll(deadline time.Time) (running int, hash uint64) {
	l := &look{deep: true, until: deadline}
	l.parent = func(o Orphan, s stat) {
		if s.stopped() {
			return
		}
		_ = o.signal(unix.SIGSTOP)
		running++
		hash += maphash.Comparable(seed, [2]any{o.PID, s.began})
	}
	_ = l.pinned(func() {
		end := time.Now().Add(min(pinTime, time.Until(deadline)))
		for before := uint64(0); ; before = hash {
			running, hash = 0, 0
			if l.once(); running == 0 || hash == before || time.Now().After(end) {
				return
			}
		}
	})
	return running, hash
}

// killFrozen kills the orphans and their descendants until none is left: the descendants first, so
// that one look meets all of them.
func killFrozen(deadline time.Time) error {
	if soon := time.Now().Add(lastLook); soon.After(deadline) {
		deadline = soon
	}
	var left, why error
	l := &look{deep: true, until: deadline, child: func(o Orphan) {
		left = errLeft
		if err := o.signal(unix.SIGKILL); err != nil && err != unix.ESRCH {
			left = os.NewSyscallError("pidfd_send_signal", err)
		}
	}}
	confirm := &look{child: func(Orphan) { left = errLeft }, until: deadline}
	for pause := lookAgain; ; pause = min(2*pause, 10*time.Millisecond) {
		left = nil
		err := l.pinned(l.once)
		why = cmp.Or(left, why)
		if err == nil && left == nil { // the list may have hidden one
			err = confirm.pinned(confirm.once)
		}
		switch {
		case err == nil && left == nil:
			return nil
		case time.Now().After(deadline):
			return cmp.Or(why, err)
		}
		reap()
		time.Sleep(pause)
	}
}
