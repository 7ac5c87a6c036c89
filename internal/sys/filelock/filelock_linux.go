package filelock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/rawconn"
)

const (
	presenceByte = 1 << 62
	ownerByte    = 1<<62 + 1
	requestByte  = 1<<62 + 2
)

func lockPresence(f *os.File) error { return setRecord(f, unix.F_OFD_SETLK, presenceByte) }

func lockOwnership(f *os.File) error { return setRecord(f, unix.F_SETLK, ownerByte) }

func lockRequest(f *os.File) error { return setRecord(f, unix.F_OFD_SETLK, requestByte) }

func hasRequest(f *os.File) bool {
	_, held, err := getMark(f, unix.F_OFD_GETLK, requestByte)
	return held && err == nil
}

func inspect(f *os.File, ifFree func()) (State, error) {
	_, present, err := getMark(f, unix.F_OFD_GETLK, presenceByte)
	pid, owned, ownerErr := getMark(f, unix.F_GETLK, ownerByte)
	s := State{
		Present: present || owned, Owned: owned, PID: pid,
		NoMarks: err != nil || ownerErr != nil,
	}
	if s.Present {
		s.Held = true
		return s, nil
	}
	if s.PID, s.Other = otherRecord(f); s.Other {
		s.Held = true
		return s, nil
	}
	s.Held, err = probe(f, ifFree)
	return s, err
}

func setRecord(f *os.File, cmd int, at int64) error {
	err := rawconn.Control(f, func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), cmd, &unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1})
	})
	if errors.Is(err, unix.EAGAIN) {
		return ErrHeld
	}
	return err
}

// getMark reports whether another process has a mark on that byte. A mark is a write lock on this
// byte alone. A lock on more bytes is not a mark, except on a file server. There, the flock itself
// may be a record lock on the whole file.
func getMark(f *os.File, cmd int, at int64) (pid int, held bool, err error) {
	record, err := getRecord(f, cmd, at, 1)
	if err != nil || record.Type == unix.F_UNLCK || !isRemote(f) && (record.Start != at || record.Len != 1) {
		return 0, false, err
	}
	return max(0, int(record.Pid)), true, nil
}

func otherRecord(f *os.File) (pid int, held bool) {
	record, err := getRecord(f, unix.F_GETLK, 0, presenceByte)
	if err != nil || record.Type == unix.F_UNLCK || isRemote(f) {
		return 0, false
	}
	return max(0, int(record.Pid)), true
}

// getRecord returns a write lock of another process on those bytes. It asks the kernel which lock
// conflicts with a read lock. Only a write lock does. Read locks do not count, because any reader
// can take one.
func getRecord(f *os.File, cmd int, at, length int64) (unix.Flock_t, error) {
	record := unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: length}
	err := rawconn.Control(f, func(fd int) error { return unix.FcntlFlock(uintptr(fd), cmd, &record) })
	return record, err
}

// isRemote reports whether the file is on a file server. NFS and SMB implement flock(2) by record
// locks (flock(2), "NFS details").
func isRemote(f *os.File) bool {
	var st unix.Statfs_t
	err := rawconn.Control(f, func(fd int) error { return unix.Fstatfs(fd, &st) })
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
		return err == nil
	}
	return false
}

// lockOwner reads proc_locks(5): "1: FLOCK ADVISORY WRITE 4127 08:01:1234 0 EOF". On some file
// systems, such as btrfs, this device number differs from the number in stat(2). There, lockOwner
// finds no process.
func lockOwner(info fs.FileInfo) (pid int) {
	st, ok := info.Sys().(*syscall.Stat_t)
	text, err := os.ReadFile("/proc/locks")
	if !ok || err != nil {
		return 0
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line) // the second field of a waiter is "->"
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != file {
			continue
		}
		if n, _ := fmt.Sscan(f[4], &pid); n == 1 && pid > 0 { // <= 0: in another PID namespace
			return pid
		}
	}
	return 0
}
