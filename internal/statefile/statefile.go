// Package statefile stores a record of fixed size in a file. One process overwrites the record
// while other processes read it. The content of a record is a JSON object, and this package does
// not interpret it.
package statefile

import (
	"errors"
	"io/fs"
	"os"
	"sync"

	"example.com/lifecycle/internal/sys/filelock"
	"example.com/lifecycle/internal/sys/safefile"
)

// File is the state file of this process. All methods of a nil File do nothing. A File is safe for
// concurrent use. Its methods may block for a long time, because the disk may hang.
type File struct {
	mu      sync.Mutex
	file    safefile.Owned
	seq     int // of the record in the file
	closed  bool
	failing bool // the last write failed
	stamps  stamps
}

// Create makes the state file. It replaces the file of a process that has died. It does not reuse
// the old file, because a process that has lost its PID file may still write to it.
//
// Only the process that holds the lock of the PID file may call it.
func Create(path string, mode fs.FileMode) (*File, error) {
	_ = RemoveStale(path + unfinished) // left by a process that was killed in Replace
	if err := RemoveStale(path); err != nil {
		return nil, err
	}
	return create(path, mode)
}

// Replace is Create for a file whose record must not be lost. At every moment, the path names a
// file with the old record or a file with this record, even if this process is killed.
func Replace(path string, mode fs.FileMode, record []byte) (*File, error) {
	if err := RemoveStale(path + unfinished); err != nil {
		return nil, err
	}
	f, err := create(path+unfinished, mode)
	if err != nil {
		return nil, err
	}
	old, err := openStale(path)
	if err == nil {
		old.Close()
		err = f.put(record)
	}
	if err == nil {
		err = os.Rename(path+unfinished, path)
	}
	if err != nil {
		_, _ = f.Remove()
		return nil, err
	}
	f.SetPath(path)
	return f, nil
}

// unfinished is the suffix of the file that Replace creates.
const unfinished = ".new"

func create(path string, mode fs.FileMode) (*File, error) {
	f, created, err := safefile.Create(path, mode)
	if err != nil {
		return nil, err
	}
	if !created {
		err = safefile.Unsafe("another process creates it at the same time")
	} else if err = safefile.SetMode(f, mode); err != nil {
		err = errors.Join(err, safefile.Remove(f, path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	_ = filelock.LockPresence(f) // for IsHeld; some systems and file systems have no such lock
	return &File{file: safefile.NewOwned(path, f)}, nil
}

// Write replaces the record, unless the file already has a record with this or a later number. An
// empty record empties the file. If several calls in a row fail, only the first one returns its
// error.
func (f *File) Write(seq int, record []byte) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || seq <= f.seq {
		return nil
	}
	f.seq = seq
	err := f.file.CheckOpen()
	if err == nil {
		if err = f.put(record); err != nil { // the old record is no longer true
			_ = f.file.File.Truncate(0)
		}
	}
	wasFailing := f.failing
	f.failing = err != nil
	if wasFailing {
		return nil
	}
	return err
}

func (f *File) put(record []byte) error {
	if len(record) == 0 {
		return f.file.File.Truncate(0)
	}
	return safefile.WriteOnce(f.file.File, record)
}

// SetPath changes the path of the file, for a process that has changed its root directory. "" means
// that the file is outside of that directory.
func (f *File) SetPath(path string) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.file.Path = path
}

// CheckRemovable returns nil if Remove will be able to remove the file, or else the reason.
// [File.Remove] does not report that reason again.
func (f *File) CheckRemovable() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.CheckRemovable()
}

// Keep closes the file and does not remove it. If the last record could not be written, Keep
// removes the file.
func (f *File) Keep() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	if f.failing {
		_, _ = f.file.Remove()
		return
	}
	f.file.File.Close()
}

// Remove removes the file and closes it; see [safefile.Owned.Remove]. Further calls do nothing.
func (f *File) Remove() (removeErr, emptyErr error) {
	if f == nil {
		return nil, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, nil
	}
	f.closed = true
	return f.file.Remove()
}

// IsHeld reports whether the process that created the state file lives and still uses it. This
// process may be a daemon that has lost its PID file. IsHeld returns false if the system does not
// report this.
func IsHeld(path string) bool {
	f, err := safefile.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	locks, err := filelock.Inspect(f)
	return err == nil && locks.Present
}

// RemoveStale removes the state file of a process that has died. If the file is not a state file,
// RemoveStale returns an error and does not remove it, because it may contain a user's data.
//
// Only the process that holds the lock of the PID file may call it.
func RemoveStale(path string) error {
	f, err := openStale(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return safefile.Remove(f, path)
}

// openStale opens the state file of a process that has died. It returns an error for any other
// file.
func openStale(path string) (*os.File, error) {
	f, err := safefile.Open(path)
	if err != nil {
		return nil, err
	}
	err = safefile.CheckOwner(f)
	var record []byte
	if err == nil {
		record, err = readRecord(f)
	}
	if err == nil && !resemblesRecord(record) {
		err = safefile.Unsafe("it is not the state file of a daemon")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Kept returns the open file, for the program that this process executes next (execve(2)). Kept
// returns nil if the file was closed.
func (f *File) Kept() *os.File {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	return f.file.File
}

// Adopt returns the state file that the previous program of this process has kept with [File.Kept].
// The caller must continue the numbers of its records.
func Adopt(path string, file *os.File) (*File, error) {
	if file == nil {
		return nil, errors.New("the previous program did not pass it")
	}
	return &File{file: safefile.NewOwned(path, file)}, nil
}
