// Package safefile opens a file at a path that other users may have prepared. It does not follow a
// symbolic link at the end of the path, does not block on a FIFO, and does not open a device. It
// accepts only a regular file with a single name.
package safefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrUnsafe is wrapped by every refusal of this package.
var ErrUnsafe = errors.New("unsafe file")

// Create opens path for reading and writing. It creates a missing file with that mode less the
// umask. created reports whether this call created the file.
func Create(path string, mode fs.FileMode) (f *os.File, created bool, err error) {
	return placeAt(path).create(os.O_RDWR, mode)
}

// Append opens path for appending. It creates a missing file with that mode less the umask. created
// reports whether this call created the file.
func Append(path string, mode fs.FileMode) (f *os.File, created bool, err error) {
	return placeAt(path).create(os.O_WRONLY|os.O_APPEND, mode)
}

// Open opens path for reading.
func Open(path string) (*os.File, error) { return placeAt(path).openRegular(os.O_RDONLY) }

// OpenWrite opens path for reading and writing. It creates nothing.
func OpenWrite(path string) (*os.File, error) { return placeAt(path).openRegular(os.O_RDWR) }

// Same reports whether path still names the open file f.
func Same(f *os.File, path string) (bool, error) {
	opened, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(opened, named), err
}

// Removable returns nil if this process may remove the file at path, or else the reason. The
// process must be able to write the directory. In a sticky directory, it must also own the file or
// the directory (unlink(2)).
func Removable(path string) error { return removable(path) }

// Remove removes the file at path if it is still the open file f. It does nothing if path names
// another file or none.
func Remove(f *os.File, path string) error {
	same, err := Same(f, path)
	if same {
		err = os.Remove(path)
	}
	return err
}

// Still returns nil if f still refers to the file that an earlier Stat returned as was. A program
// that closes a descriptor twice may close a descriptor of other code. The next open then returns
// that descriptor for another file.
func Still(f *os.File, was fs.FileInfo) error {
	now, err := f.Stat()
	if err == nil && !os.SameFile(was, now) {
		err = errors.New("the program closed its descriptor, whose number now belongs to another file")
	}
	return err
}

// WriteOnce writes b at the start of f with exactly one write(2). A short write is an error and is
// not continued.
func WriteOnce(f *os.File, b []byte) error {
	n, err := writeOnce(f, b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	return nil
}

func check(path string, info fs.FileInfo) error {
	if what := kind(info.Mode()); what != "" {
		return refuse(path, "it is a %s, not a regular file", what)
	}
	// A file that was removed after the open has 0 links. The caller detects that with Same.
	if n := links(info); n > 1 {
		return refuse(path, "it has %d hard links", n)
	}
	return nil
}

// Unsafe returns an error that wraps [ErrUnsafe] and gives the reason.
func Unsafe(format string, args ...any) error {
	return &unsafeError{why: fmt.Sprintf(format, args...)}
}

// refuse returns the error for a file at path that this package does not accept.
func refuse(path, format string, args ...any) error {
	return &fs.PathError{Op: "open", Path: path, Err: Unsafe(format, args...)}
}

type unsafeError struct {
	why, advice string
}

func (e *unsafeError) Error() string { return e.why }
func (e *unsafeError) Unwrap() error { return ErrUnsafe }

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return ""
	case mode&fs.ModeSymlink != 0:
		return "symbolic link"
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeNamedPipe != 0:
		return "FIFO"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	default:
		return "special file"
	}
}
