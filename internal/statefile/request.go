package statefile

import (
	"os"

	"example.com/lifecycle/internal/sys/filelock"
	"example.com/lifecycle/internal/sys/safefile"
)

// Request makes a request to the process that writes the state file at path. The request lasts
// until the caller closes the returned file. The process detects the request with
// [File.HasRequest]. The caller needs the permission to write the file. The error wraps
// [filelock.ErrHeld] if another process makes a request at the same time.
func Request(path string) (*os.File, error) {
	if err := safefile.GuardWrite(path); err != nil {
		return nil, err
	}
	f, err := safefile.OpenWrite(path)
	if err != nil {
		return nil, err
	}
	if err := filelock.LockRequest(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// HasRequest reports whether another process makes a request.
func (f *File) HasRequest() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.closed && f.file.CheckOpen() == nil && filelock.HasRequest(f.file.File)
}
