package takeover

import (
	"encoding/json"
	"io"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"

	"example.com/lifecycle/internal/sys/execve"
	"example.com/lifecycle/internal/sys/memfile"
	"example.com/lifecycle/internal/sys/privilege"
	"example.com/lifecycle/internal/sys/secureenv"
)

// markVariable is the descriptor of the memfd. A stray or forged variable has no effect without
// that memfd. The memfd must be sealed, belong to the effective user and group of this process, and
// name its PID. The caller of a setuid program cannot make such a memfd. A program with file
// capabilities accepts none, because its caller has the same user.
const markVariable = "_LIFECYCLE_TAKEOVER"

const firstOther = 3 // the descriptor behind stdin, stdout and stderr

var (
	// held are the signals that the Go runtime leaves blocked (runtime.blockableSig).
	held = []os.Signal{unix.SIGUSR1, unix.SIGUSR2}
	// others are those that it unblocks in every thread.
	others = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM}
)

func init() {
	mark := secureenv.Take(markVariable)
	fd, err := strconv.Atoi(mark)
	if err != nil || fd < firstOther || privilege.IsFileCapable() || !isOurs(fd) {
		return
	}
	p, err := unpack(fd)
	if err != nil {
		return
	}
	secureenv.Believe()
	inherited = &Handoff{State: p.State, Signals: catch(others), Held: catch(held)}
	unix.Close(fd)
	_ = execve.CloseOnExec(firstOther)
	for _, f := range p.Files {
		if f.FD >= firstOther {
			unix.CloseOnExec(f.FD) // also if neither close_range(2) nor /proc works
		}
		inherited.Files = append(inherited.Files, os.NewFile(uintptr(f.FD), string(f.Name)))
	}
}

// isOurs reports whether the descriptor is a sealed memfd of the effective user and group.
func isOurs(fd int) bool {
	var st unix.Stat_t
	if !memfile.IsSealed(fd) || unix.Fstat(fd, &st) != nil {
		return false
	}
	return int(st.Uid) == os.Geteuid() && int(st.Gid) == os.Getegid()
}

func unpack(fd int) (p parcel, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return p, err
	}
	text := make([]byte, st.Size)
	for n := 0; n < len(text); {
		got, err := unix.Pread(fd, text[n:], int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return p, err
		case got == 0:
			return p, io.ErrUnexpectedEOF
		}
		n += max(got, 0)
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, err
	}
	if p.PID != os.Getpid() {
		return p, os.ErrProcessDone // a child has inherited the memfd
	}
	for _, f := range p.Files {
		if _, err := unix.FcntlInt(uintptr(f.FD), unix.F_GETFD, 0); err != nil {
			return p, err
		}
	}
	return p, nil
}

func catch(signals []os.Signal) chan os.Signal {
	c := make(chan os.Signal, 64)
	signal.Notify(c, signals...)
	return c
}
