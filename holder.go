package lifecycle

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"

	"example.com/lifecycle/internal/filelock"
	"example.com/lifecycle/internal/safefile"
)

// holder is what a PID file tells without being touched: the locks first, the number only where they leave a question.
type holder struct {
	held   bool
	daemon bool // who holds it is a daemon of this library, as far as can be seen
	known  bool // the holder has said who it is
	pid    int  // of the holder; 0 while it is not known, or if it is in another PID namespace
	number int  // what the file says; 0 if that is no PID
	owner  int  // of the file

	guessed bool // the PID is the number in the file, for which the kernel does not vouch
}

// looking keeps looks away while a life of this process takes its PID file: until it has, a look does not know the file for its own.
var looking sync.RWMutex

// lookAt reads the PID file at path. A missing file is held by nobody and is no error.
func lookAt(path string) (holder, error) {
	looking.RLock()
	defer looking.RUnlock()
	owner, err := safefile.GuardRead(path)
	if err != nil {
		return holder{}, pidFileError(path, err)
	}
	if h, ours := ourOwn(path); ours {
		return h, nil
	}
	f, err := safefile.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return holder{}, nil
	}
	if err != nil {
		return holder{}, pidFileError(path, err)
	}
	defer f.Close()
	h, err := readHolder(f)
	if err == nil && owner >= 0 && h.owner != owner {
		err = safefile.Unsafe("it was exchanged for one of user %d while it was looked at", h.owner)
	}
	if err != nil {
		return holder{}, pidFileError(path, err)
	}
	return h, nil
}

// readHolder reads an open PID file.
func readHolder(f *os.File) (h holder, err error) {
	info, err := f.Stat()
	if err != nil {
		return h, err
	}
	if err := safefile.CheckMode(info); err != nil {
		return h, err
	}
	var text []byte
	var readErr error
	read := func() { text, readErr = io.ReadAll(io.NewSectionReader(f, 0, maxPIDFile+1)) }
	// The number of a file that nobody holds must not be that of a daemon which came after the look, and that of one which is held not
	// that of a daemon which ended before it.
	state, err := filelock.LookInside(f, read)
	if err == nil && state.Held {
		read()
	}
	if err = errors.Join(err, readErr); err != nil {
		return h, err
	}
	h = holder{held: state.Held, number: parsePID(text), owner: safefile.Owner(info)}
	switch {
	case !state.Held:
	case state.Named:
		h.daemon, h.known, h.pid = true, true, state.PID
	case state.Marked || state.Blind:
		h.daemon, h.known, h.pid = state.Marked || h.number != 0, h.number != 0, h.number
		h.guessed = h.known
	}
	return h, nil
}

// ourOwn answers for the PID file of the life in this process. Opening it here and closing it again would take its name from it
// (fcntl_locking(2): all POSIX locks of a process on a file go when it closes any descriptor of it).
func ourOwn(path string) (holder, bool) {
	l := running.Load()
	if l == nil {
		return holder{}, false
	}
	info, err := os.Lstat(path)
	if err != nil || !l.lock.holds(info) {
		return holder{}, false
	}
	pid := os.Getpid()
	return holder{held: true, daemon: true, known: true, pid: pid, number: pid, owner: safefile.Owner(info)}, true
}

const maxPIDFile = 64 // bytes; longer content is no PID

// parsePID returns the PID that the content of a PID file is, or 0: decimal digits without a leading zero and at most one
// newline behind them, and no more than the system's largest PID. Everything else is no PID, not even in part: "12abc" is not 12.
func parsePID(text []byte) int {
	digits := bytes.TrimSuffix(text, []byte("\n"))
	if len(text) > maxPIDFile || len(digits) == 0 || len(digits) > 10 || digits[0] == '0' {
		return 0
	}
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0
		}
	}
	pid, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || pid > maxPID() {
		return 0
	}
	return int(pid)
}

// maxPID is the largest PID of this system; where it does not say, the largest that Linux can have (proc_sys_kernel(5), pid_max).
func maxPID() int64 {
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err == nil {
		if limit, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err == nil {
			return limit
		}
	}
	return 1 << 22
}
