package fdstore

import (
	"io/fs"
	"os"
	"slices"
	"sync"
)

// Use describes how the program uses a descriptor.
type Use struct {
	Call, Network, Address string                   // Listen or ListenPacket, and its arguments
	Where                  string                   // file and line of the caller in the program
	Path                   string                   // of the socket file; "" if there is none
	File                   fs.FileInfo              // the socket file, if this process has created it
	Name                   func(n int) string       // returns the nth name of this use, from 1
	Copy                   func() (*os.File, error) // returns a duplicate
}

// Descriptor is a descriptor that the program uses.
type Descriptor struct {
	use       Use
	name      string
	inherited bool
	file      socketFile

	mu     sync.Mutex
	stored bool // the manager has a copy
	closed bool
}

// Claim calls open for each inherited descriptor with a name of this use, until open returns nil.
// It returns that descriptor, or nil if there is none. open duplicates the descriptor and makes the
// object that the program uses.
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

// ClaimWhere is like Claim, but it tries descriptors with any name. It claims the first one for
// which open returns true.
func ClaimWhere(use Use, open func(*os.File) bool) *Descriptor {
	d := process.claimWhere(use, open)
	d.findFile()
	return d
}

func (t *table) claimWhere(use Use, open func(*os.File) bool) *Descriptor {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, e := range t.unclaimed {
		if open(e.File) {
			return t.assign(i, use)
		}
	}
	return nil
}

// assign moves an unclaimed descriptor to this use. The caller holds t.mu.
func (t *table) assign(i int, use Use) *Descriptor {
	e := t.unclaimed[i]
	t.unclaimed = slices.Delete(t.unclaimed, i, i+1)
	e.File.Close() // the program has a duplicate
	d := &Descriptor{use: use, name: e.Name, inherited: true, stored: isStored(e)}
	t.claimed = append(t.claimed, d)
	return d
}

// Add registers a descriptor that the program has opened, and gives the manager a copy.
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

// store gives the manager a copy, unless the manager has one. It skips inherited descriptors,
// because the manager keeps the sockets of a socket unit itself.
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
		m.Log.Warn("the service manager has no room to store another socket", "most", m.Room,
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
		m.Log.Warn("cannot store a socket at the service manager",
			"network", d.use.Network, "address", d.use.Address, "err", err)
	}
}

// reserve reserves room for one more descriptor in the manager's store. It returns false if the
// store is full.
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

// Close must be called before the program closes the descriptor. Its effect depends on the stage of
// the life; see [Stage]. Further calls do nothing.
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
		// The manager still has the socket open, so a second bind would fail.
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

// release ends the use of a descriptor. If again is not nil, the program can claim it as a copy.
func (t *table) release(d *Descriptor, again *Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.claimed = slices.DeleteFunc(t.claimed, func(o *Descriptor) bool { return o == d })
	if again != nil {
		t.unclaimed = append(t.unclaimed, *again)
	}
}
