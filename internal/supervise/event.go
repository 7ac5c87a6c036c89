package supervise

import (
	"encoding/json"
	"time"
)

// Event is an event of a worker: [Alone], [Forked], [Started], [Said], [Exited], [Stuck], [GaveUp],
// [Replaced], [Draining], [Drained] or [Living].
type Event interface{ event() }

// Alone reports that no process of a worker runs.
type Alone struct{}

// Forked reports that a worker was forked. The process executes its program only after the event
// was delivered. So even a killed supervisor has recorded every worker.
type Forked struct{ Alive }

// Living identifies the running workers, after another worker than the current one has ended.
type Living struct{ Alive }

// Started reports that a worker has executed its program.
type Started struct{ PID, Restarts int }

// Said contains the state that the worker reports. A nil field has not changed.
type Said struct {
	PID    int     // of a worker that drains; 0: the current worker
	Up     bool    // the worker is ready or reloads
	Text   *string // current activity (STATUS)
	Doing  *string // running hook
	Reload *Reload // verdict of a reload that this supervisor did not request
}

// Reload is the verdict of a worker about a reload.
type Reload struct {
	Verdict json.RawMessage // from a worker of this binary; nil: it sent none
	Error   string          // from a supervised program; "": success
}

// Exited reports how a worker ended and when the next one starts. If Next is zero, none starts.
type Exited struct {
	Exit           Exit
	Next           time.Time
	Attempt, Limit int
	Living         Alive // the workers that still run
}

// Stuck reports why a worker that should end still runs. No other worker starts until it has ended.
type Stuck struct{ Why string }

// Draining reports that a replaced worker drains. If it has not ended by Until, the supervisor
// kills it.
type Draining struct {
	PID   int
	Until time.Time
}

// Drained reports that a replaced worker has ended. Left is the number of processes that it left
// behind.
type Drained struct {
	PID    int
	Left   int
	Exit   Exit
	Living Alive // the workers that still run
}

// GaveUp reports why no further worker is started.
type GaveUp struct{ Why string }

func (Alone) event()   {}
func (Forked) event()  {}
func (Living) event()  {}
func (Started) event() {}
func (Said) event()    {}
func (Exited) event()  {}
func (Stuck) event()   {}
func (GaveUp) event()  {}

func (Replaced) event() {}
func (Draining) event() {}
func (Drained) event()  {}

// emit queues an event. s.mu is held.
func (s *Supervisor) emit(e Event) { s.events = append(s.events, e) }

// deliver delivers the queued events in order. It may block, because the receiver may write to a
// disk.
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
