package fdstore

import (
	"io/fs"
	"os"
	"slices"
	"sync"
)

// Use is what a descriptor is used for.
type Use struct {
	Call, Network, Address string                   // of Listen or ListenPacket
	Where                  string                   // file and line in the program that called it
	Path                   string                   // of the socket file, "" if there is none
	File                   fs.FileInfo              // the socket file, if this process has made it
	Name                   func(n int) string       // of the nth descriptor of this use, from 1
	Copy                   func() (*os.File, error) // returns a duplicate
}

// Descriptor is a descriptor in use.
type Descriptor struct {
	use       Use
	name      string
	inherited bool
	file      socketFile

	mu     sync.Mutex
	stored bool // the manager has a copy
	closed bool
}

// Claim returns the inherited descriptor with a name of this use for which open returns nil, or
// nil. open makes of the file what the program uses, which has a duplicate of the descriptor.
func Claim(use Use, open func(*os.File) error) *Descriptor {
	process.dropUnreachable(use)
	d := process.claim(use, open)
	d.findFile()
	return d
}

func (t *table) claim(use Use, open func(*os.File) error) *Descriptor {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := 1; n <= len(t.unclaimed)+len(t.claimed); n++ {
		for i, e := range t.unclaimed {
			if e.Name == use.Name(n) && open(e.File) == nil {
				return t.assign(i, use)
			}
		}
	}
	return nil
}

// ClaimWhere is like Claim, but for descriptors with any name.
func ClaimWhere(use Use, open func(*os.File) error) *Descriptor {
	d := process.claimWhere(use, open)
	d.findFile()
	return d
}

func (t *table) claimWhere(use Use, open func(*os.File) error) *Descriptor {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, e := range t.unclaimed {
		if open(e.File) == nil {
			return t.assign(i, use)
		}
	}
	return nil
}

// assign takes an unclaimed descriptor for that use. t.mu is held.
func (t *table) assign(i int, use Use) *Descriptor {
	e := t.unclaimed[i]
	t.unclaimed = slices.Delete(t.unclaimed, i, i+1)
	e.File.Close() // the program has a duplicate
	d := &Descriptor{use: use, name: e.Name, inherited: true, stored: isStored(e)}
	t.claimed = append(t.claimed, d)
	return d
}

// Add adds a descriptor that the program has opened, and gives the manager a copy.
func Add(use Use) *Descriptor {
	d := &Descriptor{use: use, file: socketFile{use.Path, use.File}}
	m := process.add(d)
	d.store(m)
	return d
}

func (t *table) add(d *Descriptor) *Manager {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := 1; d.name == ""; n++ {
		if name := d.use.Name(n); !t.has(name) {
			d.name = name
		}
	}
	t.claimed = append(t.claimed, d)
	return t.life.Manager
}

func (t *table) has(name string) bool {
	return slices.ContainsFunc(t.unclaimed, func(e Entry) bool { return e.Name == name }) ||
		slices.ContainsFunc(t.claimed, func(d *Descriptor) bool { return d.name == name })
}

// store gives the manager a copy, unless it has one. An inherited descriptor is not stored: systemd
// keeps the sockets of a socket unit anyway.
func (d *Descriptor) store(m *Manager) {
	if m == nil || m.Room <= 0 || d.inherited {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.stored {
		return
	}
	if !process.reserve(m) {
		m.Log.Warn("the service manager keeps no more sockets", "most", m.Room,
			"network", d.use.Network, "address", d.use.Address)
		return
	}
	f, err := d.use.Copy()
	if err == nil {
		err = m.Store(d.name, f)
		f.Close()
	}
	if d.stored = err == nil; !d.stored {
		process.unreserve()
		m.Log.Warn("the service manager does not get a socket to keep",
			"network", d.use.Network, "address", d.use.Address, "err", err)
	}
}

// reserve makes room for one more descriptor in the store of the manager. It returns false if it is
// full.
func (t *table) reserve(m *Manager) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stored >= m.Room {
		return false
	}
	t.stored++
	return true
}

// unreserve undoes reserve.
func (t *table) unreserve() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stored--
}

// Close says that the program is about to close a descriptor. Depending on the stage of the life,
// it can be claimed again, or its socket file and the copy of the manager are removed, or both are
// left to the next process. Another call does nothing.
func (d *Descriptor) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	stage := process.stage()
	switch {
	case stage < Stopping && d.inherited && !d.stored, stage == Starting && d.stored:
		// To bind it again would fail, since the manager has it.
		if f, err := d.use.Copy(); err == nil {
			process.release(d, &Entry{Name: d.name, File: f})
			return
		}
	case stage < Stopping && d.stored:
		process.unstore(d.name)
		d.file.remove()
	case !d.stored:
		d.file.remove()
	default:
		process.leave(d.file)
	}
	process.release(d, nil)
}

// release ends the use of a descriptor. If there is a copy, it can be claimed again.
func (t *table) release(d *Descriptor, again *Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.claimed = slices.DeleteFunc(t.claimed, func(o *Descriptor) bool { return o == d })
	if again != nil {
		t.unclaimed = append(t.unclaimed, *again)
	}
}
