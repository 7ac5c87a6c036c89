package filelock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

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

// taker reads proc_locks(5): "1: FLOCK  ADVISORY  WRITE 4127 08:01:1234 0 EOF". The device is that of the file system, which on some, as on btrfs,
// is not that of stat(2); then nobody is found.
func taker(info fs.FileInfo) (pid int) {
	st, ok := info.Sys().(*syscall.Stat_t)
	text, err := os.ReadFile("/proc/locks")
	if !ok || err != nil {
		return 0
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line) // of one that waits for the lock, the second is "->"
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != file {
			continue
		}
		if n, _ := fmt.Sscan(f[4], &pid); n == 1 && pid > 0 { // from another PID namespace it is 0 or less
			return pid
		}
	}
	return 0
}
