package statefile

import (
	"io"
	"os"
	"time"

	"example.com/lifecycle/internal/sys/safefile"
)

// RetryTime is how long [Retry] retries. Writing a record takes some microseconds.
const RetryTime = 100 * time.Millisecond

// Reader reads one state file. It reads the same file even after another process has replaced it.
type Reader struct{ f *os.File }

// Open opens the state file for reading. The file must belong to the user with the ID owner. As
// root, Open refuses a path that another user can change.
func Open(path string, owner int) (*Reader, error) {
	if _, err := safefile.GuardRead(path); err != nil {
		return nil, err
	}
	f, err := safefile.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = safefile.CheckMode(info)
	}
	if err == nil && safefile.Owner(info) != owner {
		err = safefile.Unsafe("it belongs to user %d, and the PID file to user %d", safefile.Owner(info), owner)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Reader{f}, nil
}

// Read returns the JSON object in the file.
func (r *Reader) Read() (object []byte, err error) {
	record, err := readRecord(r.f)
	if err != nil {
		return nil, err
	}
	return Unseal(record)
}

// Close closes the file.
func (r *Reader) Close() error { return r.f.Close() }

// Read returns the JSON object in the state file; see [Open].
func Read(path string, owner int) (object []byte, err error) {
	r, err := Open(path, owner)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Read()
}

// Retry calls read until it succeeds, for up to [RetryTime]. An error may be temporary: a record is
// incomplete during a write, and a new process removes the old file before it creates its own.
// Retry returns at once if the file is unsafe, if this user may not read it, or if read returns
// false for again.
func Retry(read func() (again bool, err error)) error {
	for deadline := time.Now().Add(RetryTime); ; time.Sleep(time.Millisecond) {
		again, err := read()
		if err == nil || !again || safefile.OutcomeOf(err).IsFinal() || time.Now().After(deadline) {
			return err
		}
	}
}

// readRecord reads one byte more than a record has, because a longer file is not a record.
func readRecord(f *os.File) ([]byte, error) {
	record := make([]byte, Size+1)
	n, err := f.ReadAt(record, 0) // one pread(2), so the record is rarely torn
	if err == io.EOF {
		err = nil
	}
	return record[:n], err
}
