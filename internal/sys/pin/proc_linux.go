package pin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procStat pins a process by its open /proc/PID/stat. After the process is gone, a read returns
// ESRCH, even if another process has the PID.
//
// Comparing start times (field 22) is no alternative, because they count in ticks of 10 ms. Keeping
// the directory open is no alternative either, because an open directory allows leaving a chroot.
type procStat struct {
	bare
	stat *os.File
}

func holdByProc(pid int) (process, error) {
	stat, err := openStat(pid)
	// kill(2) accepts a thread ID in place of a process ID; tgkill(2) does not. EPERM means that
	// the process exists.
	if unix.Tgkill(pid, pid, 0) == unix.ESRCH {
		if err == nil {
			stat.Close()
		}
		return nil, os.ErrProcessDone
	}
	switch {
	case err == nil:
		return procStat{bare(pid), stat}, nil
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission): // no /proc, or hidepid=
		return bare(pid), nil
	}
	return nil, err
}

func openStat(pid int) (*os.File, error) {
	if err := procIsOurs(); err != nil {
		return nil, err
	}
	return os.Open(fmt.Sprintf("/proc/%d/stat", pid))
}

func (p procStat) ended() (bool, error) {
	var buf [1024]byte
	n, err := p.stat.ReadAt(buf[:], 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return true, nil
	case err != nil && err != io.EOF:
		return false, err
	}
	return zombie(buf[:n])
}

func (p procStat) close() error { return p.stat.Close() }

// zombie reports whether a /proc/PID/stat describes a process that has ended. Its field State (3)
// is only the state of the main thread, which may end before the others. Its field Num_threads (20)
// decides.
func zombie(stat []byte) (bool, error) {
	// proc_pid_stat(5): comm (2) is in parentheses, and may contain spaces and parentheses.
	const behind = 3 // number of the first field after comm
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= 20-behind {
		return false, fmt.Errorf("unknown form of /proc/PID/stat: %q", stat)
	}
	state, threads := string(fields[0]), string(fields[20-behind])
	return (state == "Z" || state == "X") && (threads == "0" || threads == "1"), nil
}

// effectiveUID does not use the owner of /proc/PID. The owner is root "if the process's dumpable
// attribute is set to a value other than 1" (proc(5)).
func effectiveUID(pid int) (int, error) {
	if err := procIsOurs(); err != nil {
		return -1, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return -1, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if err != nil {
		return -1, err
	}
	for line := range strings.Lines(string(status)) {
		// proc_pid_status(5): "Uid, Gid: Real, effective, saved set, and filesystem UIDs (GIDs)."
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			if ids := strings.Fields(ids); len(ids) == 4 {
				return strconv.Atoi(ids[1])
			}
		}
	}
	return -1, fmt.Errorf("no user in /proc/%d/status: %w", pid, errors.ErrUnsupported)
}

func hasOpen(pid int, file fs.FileInfo) (bool, error) {
	if err := procIsOurs(); err != nil {
		return false, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	descriptors, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return false, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	for _, d := range descriptors {
		// proc_pid_fd(5): the link leads to the open file itself, even if the file has another name now.
		if opened, err := os.Stat(filepath.Join(dir, d.Name())); err == nil && os.SameFile(opened, file) {
			return true, nil
		}
	}
	return false, err
}

// procIsOurs returns os.ErrNotExist if /proc is not mounted or belongs to another PID namespace,
// where a PID means another process.
func procIsOurs() error {
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return err
	}
	if self != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("/proc belongs to another PID namespace: %w", os.ErrNotExist)
	}
	return nil
}
