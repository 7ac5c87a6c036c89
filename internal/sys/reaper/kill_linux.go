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
	// lookAgain is the pause between two passes over the processes.
	lookAgain = 200 * time.Microsecond
	// pinTime limits how long stopAll keeps children from being reaped.
	pinTime = 50 * time.Millisecond
	// lastLook is the minimum time that killFrozen has, even if the deadline has passed.
	lastLook = 100 * time.Millisecond
	// settled is how many passes in a row must find the same running processes before freeze ends.
	// These processes cannot be suspended, and all others are.
	settled = 5
)

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

// freeze suspends the orphans and their descendants. It ends when a pass finds no running process,
// or when several passes find the same ones. A process in vfork(2) does not stop, and this process
// might not be permitted to signal every process.
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

// stopAll suspends running processes and repeats that while new ones appear. It returns the number
// of running processes that the last pass has found, and a hash of their PIDs.
func stopAll(deadline time.Time) (running int, hash uint64) {
	l := &look{deep: true, until: deadline}
	l.parent = func(o Orphan, s stat) {
		if s.stopped() {
			return
		}
		_ = o.signal(unix.SIGSTOP) // if STOP is refused, KILL is too: killFrozen reports it
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

// killFrozen kills the orphans and their descendants until none remains. It kills the descendants
// first, because one pass then reaches all of them.
func killFrozen(deadline time.Time) error {
	if soon := time.Now().Add(lastLook); soon.After(deadline) {
		deadline = soon
	}
	alive := errors.New("processes remain")
	var left, why error
	l := &look{deep: true, until: deadline, child: func(o Orphan) {
		left = alive
		if err := o.signal(unix.SIGKILL); err != nil && err != unix.ESRCH {
			left = os.NewSyscallError("pidfd_send_signal", err)
		}
	}}
	confirm := &look{child: func(Orphan) { left = alive }, until: deadline}
	for pause := lookAgain; ; pause = min(2*pause, 10*time.Millisecond) {
		left = nil
		err := l.pinned(l.once)
		why = cmp.Or(left, why)
		if err == nil && left == nil { // the list may have missed an orphan
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
