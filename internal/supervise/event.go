package supervise

import (
	"encoding/json"
	"time"
)

// Event is what happened to the worker: [Started], [Said], [Exited] or [GaveUp].
type Event interface{ event() }

// Started says that a worker executes its program.
type Started struct{ PID, Restarts int }

// Said says what the worker reports of itself. A nil field has not changed.
type Said struct {
	Up     bool    // the worker is ready, or was and reloads
	Text   *string // what it is doing (STATUS)
	Doing  *string // the hook that runs in it
	Reload *Reload // a reload has ended that nobody here asked for
}

// Reload is the verdict of a worker on a reload.
type Reload struct {
	Verdict json.RawMessage // of a worker of this library; nil: it gave none
	Error   string          // of any other; "": it has succeeded
}

// Exited says how a worker has ended, and when the next one starts. A zero Next: none does.
type Exited struct {
	Exit           Exit
	Next           time.Time
	Attempt, Limit int
}

// GaveUp says why no worker is started any more.
type GaveUp struct{ Why string }

func (Started) event() {}
func (Said) event()    {}
func (Exited) event()  {}
func (GaveUp) event()  {}

// emit queues an event. s.mu is held.
func (s *Supervisor) emit(e Event) { s.events = append(s.events, e) }

// deliver delivers the queued events in their order. It may block, since a receiver may write to a disk.
func (s *Supervisor) deliver() {
	s.delivering.Lock()
	defer s.delivering.Unlock()
	for {
		s.mu.Lock()
		if len(s.events) == 0 {
			s.mu.Unlock()
			return
		}
		e := s.events[0]
		s.events = s.events[1:]
		s.mu.Unlock()
		s.spec.On(e)
	}
}
