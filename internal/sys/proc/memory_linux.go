package proc

import (
	"os"
	"sync"
	"time"
)

// reads are reads of files in /proc that may hang. For such a read, the kernel waits for locks of
// the other process, such as the lock of its memory. The other process may hold these locks while
// it waits for a file system that does not answer. Therefore a read has a time limit, and continues
// in a goroutine.
type reads struct {
	limit time.Duration
	most  int // how many may hang

	mu   sync.Mutex
	hung map[string]bool
}

// memory is package state because a read that hangs holds a thread of this process.
var memory = reads{limit: 500 * time.Millisecond, most: 8}

// read returns the content of a file, or nil if it cannot read the file in time. It returns nil at
// once for a file that already hangs, and if too many files hang.
func (r *reads) read(path string) []byte {
	r.mu.Lock()
	if r.hung[path] || len(r.hung) >= r.most {
		r.mu.Unlock()
		return nil
	}
	r.mu.Unlock()
	result := make(chan []byte, 1)
	go func() {
		text, err := os.ReadFile(path)
		if err != nil {
			text = nil
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.hung, path)
		result <- text
	}()
	timer := time.NewTimer(r.limit)
	defer timer.Stop()
	select {
	case text := <-result:
		return text
	case <-timer.C:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case text := <-result:
		return text
	default:
	}
	if r.hung == nil {
		r.hung = map[string]bool{}
	}
	r.hung[path] = true
	return nil
}
