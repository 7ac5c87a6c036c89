package main

import (
	"context"
	"os"
	"sync/atomic"
)

// logFile writes to stderr until open has opened its file.
//
// It is tempting to open the file in main. But then `echod status` would create it, and fail where it may not; and a
// second echod that is about to be refused would write into the log of the first.
type logFile struct {
	path string // empty: stderr
	file atomic.Pointer[os.File]
}

// open has no counterpart that closes: the life's last record is written after the last hook.
func (l *logFile) open(context.Context) error {
	if l.path == "" {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	l.file.Store(f)
	return nil
}

func (l *logFile) Write(p []byte) (int, error) {
	if f := l.file.Load(); f != nil {
		return f.Write(p)
	}
	return os.Stderr.Write(p)
}
