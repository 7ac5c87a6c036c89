package lifecycle

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/safefile"
	"example.com/lifecycle/internal/statefile"
)

// Status is what a daemon says that it is doing: it keeps it in a file beside its PID file, the .pid of which is replaced by .state,
// for as long as it lives. What the file says is no proof that the daemon lives; the lock on the PID file is.
//
// The file is one JSON object with the fields below and a checksum, padded with spaces to 4096 bytes and rewritten in place
// at each change; texts are cut to fit. A field that does not apply is left out. Fields may be added without a new Format.
type Status struct {
	Format  int    `json:"format"`            // of this record: 1
	Name    string `json:"name"`              // of the program
	Version string `json:"version,omitempty"` // of the program, see [Version]
	PID     int    `json:"pid"`               // of the daemon, as it sees itself

	Phase   Phase     `json:"phase"`           // as text: "starting", "ready", "reloading", "stopping"
	Since   time.Time `json:"since"`           // when it came into this phase; a reload does not make it ready anew
	Started time.Time `json:"started"`         // when the life began
	Ready   time.Time `json:"ready,omitzero"`  // when it became ready
	Doing   string    `json:"doing,omitempty"` // the hook that runs, or the body that is waited for: "OnStop of http"
	Text    string    `json:"text,omitempty"`  // what the program says, see [Life.SetStatus]

	Reloads    int      `json:"reloads"`               // that were tried
	LastReload *Verdict `json:"last_reload,omitempty"` // nil: there was none
	LastReopen *Verdict `json:"last_reopen,omitempty"`

	Supervised   bool      `json:"supervised,omitempty"`    // it is a parent that looks after a worker; see [Supervise]
	Worker       int       `json:"worker,omitempty"`        // PID of that; 0 while there is none
	Restarts     int       `json:"restarts,omitempty"`      // of the worker
	LastExit     *Exit     `json:"last_exit,omitempty"`     // how the last one has ended; nil: none has
	NextRestart  time.Time `json:"next_restart,omitzero"`   // when the next one starts, while there is none
	Attempt      int       `json:"attempt,omitempty"`       // the how manyth that is
	AttemptLimit int       `json:"attempt_limit,omitempty"` // at which it is given up; 0: never
	GaveUp       string    `json:"gave_up,omitempty"`       // why the worker is not started any more; the file stays then when the daemon has ended
	workerDown   bool      // the worker is not ready, though it has been

	StopBy      time.Duration `json:"stop_by_monotonic_ns,omitempty"` // when a stop that is under way ends at the latest, CLOCK_MONOTONIC
	PIDFileLost bool          `json:"pid_file_lost,omitempty"`        // it has seen that its PID file was deleted or replaced
	LogFile     string        `json:"log_file,omitempty"`             // where its stderr goes, if it is detached
}

// enter goes from one phase to the next, unless it is in another one.
func (s *Status) enter(from, to Phase) bool {
	if s.Phase != from {
		return false
	}
	s.Phase, s.Since = to, time.Now()
	if to == Ready {
		if s.Ready.IsZero() {
			s.Ready = s.Since
		}
		s.Since = s.Ready
	}
	return true
}

// external is what is told: a parent whose worker is not ready is not either, though it lives on.
func (s Status) external() Status {
	if s.workerDown && (s.Phase == Ready || s.Phase == Reloading) {
		s.Phase = Starting
		if s.LastExit != nil {
			s.Since = s.LastExit.At
		}
	}
	return s
}

// statePath is the path of the state file that goes with a PID file.
func statePath(pidFile string) string { return strings.TrimSuffix(pidFile, ".pid") + ".state" }

// writeState writes the record of now, unless a later one was written already. It does not hold l.mu,
// for a disk may hang.
func (l *life) writeState(f *statefile.File, now Status, seq int) {
	if f == nil {
		return
	}
	record, err := now.encode()
	if writeErr := f.Write(seq, record); err == nil { // without a record, the old one is no longer true
		err = writeErr
	}
	if err != nil {
		l.log.Warn("cannot write the state file: status and reload will know less", "err", err)
	}
}

