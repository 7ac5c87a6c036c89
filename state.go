package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"example.com/lifecycle/internal/safefile"
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

// seen is what is told: a parent whose worker is not ready is not either, though it lives on.
func (s Status) seen() Status {
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

// stateFile is the state file of this process. A nil stateFile is that of a life that has none.
type stateFile struct {
	ownFile
	log *slog.Logger

	mu      sync.Mutex // may be held for long, for a disk may hang
	turn    int        // of the record in the file
	removed bool
	failed  bool
}

// createState makes the state file. It is called, like all that changes the file, by who holds the lock on the PID file. What a daemon
// that died has left is replaced and not written to: a daemon whose PID file was deleted may still write to that.
func createState(path string, mode fs.FileMode, log *slog.Logger) (*stateFile, error) {
	if err := removeStaleState(path); err != nil {
		return nil, err
	}
	f, created, err := safefile.Create(path, mode)
	if err != nil {
		return nil, err
	}
	if !created {
		err = safefile.Unsafe("somebody else makes it at the same time")
	} else if err = f.Chmod(mode); err != nil { // whatever the umask
		err = errors.Join(err, safefile.Remove(f, path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &stateFile{ownFile: newOwnFile(path, f), log: log}, nil
}

// removeStaleState removes what a daemon that died has left, and nothing else: the file may be somebody's data.
func removeStaleState(path string) error {
	f, err := safefile.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := guardFile(f); err != nil {
		return err
	}
	record, err := readRecord(f)
	if err != nil {
		return err
	}
	// A disk that was full, or a loss of power, leaves less than a record, or zeros.
	ours := len(record) <= recordSize &&
		(bytes.HasPrefix(record, []byte(`{"format":`)) || len(bytes.Trim(record, "\x00")) == 0)
	if !ours {
		return safefile.Unsafe("it is no state file of a daemon")
	}
	return safefile.Remove(f, path)
}

// readRecord reads no more than tells whether the file is a record.
func readRecord(f *os.File) ([]byte, error) {
	record := make([]byte, recordSize+1)
	n, err := f.ReadAt(record, 0) // one pread(2), so that it is rarely torn
	if err == io.EOF {
		err = nil
	}
	return record[:n], err
}

// write writes a record, unless a later turn has been written already. A write that fails is said once and does no harm.
func (s *stateFile) write(now Status, turn int) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed || turn <= s.turn {
		return
	}
	s.turn = turn
	err := s.still()
	if err == nil {
		if err = s.put(now); err != nil { // what is in it is not true any more
			_ = s.file.Truncate(0)
		}
	}
	if err != nil && !s.failed {
		s.log.Warn("cannot write the state file: status and reload will know less", "err", err)
	}
	s.failed = err != nil
}

func (s *stateFile) put(now Status) error {
	record, err := now.encode()
	if err != nil {
		return err
	}
	return safefile.WriteOnce(s.file, record)
}

// moved says what the path is from now on, "" if it is out of sight.
func (s *stateFile) moved(path string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.path = path
}

// willStay notes whether the file cannot be removed at the end.
func (s *stateFile) willStay() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.ownFile.willStay()
}

// keep has the file stay when the life is over: somebody will want to know why it is.
func (s *stateFile) keep() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.removed {
		s.removed = true
		s.file.Close()
	}
}

// remove removes the state file, unless its path names another by now. It may be called again.
func (s *stateFile) remove() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed {
		return
	}
	s.removed = true
	switch stays, full := s.letGo(); {
	case stays != nil && full != nil:
		s.log.Warn("cannot remove the state file, nor empty it", "err", errors.Join(stays, full))
	case stays != nil && !s.stays:
		s.log.Warn("cannot remove the state file, emptied it", "err", stays)
	}
}

// readState reads the state file that goes with what look sees at the PID file. It tries again for a moment while what it reads is half
// written or of the daemon before.
func readState(pidFile string, look func() (holder, error)) (Status, error) {
	path := statePath(pidFile)
	for deadline := time.Now().Add(patienceForState); ; time.Sleep(time.Millisecond) {
		h, err := look()
		if err != nil {
			return Status{}, err
		}
		s, err := readStateOnce(path, h.owner)
		if err == nil && s.PID != h.number {
			s, err = Status{}, fmt.Errorf("it is of pid %d, not of pid %d", s.PID, h.number)
		}
		// A start makes a new file, so for an instant there is none.
		again := err != nil && !errors.Is(err, safefile.ErrUnsafe) && !errors.Is(err, fs.ErrPermission)
		if !again || time.Now().After(deadline) {
			return s, stateFileError(path, err)
		}
	}
}

// patienceForState is how long a look tries again while the record is damaged. To write one takes some microseconds.
const patienceForState = 100 * time.Millisecond

// readStateOnce reads a state file, which must belong to the owner of the PID file: nobody else speaks for the daemon.
func readStateOnce(path string, owner int) (Status, error) {
	if _, err := guardLook(path); err != nil {
		return Status{}, err
	}
	f, err := safefile.Open(path)
	if err != nil {
		return Status{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = guardMode(info)
	}
	if err == nil && safefile.Owner(info) != owner {
		err = safefile.Unsafe("it belongs to user %d, and the PID file to user %d", safefile.Owner(info), owner)
	}
	if err != nil {
		return Status{}, err
	}
	record, err := readRecord(f)
	if err != nil {
		return Status{}, err
	}
	return decodeRecord(record)
}

func stateFileError(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("lifecycle: state file %s: %w", path, withoutPath(path, err))
}
