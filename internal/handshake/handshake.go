// Package handshake starts a daemon in the background and learns what its start came to. The launcher and the daemon
// exchange one-line messages over the socket of package detach:
//
//	stage 1   pid        the daemon has been started
//	daemon    living     Run has begun: from now on the daemon ends by itself, within the limits that it sends
//	daemon    ready
//	launcher  go         the launcher has read ready and still waits
//	daemon    done       the daemon has read go; only now is the start a success for both
//	daemon    failed     instead of ready, when the daemon has undone everything
//
// Each side takes the end of the socket for the end of the other. A daemon that reads it before done stops, whatever
// ended the launcher.
//
// This package knows no hook and no error type of its callers: why a start failed is JSON that it passes on.
package handshake

import (
	"encoding/json"
	"os"
	"time"

	"example.com/lifecycle/internal/detach"
)

// message is one line in either direction.
type message struct {
	PID    int             `json:"pid,omitempty"`
	Error  string          `json:"error,omitempty"` // of stage 1
	Living bool            `json:"living,omitempty"`
	Limits *Limits         `json:"limits,omitempty"`
	Ready  bool            `json:"ready,omitempty"`
	Go     bool            `json:"go,omitempty"`
	Done   bool            `json:"done,omitempty"`
	Failed json.RawMessage `json:"failed,omitempty"`
}

// Limits are the longest times that a daemon takes by its own options, which may differ from those of its launcher.
type Limits struct {
	Start time.Duration `json:"start_ns"`
	Stop  time.Duration `json:"stop_ns"`
}

// handoff is what the daemon is told together with the descriptors that it gets: first the lock of the PID file, unless
// there is none, and then what else the launcher hands over.
type handoff struct {
	PIDFile string `json:"pid_file"`
	NoLog   bool   `json:"no_log"` // nothing keeps what the daemon writes to stderr
}

func readHandoff(given *detach.Handoff) (h handoff, lock *os.File, others []*os.File) {
	_ = json.Unmarshal(given.Note, &h) // the same program has written it
	others = given.Files
	if h.PIDFile != "" && len(others) > 0 {
		lock, others = others[0], others[1:]
	}
	return h, lock, others
}

// Given returns the descriptors that the launcher of this process has handed over besides the lock.
func Given() []*os.File {
	given := detach.Inherited()
	if given == nil {
		return nil
	}
	_, _, others := readHandoff(given)
	return others
}
