package fdstore

import (
	"log/slog"
	"os"
	"slices"
	"time"

	"example.com/lifecycle/internal/activation"
)

// Stage says what it means that the program closes a descriptor.
type Stage int

const (
	Starting Stage = iota // the program can claim it again
	Running               // it is given up for good
	Stopping              // it is left to the next process, if the manager keeps it
)

// Life is the life of this process, as far as its descriptors depend on it.
type Life struct {
	Stage   func() Stage // of the life just now; may be called by any goroutine
	Manager *Manager     // nil: nobody keeps descriptors
}

// Manager keeps descriptors for the next process.
type Manager struct {
	Room   int // how many descriptors it keeps
	Log    *slog.Logger
	Store  func(name string, f *os.File) error
	Remove func(name string)
}

// Begin begins a life. It takes the inherited descriptors, so that no child inherits them, and
// gives the manager those that the program has opened before.
func Begin(l Life) {
	t := &process
	t.mu.Lock()
	t.inherit()
	t.life = l
	claimed := slices.Clone(t.claimed)
	t.mu.Unlock()
	for _, d := range claimed {
		d.store(l.Manager)
	}
}

// End ends the connection to the manager. The stage of the life still counts. If no process follows that
// the manager would give the sockets to, their files are removed. isLast reports that; it is called only
// if there are such files.
func End(isLast func() bool) {
	if files := process.leftFiles(); len(files) > 0 && isLast() {
		for _, f := range files {
			f.remove()
		}
	}
	process.mu.Lock()
	defer process.mu.Unlock()
	process.life.Manager, process.left = nil, nil
}

// stage is that of the life. Before there is one, it is Starting.
func (t *table) stage() Stage {
	t.mu.Lock()
	stage := t.life.Stage
	t.mu.Unlock()
	if stage == nil {
		return Starting
	}
	return stage()
}

// unstore tells the manager to remove a descriptor.
func (t *table) unstore(name string) {
	t.mu.Lock()
	t.stored--
	t.removed = time.Now()
	m := t.life.Manager
	t.mu.Unlock()
	if m != nil {
		m.Remove(name)
	}
}

// BodiesBegin notes whether the program has used a descriptor before its bodies run.
func BodiesBegin() {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.usedEarly = process.everUsed
}

// CloseUnclaimed closes the listening sockets that nobody has claimed when the life is ready:
// whoever connects to one would wait for ever. A program that has claimed nothing yet may do so
// later, or may know the descriptors by other means, so they stay open then.
func CloseUnclaimed(log *slog.Logger) {
	t := &process
	t.mu.Lock()
	early := t.usedEarly
	entries := slices.Clone(t.unclaimed)
	if early { // a connection stays open, whatever it is for
		listens := func(e Entry) bool { return activation.Network(e.File) != "" }
		t.unclaimed = slices.DeleteFunc(t.unclaimed, listens)
		entries = slices.DeleteFunc(entries, func(e Entry) bool { return !listens(e) })
	}
	t.mu.Unlock()
	if len(entries) == 0 {
		return
	}
	var names []string
	for _, e := range entries {
		name := e.Name
		if isStored(e) {
			name, _ = activation.Key(name)
		}
		names = append(names, name)
	}
	if !early {
		log.Info(
			"sockets were given and stay open, though nobody has called Listen before the bodies",
			"sockets", names,
		)
		return
	}
	for _, e := range entries {
		file := fileOf(e)
		e.File.Close()
		if isStored(e) {
			t.unstore(e.Name)
			file.remove()
		}
	}
	log.Warn("closed sockets that were given and that nobody has asked for", "sockets", names)
}
