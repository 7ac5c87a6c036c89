// Package fdstore holds the descriptors of this process by name: the descriptors that it has
// inherited from a service manager, and the descriptors that the program has claimed or opened. It
// also records which of them the manager keeps for the next process (sd_listen_fds(3), FDSTORE in
// sd_notify(3)).
//
// The life passes the manager and its own present stage to this package as values. The stage
// determines what closing a descriptor means.
package fdstore

import (
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/lifecycle/internal/sys/activation"
	"example.com/lifecycle/internal/sys/safefile"
)

// Entry is a descriptor with its name.
type Entry = activation.Socket

// process holds the descriptors of this process. It is package state: a process inherits its
// descriptors once, and the program may claim them before it calls Run.
var process table

type table struct {
	mu        sync.Mutex
	inherited bool              // inherit has run
	handedOn  func() []*os.File // see InheritFrom
	unclaimed []Entry
	claimed   []*Descriptor // in the order in which they were claimed
	kept      []kept        // oldest first
	everUsed  bool          // the program has claimed or opened one
	usedEarly bool          // everUsed was true before the bodies ran
	stored    int           // how many descriptors the manager keeps
	removed   time.Time     // when the manager was last asked to remove one
	left      []socketFile  // files of closed sockets that the manager keeps
	life      Life
	living    bool // the life has begun and not ended
}

// InheritFrom sets a second source of inherited descriptors beside the environment: files returns
// the descriptors that the launcher has handed to this process. files is called once, when the
// first descriptor is needed.
func InheritFrom(files func() []*os.File) {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.handedOn = files
}

// inherit takes the inherited descriptors. It does so once. The caller holds t.mu.
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
	t.takeKept()
}

// isStored reports whether a manager keeps an inherited descriptor because an earlier process has
// stored it. The name of such a descriptor is "network:address", so it contains a colon. A socket
// of a socket unit belongs to the unit and is not stored.
func isStored(e Entry) bool {
	key, ok := activation.Key(e.Name)
	return ok && strings.Contains(key, ":")
}

// Unclaimed returns the inherited descriptors that the program has not claimed. They stay
// unclaimed. A launcher passes copies to the daemon.
func Unclaimed() []Entry {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.inherit()
	return slices.Clone(process.unclaimed)
}

// TakeUnclaimed returns the inherited descriptors that the program has not claimed. The caller then
// owns them. A supervisor passes them to its worker.
func TakeUnclaimed() []Entry {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.inherit()
	all := process.unclaimed
	process.unclaimed, process.stored = nil, 0
	return all
}

// FirstUse returns how the program claimed or opened the first descriptor that is in use. ok is
// false if none is in use.
func FirstUse() (use Use, ok bool) {
	process.mu.Lock()
	defer process.mu.Unlock()
	if len(process.claimed) == 0 {
		return use, false
	}
	return process.claimed[0].use, true
}

// Uses reports whether the program uses a descriptor that is bound to this socket file.
func Uses(path string) bool {
	process.mu.Lock()
	defer process.mu.Unlock()
	return slices.ContainsFunc(process.claimed, func(d *Descriptor) bool { return d.use.Path != "" && safefile.SameEntry(d.use.Path, path) })
}

// LastRemoved returns when the manager was last asked to remove a descriptor. The manager may close
// its copy later. The address is in use until then.
func LastRemoved() time.Time {
	process.mu.Lock()
	defer process.mu.Unlock()
	return process.removed
}

// ValidName reports whether a descriptor can have this name in LISTEN_FDNAMES
// (sd_listen_fds_with_names(3)).
func ValidName(name string) bool {
	unfit := func(r rune) bool { return r < ' ' || r > '~' || r == ':' }
	return name != "" && len(name) <= 255 && !strings.ContainsFunc(name, unfit)
}
