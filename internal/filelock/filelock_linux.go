package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const (
	markByte = 1 << 62
	nameByte = 1<<62 + 1
)

func mark(f *os.File) error { return setRecord(f, unix.F_OFD_SETLK, markByte) }

func name(f *os.File) error { return setRecord(f, unix.F_SETLK, nameByte) }

func look(f *os.File, ifFree func()) (State, error) {
	_, marked, err := getRecord(f, unix.F_OFD_GETLK, markByte)
	pid, named, nameErr := getRecord(f, unix.F_GETLK, nameByte)
	s := State{Marked: marked || named, Named: named, PID: pid, Blind: err != nil || nameErr != nil}
	if s.Marked {
		s.Held = true
		return s, nil
	}
	s.Held, err = glance(f, ifFree)
	return s, err
}

func setRecord(f *os.File, cmd int, at int64) error {
	err := control(f, func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), cmd, &unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1})
	})
	if errors.Is(err, unix.EAGAIN) {
		return ErrHeld
	}
	return err
}

// getRecord says whether a write lock of somebody else is on that byte. It asks for a read lock, which only a write lock
// keeps it from: read locks, which any reader can set, do not count.
func getRecord(f *os.File, cmd int, at int64) (pid int, held bool, err error) {
	record := unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}
	err = control(f, func(fd int) error { return unix.FcntlFlock(uintptr(fd), cmd, &record) })
	if err != nil || record.Type == unix.F_UNLCK {
		return 0, false, err
	}
	return max(0, int(record.Pid)), true, nil
}
