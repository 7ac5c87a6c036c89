//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package pin

import (
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

// awaitInterval is how long await may take to notice a Close. Go's poller cannot wait for a kqueue:
// it also asks whether it can write, and nothing can write to a kqueue.
const awaitInterval = 100 * time.Millisecond

// kqueue pins a process by an event that only the end of this process causes.
type kqueue struct {
	bare
	file *os.File
	over *atomic.Bool // the event is delivered once
}

func hold(pid int) (process, error) {
	fd, err := unix.Kqueue()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	// There is no race. kqueue(2): "The queue is not inherited by a child created with fork(2)".
	unix.CloseOnExec(fd)
	k := kqueue{bare(pid), os.NewFile(uintptr(fd), "kqueue"), new(atomic.Bool)}

	var end unix.Kevent_t
	unix.SetKevent(&end, pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	end.Fflags = unix.NOTE_EXIT
	err = ignoringEINTR(func() error {
		_, err := unix.Kevent(fd, []unix.Kevent_t{end}, nil, nil)
		return err
	})
	switch err {
	case nil:
		return k, nil
	case unix.ESRCH:
		if gone, _ := k.bare.ended(); !gone { // a zombie
			k.over.Store(true)
			return k, nil
		}
		err = os.ErrProcessDone
	case unix.EACCES, unix.EPERM: // OpenBSD and NetBSD report only to the owner
		k.file.Close()
		return k.bare, nil
	default:
		err = os.NewSyscallError("kevent", err)
	}
	k.file.Close()
	return nil, err
}

func (k kqueue) ended() (bool, error) {
	if !k.over.Load() {
		if err := k.receive(0); err != nil {
			return false, err
		}
	}
	return k.over.Load(), nil
}

func (k kqueue) await() error {
	for !k.over.Load() {
		if err := k.receive(awaitInterval); err != nil {
			return err
		}
	}
	return nil
}

func (k kqueue) receive(timeout time.Duration) error {
	return rawconn.Control(k.file, func(fd int) error {
		limit := unix.NsecToTimespec(timeout.Nanoseconds())
		err := ignoringEINTR(func() error {
			n, err := unix.Kevent(fd, nil, make([]unix.Kevent_t, 1), &limit)
			if n > 0 {
				k.over.Store(true)
			}
			return err
		})
		return os.NewSyscallError("kevent", err)
	})
}

func (k kqueue) close() error { return k.file.Close() }
