package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/sdnotify"
	"example.com/lifecycle/internal/sys/worker"
)

// imageVersion is the version of image. A program adopts only the state of the same version.
const imageVersion = 1

// image is the state of a supervisor, for the next program of its process. The files are in this
// order: of the server, of each worker, of the store.
type image struct {
	Version     int            `json:"version"`
	Program     bool           `json:"program,omitempty"` // it supervises a supervised program
	Server      sdnotify.State `json:"server"`
	ServerFiles int            `json:"server_files"`
	Workers     []frozenWorker `json:"workers"` // the current one first
	// Next is the time at which the next worker starts. It is set only if there is no current worker.
	Next     instant       `json:"next,omitempty"`
	Stored   [][]byte      `json:"stored,omitempty"`
	Warned   bool          `json:"warned,omitempty"`
	Executed int           `json:"executed"`
	Backoff  frozenBackoff `json:"backoff"`
}

// instant is a time of CLOCK_MONOTONIC, which does not change at execve(2); 0: none.
type instant time.Duration

type frozenBackoff struct {
	Exits   []instant     `json:"exits,omitempty"`
	Series  int           `json:"series,omitempty"`
	Attempt int           `json:"attempt,omitempty"`
	Delay   time.Duration `json:"delay_ns,omitempty"`
}

// frozenWorker is a worker in an image; see process.
type frozenWorker struct {
	Process worker.State `json:"process"`
	Files   int          `json:"files"`
	PID     int          `json:"pid"`
	Group   string       `json:"group,omitempty"`
	State   string       `json:"state"`

	Invocation string `json:"invocation"`

	Began  time.Duration `json:"began_ns"`
	Marked Marked        `json:"marked"`

	Successor  bool   `json:"successor,omitempty"`
	Drains     bool   `json:"drains,omitempty"`
	Again      bool   `json:"again,omitempty"`
	Told       bool   `json:"told,omitempty"`
	WasKilled  bool   `json:"was_killed,omitempty"`
	UsesNotify bool   `json:"uses_notify,omitempty"`
	Confirming bool   `json:"confirming,omitempty"`
	StaleLog   bool   `json:"stale_log,omitempty"`
	Why        string `json:"why,omitempty"`
	NotReady   string `json:"not_ready,omitempty"`
	Failed     string `json:"failed,omitempty"`
	Refusal    int    `json:"refusal,omitempty"` // errno

	Failure json.RawMessage `json:"failure,omitempty"`
	Report  report          `json:"report"`

	ReadyAt    instant       `json:"ready_at,omitempty"`
	Deadline   instant       `json:"deadline,omitempty"`
	StopBy     instant       `json:"stop_by,omitempty"`
	SignOfLife instant       `json:"sign_of_life,omitempty"`
	DrainLimit time.Duration `json:"drain_limit_ns,omitempty"`
}

// stateNames are the names of the states in an image.
var stateNames = [states]string{
	staged: "staged", starting: "starting", ready: "ready", reloading: "reloading", stopping: "stopping", draining: "draining",
	terminating: "terminating", aborting: "aborting", killing: "killing", gone: "gone",
}

func stateNamed(name string) (state, error) {
	for s := starting; s < gone; s++ {
		if stateNames[s] == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("the state of a worker is unknown: %q", name)
}

func instantOf(t time.Time) instant {
	if t.IsZero() {
		return 0
	}
	return instant(monotonic.Now() + time.Until(t))
}

func (i instant) time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(i) - monotonic.Now())
}

// FreezeLimit is how long Freeze waits for a moment without an operation in progress.
const FreezeLimit = 10 * time.Second

// longestFreezePause is the longest delay between two attempts of Freeze. An attempt delays the
// operation for which it waits.
const longestFreezePause = 100 * time.Millisecond

// errBusy reports that an operation is in progress that ends soon.
var errBusy = errors.New("the supervisor is busy")

// Freeze suspends the supervisor, but no worker, until Thaw is called. It returns the arguments for
// [Resume] in the next program of this process. The files stay open in this process. Until Thaw,
// all other methods except Known block, and no event is delivered. Freeze waits up to FreezeLimit
// for a moment without an operation in progress. It returns [ErrUpgrading] during an upgrade, and
// [ErrStopping] during a stop.
func (s *Supervisor) Freeze() (state json.RawMessage, files []*os.File, err error) {
	over := time.Now().Add(FreezeLimit)
	for pause := time.Millisecond; ; pause = min(2*pause, longestFreezePause) {
		state, files, err = s.tryFreeze()
		if !errors.Is(err, errBusy) || time.Now().After(over) {
			return state, files, err
		}
		time.Sleep(pause)
	}
}

