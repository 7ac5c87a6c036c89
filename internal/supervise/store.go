package supervise

import (
	"log/slog"
	"os"
	"slices"
	"time"

	"example.com/lifecycle/internal/fdstore"
	"example.com/lifecycle/internal/sys/openfile"
	"example.com/lifecycle/internal/sys/sdnotify"
)

// maxNames limits the total length of the names in LISTEN_FDNAMES, because execve(2) fails if one
// variable has 128 KiB.
const maxNames = 32 << 10

// store contains the descriptors for the next worker. Supervisor.mu guards it.
type store struct {
	all    []fdstore.Entry
	warned bool // a refused descriptor was logged
}

// storeRequest is a request to store or remove descriptors, from one message
// (sd_pid_notify_with_fds(3)).
type storeRequest struct {
	add    []fdstore.Entry
	remove string // name of the descriptors to remove; "": none
	close  []*os.File
	warn   string
}

// newStoreRequest reads the request of a message.
func newStoreRequest(m sdnotify.Message) (r storeRequest) {
	name, named := m.Value("FDNAME")
	named = named && fdstore.ValidName(name)
	if _, remove := m.Value("FDSTOREREMOVE"); remove && named {
		r.remove = name
	}
	if !named {
		name = "stored" // the name that systemd uses
	}
	_, add := m.Value("FDSTORE")
	for _, file := range m.Files {
		if add {
			r.add = append(r.add, fdstore.Entry{Name: name, File: file})
		} else {
			r.close = append(r.close, file)
		}
	}
	if add && m.Refused > 0 {
		r.warn = "cannot store a descriptor of the worker: it is not a socket, a pipe, a memory file, or a regular file of a local file system"
	}
	return r
}

// finish closes the refused descriptors and logs the warning. No lock is held.
func (r *storeRequest) finish(log *slog.Logger) {
	if len(r.close) > 0 {
		sdnotify.Discard(r.close...)
	}
	if r.warn != "" {
		log.Warn(r.warn)
	}
}

// update executes the request. Supervisor.mu is held.
func (s *store) update(r *storeRequest) {
	kept := s.all[:0]
	names := 0
	for _, k := range s.all {
		if r.remove != "" && k.Name == r.remove {
			r.close = append(r.close, k.File)
		} else {
			kept = append(kept, k)
			names += len(k.Name) + 1
		}
	}
	clear(s.all[len(kept):])
	s.all = kept
	for _, k := range r.add {
		switch {
		case s.has(k.File):
			r.close = append(r.close, k.File)
		case len(s.all) >= sdnotify.Room() || names+len(k.Name) >= maxNames:
			r.warn = "cannot store a descriptor of the worker: there are too many, or their names are too long"
			r.close = append(r.close, k.File)
		default:
			s.all = append(s.all, k)
			names += len(k.Name) + 1
		}
	}
	if s.warned { // warn only once
		r.warn = ""
	}
	s.warned = s.warned || r.warn != ""
}

func (s *store) has(f *os.File) bool {
	return slices.ContainsFunc(s.all, func(k fdstore.Entry) bool { return openfile.Same(k.File, f) })
}

// forget removes descriptors. Supervisor.mu is held.
func (s *store) forget(files []*os.File) {
	s.all = slices.DeleteFunc(s.all, func(k fdstore.Entry) bool { return slices.Contains(files, k.File) })
}

// stored returns the descriptors for the next worker.
func (s *Supervisor) stored() (entries []fdstore.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.store.all)
}

// closeStore closes the stored descriptors. It waits at most WorkerMargin for that. It removes no
// socket file, because the supervisor does not trust a path that a worker names. The process that
// bound the socket removes the file.
func (s *Supervisor) closeStore() {
	s.mu.Lock()
	all := s.store.all
	s.store.all = nil
	s.mu.Unlock()
	var files []*os.File
	for _, k := range all {
		files = append(files, k.File)
	}
	select {
	case <-sdnotify.Discard(files...):
	case <-time.After(WorkerMargin):
	}
}
