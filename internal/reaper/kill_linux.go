package reaper

import (
	"errors"
	"hash/maphash"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookAgain is the pause between two looks at processes that may fork at any time.
	lookAgain = 200 * time.Microsecond
	// pinTime bounds how long other code cannot start a child.
	pinTime = 50 * time.Millisecond
	// settled is how many looks must have found the same processes before the rest is taken to be
	// suspended, or unable to be.
	settled = 5
)

var errLeft = errors.New("processes are left")

func kill(deadline time.Time) (err error) {
	if _, err := ended(unix.P_ALL, 0); err != nil || !claimsAreMade() {
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread is not given back, so it ends with this goroutine.
		runtime.LockOSThread()
		hurry()
		freeze(time.Now().Add(time.Until(deadline) / 2))
		err = killFrozen(deadline)
	}()
	<-done
	return err
}

// hurry lets this thread go first: there may be a thousand others that want to run. Whoever may not
// do that goes on as it is.
func hurry() {
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: 1}
	if unix.SchedSetAttr(0, attr, 0) != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
	}
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
	l := &look{deep: true}
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
	var left error
	l := &look{deep: true, child: func(o Orphan) {
		left = errLeft
		if err := o.signal(unix.SIGKILL); err != nil && err != unix.ESRCH {
			left = os.NewSyscallError("pidfd_send_signal", err)
		}
	}}
	for pause := lookAgain; ; pause = min(2*pause, 10*time.Millisecond) {
		left = nil
		err := l.run()
		if err == nil && left == nil { // the list may have hidden one
			err = eachOrphan(func(Orphan) { left = errLeft })
		}
		switch {
		case err == nil && left == nil:
			return nil
		case time.Now().After(deadline):
			return errors.Join(err, left)
		}
		reap()
		time.Sleep(pause)
	}
}