// warnLeftover logs that a file of the daemon stays behind.
func warnLeftover(log *slog.Logger, what string, removeErr, emptyErr error) {
	switch {
	case removeErr != nil && emptyErr != nil:
		log.Warn("cannot remove the "+what+", nor empty it", "err", errors.Join(removeErr, emptyErr))
	case removeErr != nil:
		log.Warn("cannot remove the "+what+", emptied it", "err", removeErr)
	}
}

// readState reads the state file that goes with the PID file that inspect looks at. It tries again for
// a moment while it reads a record that is half written, or that of an earlier daemon.
func readState(pidFile string, inspect func() (pidfile.Holder, error)) (s Status, err error) {
	path := statePath(pidFile)
	var inspectErr error
	err = statefile.Retry(func() (again bool, err error) {
		var h pidfile.Holder
		if h, inspectErr = inspect(); inspectErr != nil {
			return false, inspectErr
		}
		s, err = readStateOnce(path, h.Owner)
		if err == nil && s.PID != h.Number {
			s, err = Status{}, fmt.Errorf("it is of pid %d, not of pid %d", s.PID, h.Number)
		}
		return true, err
	})
	if inspectErr != nil {
		return Status{}, inspectErr
	}
	return s, stateFileError(path, err)
}

// readStateOnce reads a state file. It must belong to the owner of the PID file: no other user speaks
// for the daemon.
func readStateOnce(path string, owner int) (Status, error) {
	object, err := statefile.Read(path, owner)
	if err != nil {
		return Status{}, err
	}
	return decodeStatus(object)
}

// lastState returns what the state file says, whoever wrote it, if he could have written the PID file.
func lastState(pidFile string) (Status, error) {
	path := statePath(pidFile)
	info, err := os.Lstat(path)
	if err != nil {
		return Status{}, err
	}
	owner := safefile.Owner(info)
	if named, err := os.Lstat(pidFile); err == nil {
		owner = safefile.Owner(named)
	}
	return readStateOnce(path, owner)
}

func stateFileError(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("lifecycle: state file %s: %w", path, safefile.Cause(path, err))
}

// Phase is where a life is in its course:
//
//	Starting → Ready ⇄ Reloading → Stopping → Exited
type Phase int

// The phases, in the order of a life.
const (
	Starting  Phase = iota // the components are being started
	Ready                  // all is started, and ReadyWhen satisfied
	Reloading              // OnCheck and OnReload run
	Stopping               // a stop was asked for, or the start failed
	Exited                 // the life is over
)

var phaseNames = [...]string{"starting", "ready", "reloading", "stopping", "exited"}

// String is the name in lower case.
func (p Phase) String() string {
	if p < 0 || int(p) >= len(phaseNames) {
		return "unknown"
	}
	return phaseNames[p]
}

// MarshalText is String, for JSON.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (p *Phase) UnmarshalText(text []byte) error {
	at := slices.Index(phaseNames[:], string(text))
	if at < 0 {
		return fmt.Errorf("lifecycle: %q is no phase", text)
	}
	*p = Phase(at)
	return nil
}

// A life keeps its Status in the state file beside its PID file, for as long as it has one.

// wasReady says whether the life has been ready.
func (l *life) wasReady() bool { return !l.snapshot().Ready.IsZero() }

// snapshot is what the life says about itself.
func (l *life) snapshot() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// update changes what the life says about itself, and writes it to the state file.
func (l *life) update(change func(*Status)) {
	l.mu.Lock()
	change(&l.status)
	l.seq++
	now, turn, state := l.status.external(), l.seq, l.state
	l.mu.Unlock()
	l.writeState(state, now, turn)
	l.manager.update(now, turn)
}

// publish writes what the life says about itself to the state file.
func (l *life) publish() { l.update(func(*Status) {}) }

// trackHook says which hook runs, or which body is waited for, and returns what ends that.
func (l *life) trackHook(label string) (done func()) {
	l.update(func(s *Status) { s.Doing = label })
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.status.Doing = "" // what comes next publishes it
	}
}
