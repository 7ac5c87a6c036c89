// Package handshake starts a daemon in the background and reports the result of the start. The
// launcher and the daemon exchange one-line messages over the socket of package detach:
//
//	stage 1   pid        the daemon was started
//	daemon    living     Run has begun: from now on the daemon enforces its own limits
//	daemon    ready
//	launcher  go         the launcher has read ready and still waits
//	daemon    done       the daemon has read go; only now has the start succeeded for both
//	daemon    failed     instead of ready, when the daemon has undone everything
//
// The end of the socket means that the other side has ended. If the daemon reads that end before it
// sends done, the daemon stops.
//
// This package does not interpret the reason of a failed start. The daemon sends it as JSON.
package handshake

import (
	"encoding/json"
	"os"
	"time"

	"example.com/lifecycle/internal/sys/detach"
	"example.com/lifecycle/internal/sys/keeper"
)

// message is one line, in either direction.
type message struct {
	PID    int             `json:"pid,omitempty"`
	Error  string          `json:"error,omitempty"` // from stage 1
	Living bool            `json:"living,omitempty"`
	Limits *Limits         `json:"limits,omitempty"`
	Ready  bool            `json:"ready,omitempty"`
	Go     bool            `json:"go,omitempty"`
	Done   bool            `json:"done,omitempty"`
	Failed json.RawMessage `json:"failed,omitempty"`
}

// Limits are the longest times that a daemon may take. The options of the daemon set them. The
// options of its launcher may differ.
type Limits struct {
	Start time.Duration `json:"start_ns"`
	Stop  time.Duration `json:"stop_ns"`
}

// handoff is the note that the launcher passes to the daemon together with descriptors. If there is
// a PID file, the first descriptor is its lock.
type handoff struct {
	PIDFile []byte `json:"pid_file"`
	NoLog   bool   `json:"no_log"` // the stderr of the daemon is /dev/null
	// Keeper is the service manager that has started the launcher.
	Keeper keeper.Manager `json:"keeper"`
}

func readHandoff(given *detach.Handoff) (h handoff, lock *os.File, others []*os.File) {
	_ = json.Unmarshal(given.Note, &h) // a process of this binary wrote it
	others = given.Files
	if len(h.PIDFile) > 0 && len(others) > 0 {
		lock, others = others[0], others[1:]
	}
	return h, lock, others
}

// Given returns the descriptors that the launcher passed to this process, except the lock.
func Given() []*os.File {
	given := detach.Inherited()
	if given == nil {
		return nil
	}
	_, _, others := readHandoff(given)
	return others
}
