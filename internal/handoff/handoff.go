// Package handoff defines what a supervisor passes to its next program when an upgrade executes
// that program in the same process (execve(2)).
//
// A Handoff contains the facts about the process that only its first program could see. The state
// of the life and of the workers is opaque to it.
package handoff

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"

	"example.com/lifecycle/internal/sys/takeover"
)

// Protocol is the version of the interface between two programs of an upgrade: the Handoff, and the
// messages between a supervisor and the worker of another program. A program reads the handoff of
// every program with the same version, and ignores fields that it does not know.
const Protocol = 1

// Handoff is what the next program needs. Paths are bytes, because JSON text must be UTF-8.
type Handoff struct {
	Format  int    `json:"format"` // Protocol
	PIDFile []byte `json:"pid_file"`
	Program []byte `json:"program"` // see startup.Program; "": unknown

	Background    bool `json:"background"`     // the daemon is detached
	UnderNohup    bool `json:"under_nohup"`    // HUP was ignored at the start
	SigintIgnored bool `json:"sigint_ignored"` // INT was ignored at the start

	Life    json.RawMessage `json:"life"`
	Workers json.RawMessage `json:"workers"`

	HasLock  bool `json:"has_lock"`  // the first file is the PID file
	HasState bool `json:"has_state"` // the next file is the state file

	// Signals are the channels with the signals that have arrived since the program was executed.
	Signals []chan os.Signal `json:"-"`

	// Files are open in both programs: the PID file, the state file, and those of the workers.
	Files []*os.File `json:"-"`
}

// Read decodes a handoff without its files.
func Read(state json.RawMessage) (*Handoff, error) {
	var version struct{ Format int }
	err := json.Unmarshal(state, &version)
	if err == nil && version.Format != Protocol {
		err = fmt.Errorf("it has format %d, but this program reads format %d", version.Format, Protocol)
	}
	h := new(Handoff)
	if err == nil {
		err = json.Unmarshal(state, h)
	}
	if err != nil {
		return nil, fmt.Errorf("the state of the supervisor cannot be read: %w", err)
	}
	return h, nil
}

// Inherited returns the handoff of the previous program of this process. It returns nil if this
// program is the first one.
func Inherited() (*Handoff, error) { return inherited() }

var inherited = sync.OnceValues(func() (*Handoff, error) {
	given := takeover.Inherited()
	if given == nil {
		return nil, nil
	}
	h, err := Read(given.State)
	if err == nil {
		h.Files, h.Signals = slices.Clone(given.Files), []chan os.Signal{given.Signals, given.Held}
	}
	return h, err
})

// taken is set when the handoff was taken. It is package state because a process has one handoff.
var taken sync.Once

// Take returns [Inherited] to its first caller, and nil to later ones.
func Take() (h *Handoff, err error) {
	taken.Do(func() { h, err = inherited() })
	return h, err
}

// NextFile returns the next of the files, or nil if has is false.
func (h *Handoff) NextFile(has bool) (f *os.File) {
	if has && len(h.Files) > 0 {
		f, h.Files = h.Files[0], h.Files[1:]
	}
	return f
}
