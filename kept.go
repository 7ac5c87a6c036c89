package lifecycle

import (
	"os"
	"strings"

	"example.com/lifecycle/internal/activation"
	"example.com/lifecycle/internal/sdnotify"
)

// maxStore is how many sockets a parent keeps for its workers (FDSTORE in systemd.exec(5)).
const maxStore = 512

// storedSocket is a socket that outlives workers.
type storedSocket struct {
	activation.Socket
	info os.FileInfo // by which it is known
}

// keep keeps the sockets of a message that asks for it, or gives up those that it names, as sd_pid_notify_with_fds(3) has it, and returns the files that are not
// wanted. supervisor.mu is held.
func (s *supervisor) keep(m sdnotify.Message) (unwanted []*os.File) {
	name, named := m.Value("FDNAME")
	named = named && canBeTold(name)
	if _, remove := m.Value("FDSTOREREMOVE"); remove && named {
		kept := s.store[:0]
		for _, k := range s.store {
			if k.Name == name {
				k.File.Close()
			} else {
				kept = append(kept, k)
			}
		}
		s.store = kept
	}
	if _, add := m.Value("FDSTORE"); !add {
		return m.Files
	}
	if !named {
		name = "stored" // as systemd calls it
	}
	for _, f := range m.Files {
		info, err := f.Stat()
		switch {
		case err != nil, s.keeps(info):
			unwanted = append(unwanted, f)
		case len(s.store) >= maxStore:
			s.life.log.Warn("a socket of the worker is not kept: there are too many", "name", name, "kept", maxStore)
			unwanted = append(unwanted, f)
		default:
			s.store = append(s.store, storedSocket{activation.Socket{Name: name, File: f}, info})
		}
	}
	return unwanted
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

// forget closes what was kept.
func (s *supervisor) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.store {
		k.File.Close()
	}
	s.store = nil
}
