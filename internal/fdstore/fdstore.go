// Package fdstore has the descriptors of this process by name: those that it has inherited from a
// service manager, those that the program has claimed or opened, and which of them the manager
// keeps for the next process (sd_listen_fds(3), FDSTORE in sd_notify(3)).
//
// A life tells it, as values, who the manager is and what closing a descriptor means just now.
package fdstore

import (
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/lifecycle/internal/activation"
)

// Entry is a descriptor with its name.
type Entry = activation.Socket

// process has the descriptors of this process. It is package state: a process inherits its
// descriptors once, for everything in it, and the program may claim them before it calls Run.
var process table

type table struct {
	mu        sync.Mutex
	inherited bool              // inherit was called
	handedOn  func() []*os.File // see InheritFrom
	unclaimed []Entry
	claimed   []*Descriptor // in the order in which they were claimed
	everUsed  bool          // the program has claimed or opened one
	usedEarly bool          // and did so before the bodies ran
	stored    int           // how many descriptors the manager keeps
	removed   time.Time     // when the manager was last told to remove one
	left      []socketFile  // of closed sockets that the manager keeps
	life      Life
}

// InheritFrom sets where more descriptors come from than from the environment: files returns those
// that the launcher has handed to this process. It is called once, when the first descriptor is
// needed.
func InheritFrom(files func() []*os.File) {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.handedOn = files
}

// inherit takes the inherited descriptors, once. t.mu is held.
func (t *table) inherit() {
	if t.inherited {
		return
	}
	t.inherited = true
	t.unclaimed = activation.Take()
	if t.handedOn != nil {
		for _, f := range t.handedOn() {
			t.unclaimed = append(t.unclaimed, Entry{Name: f.Name(), File: f})
		}
	}
	for _, e := range t.unclaimed {
		if isStored(e) {
			t.stored++
		}
	}
}

// isStored reports whether a manager keeps an inherited descriptor because an earlier process has
// asked it to. The name has a colon then: it is "network:address". Those of a socket unit belong to
// the unit.
func isStored(e Entry) bool {
	key, ok := activation.Key(e.Name)
	return ok && strings.Contains(key, ":")
}

// Unclaimed returns the inherited descriptors that nobody has claimed. They stay unclaimed: a
// launcher gives copies to the daemon.
func Unclaimed() []Entry {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.inherit()
	return slices.Clone(process.unclaimed)
}

// TakeUnclaimed returns the inherited descriptors that nobody has claimed. The caller owns them
// from now on: a supervisor passes them to its worker.
func TakeUnclaimed() []Entry {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.inherit()
	all := process.unclaimed
	process.unclaimed, process.stored = nil, 0
	return all
}

// FirstUse returns how the first descriptor that is in use was claimed or opened. ok is false if
// none is in use.
func FirstUse() (use Use, ok bool) {
	process.mu.Lock()
	defer process.mu.Unlock()
	if len(process.claimed) == 0 {
		return use, false
	}
	return process.claimed[0].use, true
}

// Uses reports whether this process has a descriptor in use that is bound to that socket file.
func Uses(path string) bool {
	process.mu.Lock()
	defer process.mu.Unlock()
	return slices.ContainsFunc(process.claimed, func(d *Descriptor) bool { return d.use.Path == path })
}

// LastRemoved returns when the manager was last told to remove a descriptor. It may close its copy
// later, and the address is in use until then.
func LastRemoved() time.Time {
	process.mu.Lock()
	defer process.mu.Unlock()
	return process.removed
}

// ValidName reports whether a descriptor can have that name in LISTEN_FDNAMES (sd_listen_fds_with_names(3)).
func ValidName(name string) bool {
	unfit := func(r rune) bool { return r < ' ' || r > '~' || r == ':' }
	return name != "" && len(name) <= 255 && !strings.ContainsFunc(name, unfit)
}
