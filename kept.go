package lifecycle

import (
	"os"
	"strings"
	"time"

	"example.com/lifecycle/internal/activation"
	"example.com/lifecycle/internal/sdnotify"
)

// maxNames bounds the names of what is kept in LISTEN_FDNAMES. execve(2) fails if one variable has 128 KiB.
const maxNames = 32 << 10

// storedSocket is a descriptor that outlives workers.
type storedSocket struct {
	activation.Socket
	info os.FileInfo // by which it is known
}

func newStored(name string, f *os.File) (storedSocket, error) {
	info, err := f.Stat()
	return storedSocket{activation.Socket{Name: name, File: f}, info}, err
}

// storeRequest is what a message asks of the store, as sd_pid_notify_with_fds(3) has it.
type storeRequest struct {
	add    []storedSocket
	remove string // the name of what is not wanted any more
	close  []*os.File
	warn   string
}

// newStoreRequest reads that from a message. It takes no lock, because it asks the system about the descriptors.
func newStoreRequest(m sdnotify.Message) (f storeRequest) {
	name, named := m.Value("FDNAME")
	named = named && canBeTold(name)
	if _, remove := m.Value("FDSTOREREMOVE"); remove && named {
		f.remove = name
	}
	if !named {
		name = "stored" // as systemd calls it
	}
	_, add := m.Value("FDSTORE")
	for _, file := range m.Files {
		if stored, err := newStored(name, file); add && err == nil {
			f.add = append(f.add, stored)
		} else {
			f.close = append(f.close, file)
		}
	}
	if add && m.Refused > 0 {
		f.warn = "a descriptor of the worker is not kept: it is no socket, pipe or file in memory"
	}
	return f
}

// keep keeps what is to be kept. What is to be closed is added to f, for the time without supervisor.mu, which is held.
func (s *supervisor) keep(f *storeRequest) {
	kept := s.store[:0]
	names := 0
	for _, k := range s.store {
		if f.remove != "" && k.Name == f.remove {
			f.close = append(f.close, k.File)
		} else {
			kept = append(kept, k)
			names += len(k.Name) + 1
		}
	}
	clear(s.store[len(kept):])
	s.store = kept
	for _, k := range f.add {
		switch {
		case s.keeps(k.info):
			f.close = append(f.close, k.File)
		case len(s.store) >= sdnotify.Room() || names+len(k.Name) >= maxNames:
			f.warn = "a descriptor of the worker is not kept: there are too many, or their names are too long"
			f.close = append(f.close, k.File)
		default:
			s.store = append(s.store, k)
			names += len(k.Name) + 1
		}
	}
	if s.warned { // once is enough
		f.warn = ""
	}
	s.warned = s.warned || f.warn != ""
}

// canBeTold says whether a file can have that name in LISTEN_FDNAMES, as systemd has it: what cannot would keep every worker from being started.
func canBeTold(name string) bool {
	unfit := func(r rune) bool { return r < ' ' || r > '~' || r == ':' }
	return name != "" && len(name) <= 255 && !strings.ContainsFunc(name, unfit)
}

func (s *supervisor) keeps(info os.FileInfo) bool {
	for _, k := range s.store {
		if os.SameFile(k.info, info) {
			return true
		}
	}
	return false
}

// closeAll closes what is kept, and waits for that if it does not take long. It removes no socket file: who has bound
// that does so, for a path that a worker has named means nothing to its parent.
func (s *supervisor) closeAll() {
	s.mu.Lock()
	store := s.store
	s.store = nil
	s.mu.Unlock()
	var files []*os.File
	for _, k := range store {
		files = append(files, k.File)
	}
	select {
	case <-sdnotify.Discard(files...):
	case <-time.After(workerMargin):
	}
}
