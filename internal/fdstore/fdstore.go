// Package fdstore holds descriptors of this process by name. The process has inherited them from a
// service manager, or the program has opened them. The package also records which of them the
// manager keeps for the next process (sd_listen_fds(3), FDSTORE in sd_notify(3)).
//
// The life passes the manager and its stage to this package. The effect of closing a descriptor
// depends on the stage.
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
	everUsed  bool          // the program has claimed or opened a descriptor
	usedEarly bool          // everUsed was true when the bodies began
	stored    int           // number of descriptors that the manager keeps
	removed   time.Time     // time of the last request to remove a descriptor
	left      []socketFile  // files of closed sockets that the manager keeps
	life      Life
	living    bool // the life has begun and has not ended
}

// InheritFrom sets a second source of inherited descriptors, besides the environment: files returns
// the descriptors that the launcher passed to this process. This package calls files once, when it
// needs the first descriptor.
func InheritFrom(files func() []*os.File) {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.handedOn = files
}

// inherit takes the inherited descriptors. Further calls do nothing. The caller holds t.mu.
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

// FirstUse returns the use of the first descriptor that the program has claimed or opened. ok is
// false if there is none.
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

// LastRemoved returns the time of the last request to the manager to remove a descriptor. The
// manager may close its copy later, and until then the address is in use.
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