// Thaw continues the supervisor after Freeze.
func (s *Supervisor) Thaw() {
	s.upgrade.handle(thawed)
	for _, p := range s.workers() {
		if p.state != gone {
			defer p.Thaw()
		}
	}
	s.mu.Unlock()
	s.delivering.Unlock()
	s.forking.Unlock()
	s.server.Thaw()
}

func (s *Supervisor) tryFreeze() (state json.RawMessage, files []*os.File, err error) {
	var undo []func()
	defer func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}()
	hold := func(f func()) { undo = append(undo, f) }
	s.deliver()
	var m image
	m.Server, files = s.server.Freeze() // before forking: isWorker waits for forking
	hold(s.server.Thaw)
	m.ServerFiles = len(files)
	s.forking.Lock()
	hold(s.forking.Unlock)
	s.mu.Lock()
	all := s.workers()
	err = s.mayFreeze(all)
	s.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	for _, p := range all {
		if p.hasEnded() {
			continue
		}
		process, some, err := p.Freeze()
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errBusy, err)
		}
		hold(p.Thaw)
		m.Workers = append(m.Workers, frozenWorker{Process: process, Files: len(some)})
		files = append(files, some...)
	}
	s.delivering.Lock()
	hold(s.delivering.Unlock)
	s.mu.Lock()
	hold(s.mu.Unlock)
	if err := s.mayFreeze(all); err != nil {
		return nil, nil, err
	}
	files = append(files, s.freeze(&m)...)
	if state, err = json.Marshal(m); err != nil {
		return nil, nil, err
	}
	s.upgrade.handle(freezeRequested)
	undo = nil // Thaw undoes it
	return state, files, nil
}

// mayFreeze returns an error if the state cannot be frozen now. all contains the workers to freeze.
// s.mu is held.
func (s *Supervisor) mayFreeze(all []*process) error {
	switch {
	case s.stops:
		return ErrStopping
	case s.upgrade.state != serving:
		return ErrUpgrading
	case s.mu.running > 0, len(s.events) > 0, s.pending != nil, !slices.Equal(all, s.workers()):
		return errBusy
	}
	for i, p := range all {
		switch {
		case i == 0 && p.state == gone && isClosed(p.ended) && !s.next.IsZero(): // a restart is due later
		case p.state == gone && !isClosed(p.ended):
			return p.endError()
		case p.state == staged, p.state == gone, p.marked.PID == 0:
			return errBusy
		}
	}
	return nil
}

// freeze completes m, which already contains the workers. It returns the files of the store. s.mu
// is held.
func (s *Supervisor) freeze(m *image) (files []*os.File) {
	m.Version, m.Program, m.Executed, m.Warned, m.Next = imageVersion, s.spec.Program != nil, s.executed, s.store.warned, instantOf(s.next)
	m.Backoff = frozenBackoff{Series: s.backoff.series, Attempt: s.backoff.attempt, Delay: s.backoff.delay}
	for _, at := range s.backoff.exits {
		m.Backoff.Exits = append(m.Backoff.Exits, instantOf(at))
	}
	for _, k := range s.store.all {
		m.Stored = append(m.Stored, []byte(k.Name))
		files = append(files, k.File)
	}
	s.marks.Lock()
	defer s.marks.Unlock()
	n := 0
	for _, p := range s.workers() {
		if p.state != staged && p.state != gone {
			p.freeze(&m.Workers[n])
			n++
		}
	}
	return files
}

// freeze sets the fields of w. Supervisor.mu and Supervisor.marks are held.
func (p *process) freeze(w *frozenWorker) {
	*w = frozenWorker{
		Process: w.Process, Files: w.Files,
		PID: p.PID, Group: p.group.Name(), State: stateNames[p.state], Invocation: p.invocation, Began: p.began, Marked: p.marked,
		Successor: p.successor, Drains: p.drains, Again: p.again, Told: p.told, WasKilled: p.wasKilled,
		UsesNotify: p.usesNotify, Confirming: p.confirming, StaleLog: p.staleLog,
		Why: textOf(p.why), NotReady: textOf(p.notReady), Failed: p.failed, Failure: p.failure, Report: p.report,
		ReadyAt: instantOf(p.readyAt), Deadline: instantOf(p.deadline), StopBy: instantOf(p.stopBy),
		SignOfLife: instantOf(p.signOfLife), DrainLimit: p.drainLimit,
	}
	var number syscall.Errno
	if errors.As(p.refusal, &number) {
		w.Refusal = int(number)
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func errorOf(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

// Snapshot returns a state for [CheckState] and changes nothing. [Resume] cannot adopt this state.
func (s *Supervisor) Snapshot() (json.RawMessage, error) {
	s.mu.Lock()
	var m image
	for _, p := range s.workers() {
		if p.state != staged && p.state != gone {
			m.Workers = append(m.Workers, frozenWorker{})
		}
	}
	s.freeze(&m)
	s.mu.Unlock()
	return json.Marshal(m)
}
