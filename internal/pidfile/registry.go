package pidfile

import (
	"os"
	"sync"

	"example.com/lifecycle/internal/sys/safefile"
)

// held contains the locks of this process. An inspection must not open their files, because a
// process loses all its POSIX locks on a file when it closes any descriptor of the file
// (fcntl_locking(2)).
var held registry

type registry struct {
	// No inspection runs during an acquisition. An inspection holds mu for reading. An acquisition
	// holds mu for writing, from before it opens the file until the lock is registered. A release does
	// not hold mu, because the disk may hang.
	mu    sync.RWMutex
	locks sync.Map // of *Lock
}

func (r *registry) add(l *Lock) { r.locks.Store(l, nil) }

func (r *registry) remove(l *Lock) { r.locks.Delete(l) }

// holder returns the holder of the file at path if this process holds it.
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
