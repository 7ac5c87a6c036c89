package pidfile

import (
	"fmt"
	"os"
	"strings"
	"unicode"

	"example.com/lifecycle/internal/sys/filelock"
	"example.com/lifecycle/internal/sys/pin"
)

// OtherHolderError reports that a program that does not use this package holds the file. Any user
// who can read the file can lock it, and only the end of that process releases the lock. So the
// error names the process if the system reports it.
type OtherHolderError struct {
	PID  int    // 0 if unknown
	Name string // of the program; "" if unknown
}

func (e *OtherHolderError) Error() string {
	const text = "locked by another program"
	switch {
	case e.PID == 0:
		return text
	case e.Name == "":
		return fmt.Sprintf("%s (pid %d)", text, e.PID)
	}
	return fmt.Sprintf("%s (pid %d, %s)", text, e.PID, e.Name)
}

// otherHolder returns the error for the file at path.
func otherHolder(path string) *OtherHolderError {
	info, err := os.Lstat(path)
	if err != nil {
		return &OtherHolderError{}
	}
	p, err := pin.Open(filelock.LockOwner(info))
	if err != nil {
		return &OtherHolderError{}
	}
	defer p.Close()
	// If the process no longer has the file open, it has passed the lock to another process.
	if has, err := p.HasOpen(info); err == nil && !has {
		return &OtherHolderError{}
	}
	return &OtherHolderError{PID: p.PID(), Name: programOf(p.PID())}
}

// programOf returns the name of the program that a process executes. It replaces control
// characters, because the process can choose the name.
func programOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, strings.TrimSpace(string(text)))
}
