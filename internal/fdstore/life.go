package fdstore

import (
	"log/slog"
	"os"
	"slices"
	"time"

	"example.com/lifecycle/internal/sys/activation"
)

// Stage determines what happens to a descriptor when the program closes it.
type Stage int

const (
	Starting Stage = iota // the program can claim it again
	Running               // the socket file and the manager's copy are removed
	Stopping              // both stay for the next process, if the manager keeps the socket
)

// Life describes the life of this process.
type Life struct {
	Stage   func() Stage // returns the present stage; any goroutine may call it
	Manager *Manager     // nil: no manager keeps descriptors
}

// Manager keeps descriptors for the next process.
type Manager struct {
	Room   int // how many descriptors it keeps
	Log    *slog.Logger
	Store  func(name string, f *os.File) error
	Remove func(name string)
}

// Begin begins a life. It takes the inherited descriptors, and children then do not inherit them.
// It gives the manager the descriptors that the program has opened before.
func Begin(l Life) {
	t := &process
	t.mu.Lock()
	t.inherit()
	t.life, t.living = l, true
	claimed := slices.Clone(t.claimed)
	t.mu.Unlock()
	for _, d := range claimed {
		d.store(l.Manager)
	}
}

// End ends the life. It removes the files of the sockets that the program has bound and not closed,
// unless the manager keeps the socket. isLast reports whether no later process inherits the kept
// sockets. If it returns true, End removes their files too. End calls isLast only if there are such
// files. A Close after End still uses the stage of the life.
func End(isLast func() bool) {
	RemoveFiles()
	if files := process.leftFiles(); len(files) > 0 && isLast() {
		for _, f := range files {
			f.remove()
		}
	}
	process.mu.Lock()
	defer process.mu.Unlock()
	process.life.Manager, process.left, process.living = nil, nil, false
}

// Abandon removes the files of the sockets that the program has bound before Run, in a process that
// ends without a life. It does nothing during a life.
func Abandon() {
	process.mu.Lock()
	living := process.living
	process.mu.Unlock()
	if !living {
		RemoveFiles()
	}
}

// RemoveFiles removes the files of the sockets that the program has bound and not closed, unless
// the manager keeps the socket. The sockets stay open.
func RemoveFiles() {
	process.mu.Lock()
	claimed := slices.Clone(process.claimed)
	process.mu.Unlock()
	for _, d := range claimed {
		d.removeFile()
	}
}

// stage returns the stage of the life, or Starting before a life begins.
func (t *table) stage() Stage {
	t.mu.Lock()
	stage := t.life.Stage
	t.mu.Unlock()
	if stage == nil {
		return Starting
	}
	return stage()
}

// unstore asks the manager to remove a descriptor.
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

// BodiesBegin records whether the program has used a descriptor before its bodies run.
func BodiesBegin() {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.usedEarly = process.everUsed
}

// CloseUnclaimed closes the listening sockets that are still unclaimed when the life is ready,
// because their clients would wait forever. If the program used no descriptor before its bodies
// began, CloseUnclaimed closes none: the program may claim them later, or read LISTEN_FDS itself.
func CloseUnclaimed(log *slog.Logger) {
	t := &process
	t.mu.Lock()
	early := t.usedEarly
	entries := slices.Clone(t.unclaimed)
	if early { // connected sockets stay open
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
			"inherited sockets stay open although the program did not call Listen before its bodies began",
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
	log.Warn("closed inherited sockets that the program does not use", "sockets", names)
}
