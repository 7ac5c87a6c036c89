// Package pidfile locks a PID file as long as a process lives, and reports to other processes which
// process holds the file.
//
// The lock shows whether a daemon runs. The number in the file is only a hint: it does not show
// whether that process lives or wrote the file. There are four rules:
//
//   - Only the holder of the lock writes or removes the file. It removes the file before it
//     releases the lock.
//   - The holder never opens its own file again, because closing the second descriptor would
//     release the owner lock.
//   - No process writes or removes a file with other data than a PID.
//   - Root uses no path that another user can change. No process uses a file that all users can
//     write.
package pidfile

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"sync"

	"example.com/lifecycle/internal/sys/safefile"
)

// Lock is a PID file that this process holds. All methods of a nil Lock do nothing. A Lock is safe
// for concurrent use. A process that must end at once releases it from another goroutine.
type Lock struct {
	mu       sync.Mutex
	file     safefile.Owned
	written  bool // the PID is in the file
	released bool
	lost     bool // DetectLost has reported the loss
	markErr  error
}

func newLock(path string, f *os.File) *Lock { return &Lock{file: safefile.NewOwned(path, f)} }

// File returns the open file, for a child process that inherits the lock.
func (l *Lock) File() *os.File { return l.file.File }

// MarkErr returns why the process holds the flock without the presence lock or the owner lock. It
// returns nil if it holds both.
func (l *Lock) MarkErr() error { return l.markErr }

// WritePID writes the PID of this process for other processes. It uses one write(2), so no reader
// sees half of the number.
func (l *Lock) WritePID() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := safefile.WriteOnce(l.file.File, []byte(strconv.Itoa(os.Getpid())+"\n"))
	l.written = err == nil
	return err
}

// HandOff closes the launcher's descriptor after the daemon has inherited the lock. From then on
// only the daemon holds the lock.
func (l *Lock) HandOff() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.released {
		l.released = true
		held.remove(l)
		l.file.File.Close()
	}
}

// SetPath changes the path of the file, for a process that has changed its root directory. "" means
// that the file is outside of that directory.
func (l *Lock) SetPath(path string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Path = path
}

// CheckRemovable returns nil if Release will be able to remove the file, or else the reason.
// [Lock.Release] does not report that reason again.
func (l *Lock) CheckRemovable() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.CheckRemovable()
}

// DetectLost reports whether this process has lost its PID file: the path names another file, or
// the program has closed the descriptor and so released the lock. It returns true only once. It
// does not open the file, because closing a second descriptor would release the owner lock.
func (l *Lock) DetectLost() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released || l.lost {
		return false
	}
	l.lost = l.file.CheckOpen() != nil
	if l.file.Path != "" {
		same, err := safefile.Same(l.file.File, l.file.Path)
		l.lost = l.lost || err == nil && !same
	}
	return l.lost
}

// Release removes the file, unless the path names another file, and then unlocks the file. In the
// opposite order, the next start could lock a file that is about to be removed. Release keeps a
// file into which another program has written data. Further calls do nothing.
// [safefile.Owned.Remove] describes the results.
func (l *Lock) Release() (removeErr, emptyErr error) {
	if l == nil {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return nil, nil
	}
	l.released = true
	held.remove(l)
	if errors.Is(l.checkData(), errData) {
		l.file.File.Close()
		err := errors.New("another program wrote its data into it, so it was left untouched")
		return err, err
	}
	return l.file.Remove()
}

// checkData returns errData if another program has written its data into the file.
func (l *Lock) checkData() error {
	if err := l.file.CheckOpen(); err != nil {
		return err
	}
	return checkContent(l.file.File)
}

// ReleaseStale is [Lock.Release] for the file of another process, which has never run or has died.
// If the path still names the file, ReleaseStale first calls cleanup, with the lock held. It does
// nothing after [Lock.HandOff].
func (l *Lock) ReleaseStale(cleanup func()) (removeErr, emptyErr error) {
	if l == nil {
		return nil, nil
	}
	if same, err := safefile.Same(l.file.File, l.file.Path); err == nil && same {
		cleanup()
	}
	return l.Release()
}

// holds reports whether the file is the file of this lock.
func (l *Lock) holds(info fs.FileInfo) (holds, written bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return false, false
	}
	ours, err := l.file.File.Stat()
	return err == nil && os.SameFile(ours, info), l.written
}

// Keep returns the open file, for the program that this process executes next (execve(2)). The
// locks belong to the file and to the process, so they stay as long as no descriptor of the file is
// closed. Keep returns nil if the file was released.
func (l *Lock) Keep() *os.File {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return nil
	}
	return l.file.File
}
