package pidfile

import (
	"os"
	"sync"

	"example.com/lifecycle/internal/safefile"
)

// held are the locks that this process owns. An inspection must not open their files: all POSIX
// locks of a process on a file go when it closes any descriptor of that file (fcntl_locking(2)).
var held registry

type registry struct {
	// mu keeps inspections and acquisitions apart. An inspection holds it for reading, and an
	// acquisition for writing, from before it opens the file until the lock is registered. A
	// release does not wait for it: a disk may hang.
	mu    sync.RWMutex
	locks sync.Map // of *Lock
}

func (r *registry) add(l *Lock) { r.locks.Store(l, nil) }

func (r *registry) remove(l *Lock) { r.locks.Delete(l) }

// holder returns the holder of the file at path, if this process is it.
func (r *registry) holder(path string) (h Holder, ours bool) {
	info, err := os.Lstat(path)
	if err != nil {
		return h, false
	}
	for lock := range r.locks.Range {
		holds, written := lock.(*Lock).holds(info)
		if !holds {
			continue
		}
		h = Holder{Held: true, Daemon: true, Known: true, PID: os.Getpid()}
		h.Owner = safefile.Owner(info)
		if written {
			h.Number = h.PID
		}
		return h, true
	}
	return h, false
}
