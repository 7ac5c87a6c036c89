package lifecycle

import (
	"context"
	"fmt"
	"os"
	"time"

	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/statefile"
	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/safefile"
)

// Status is the state that a daemon publishes in its state file. The state file is beside the PID
// file, with .state instead of .pid at the end of its name. The file exists as long as the daemon
// lives. After a crash, it stays until the next start. After a failed start or end it also stays,
// with Failed or Left set. So the file does not prove that the daemon lives. Only the lock on the
// PID file proves that.
//
// The file is one JSON object with the fields below and a checksum, padded with spaces to 4096
// bytes. The daemon rewrites it in place at each change and cuts long texts so that they fit. A
// field that does not apply is missing. A later version of this package may add fields without a
// new Format. In a path or a name, a backslash is written as \\, and each byte that is not part of
// a printable character as \xHH. The command printf %b of a shell reverses that. [Process.Status]
// returns the original bytes.
type Status struct {
	Format  int    `json:"format"`            // version of this record: 1
	Name    string `json:"name"`              // name of the program, see [Name]
	Version string `json:"version,omitempty"` // version of the program, see [Version]
	PID     int    `json:"pid"`               // PID of the daemon, in its own PID namespace

	Phase   Phase     `json:"phase"`           // "exited" only if Failed is set
	Since   time.Time `json:"since"`           // start of the phase; in phase ready: Ready
	Started time.Time `json:"started"`         // when the life began
	Ready   time.Time `json:"ready,omitzero"`  // when it became ready
	Doing   string    `json:"doing,omitempty"` // running hook or awaited body
	Text    string    `json:"text,omitempty"`  // text of the program, see [Life.SetStatus]

	Reloads    int      `json:"reloads"`               // number of reloads, including failed ones
	LastReload *Verdict `json:"last_reload,omitempty"` // nil: none yet
	LastReopen *Verdict `json:"last_reopen,omitempty"`

	Supervised    bool      `json:"supervised,omitempty"`     // this is a supervisor, see [Supervise]
	Worker        int       `json:"worker,omitempty"`         // PID of the worker, or 0
	WorkerVersion string    `json:"worker_version,omitempty"` // version of its program, see [Version]
	Restarts      int       `json:"restarts,omitempty"`       // number of restarts of the worker
	LastExit      *Exit     `json:"last_exit,omitempty"`      // how the last worker ended, or nil
	NextRestart   time.Time `json:"next_restart,omitzero"`    // when the next worker starts
	Attempt       int       `json:"attempt,omitempty"`        // number of the restart in its series
	AttemptLimit  int       `json:"attempt_limit,omitempty"`  // the last attempt; 0: no limit
	GaveUp        string    `json:"gave_up,omitempty"`        // why the worker is no longer restarted
	Left          string    `json:"left,omitempty"`           // why the worker still runs
	WorkerID      string    `json:"worker_id,omitempty"`      // different for every worker
	workerDown    bool      // the worker was ready and is not ready now

	// If this supervisor is killed, the next supervisor finds the processes of the worker by these
	// fields.
	WorkerMark string `json:"worker_mark,omitempty"` // numbers that these processes inherit
	// WorkerKnown is a time at which these numbers belonged to the worker, on CLOCK_BOOTTIME.
	WorkerKnown time.Duration `json:"worker_known_boottime_ns,omitempty"`
	WorkerImage string        `json:"worker_image,omitempty"` // memory addresses of the worker
	carried     bool          // the marks belong to workers of an earlier supervisor
	// OtherWorkers are the workers beside the current one: those in Draining, and the one in
	// Upgrading.
	OtherWorkers []OtherWorker `json:"other_workers,omitempty"`

	Upgradable  bool       `json:"upgradable,omitempty"` // USR2 upgrades this supervisor
	Upgrading   int        `json:"upgrading,omitempty"`  // PID of the new worker, or 0
	isUpgrading bool       // an upgrade is in progress
	Upgrades    int        `json:"upgrades,omitempty"`     // upgrades, including refused ones
	LastUpgrade *Upgrade   `json:"last_upgrade,omitempty"` // nil: none yet
	Draining    []Draining `json:"draining,omitempty"`     // replaced workers that still run

	Failed *Failure `json:"failed,omitempty"` // why the start or the end failed, or nil

	// StopBy is the time at which a stop in progress ends at the latest, on CLOCK_MONOTONIC.
	StopBy      time.Duration `json:"stop_by_monotonic_ns,omitempty"`
	stopLimit   time.Duration // from the stop request to StopBy
	PIDFileLost bool          `json:"pid_file_lost,omitempty"` // deleted or replaced

	// KeptBy says what may start the daemon again: "detached" (nothing but a verb), "foreground" (the
	// caller of the process), "manager" (the service manager in Manager) or "process 1" (the program
	// that keeps the container). Unit is the name that the manager uses for the daemon.
	KeptBy  string `json:"kept_by,omitempty"`
	Manager string `json:"manager,omitempty"` // such as "systemd", "systemd --user" or "runsv"
	Unit    string `json:"unit,omitempty"`

	LogFile string `json:"log_file,omitempty"` // log of stderr, if detached
}

// enter changes the phase from one to another. It reports false if the phase is not from.
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

// external returns the status that the life publishes. A life that has recorded its failure is
// Exited. A supervisor whose worker is not ready is Starting.
func (s Status) external() Status {
	if s.Failed != nil {
		s.Phase, s.Since, s.Doing = Exited, s.Failed.At, ""
	}
	if s.isUpgrading && s.Doing == "" {
		s.Doing = upgradeHook
	}
	if s.workerDown && (s.Phase == Ready || s.Phase == Reloading) {
		s.Phase = Starting
		if s.LastExit != nil {
			s.Since = s.LastExit.At
		}
	}
	return s
}

// writeState writes the status now to the state file, unless the file already has a record with
// that seq or a later one. The caller must not hold l.mu, because the disk may hang.
func (l *life) writeState(f *statefile.File, now Status, seq int) {
	if f == nil {
		return
	}
	now.refreshMarks(l.marks.known)
	record, err := now.encode(f)
	// If there is no new record, empty the file, because the old record is no longer true.
	if writeErr := f.Write(seq, record); err == nil {
		err = writeErr
	}
	if err != nil {
		l.log.Warn("cannot write the state file, so status and reload report less", "err", err)
	}
}

// readState reads the state file of a PID file. inspect returns the holder of the PID file.
func readState(pidFile string, inspect func() (pidfile.Holder, error)) (Status, error) {
	f, s, err := openState(pidFile, inspect)
	if err == nil {
		err = f.Close()
	}
	return s, err
}

// openState opens the state file of the holder of a PID file, and reads it. The file must belong to
// the owner of the PID file, because any other user could forge it. If the record is incomplete or
// belongs to an earlier daemon, openState tries again for 100 ms.
func openState(pidFile string, inspect func() (pidfile.Holder, error)) (f *statefile.Reader, s Status, err error) {
	path := statePath(pidFile)
	var inspectErr error
	err = statefile.Retry(func() (again bool, err error) {
		var h pidfile.Holder
		if h, inspectErr = inspect(); inspectErr != nil {
			return false, inspectErr
		}
		if f, err = statefile.Open(path, h.Owner); err != nil {
			return true, err
		}
		s, err = readStatus(f)
		if err == nil && s.PID != h.Number {
			s, err = Status{}, fmt.Errorf("the record belongs to pid %d, not to pid %d", s.PID, h.Number)
		}
		if err != nil {
			f.Close()
		}
		return true, err
	})
	if inspectErr != nil {
		return nil, Status{}, inspectErr
	}
	return f, s, stateFileError(path, err)
}

func readStatus(f *statefile.Reader) (Status, error) {
	object, err := f.Read()
	if err != nil {
		return Status{}, err
	}
	return decodeStatus(object)
}

// lastState returns the record in the state file of a daemon that does not hold the PID file. If
// the PID file exists, both files must have the same owner.
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
	s, err := readStateOnce(path, owner)
	if err == nil && statefile.IsHeld(path) {
		s.PIDFileLost = true // the daemon that wrote it lives, but does not hold the PID file
	}
	return s, err
}

// refuseBesideLost returns an error if a daemon runs whose PID file was deleted or replaced. Such a
// daemon still holds its state file. A daemon that is about to end may also hold its state file,
// but only for a moment.
func (p *plan) refuseBesideLost() error {
	for end := time.Now().Add(patienceForLost); statefile.IsHeld(statePath(p.pidFile)); time.Sleep(time.Millisecond) {
		if h, err := inspectPIDFile(p.pidFile); err != nil || h.Held {
			return nil // acquireLock reports it
		}
		if time.Now().After(end) {
			last, _ := lastState(p.pidFile)
			return &AlreadyRunningError{PID: last.PID, PIDFile: p.pidFile, lost: true}
		}
	}
	return nil
}

// patienceForLost is how long a process may hold its state file after it has released the PID file.
const patienceForLost = 500 * time.Millisecond

func stateFileError(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("lifecycle: state file %s: %w", bytetext.Escape(path), safefile.Cause(path, err))
}

// wasReady reports whether the life has been ready.
func (l *life) wasReady() bool { return !l.snapshot().Ready.IsZero() }

// snapshot returns the current status.
func (l *life) snapshot() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// update changes the status, writes it to the state file and sends it to the service manager.
func (l *life) update(change func(*Status)) {
	l.mu.Lock()
	change(&l.status)
	l.seq++
	now, turn, state := l.status.external(), l.seq, l.state
	l.mu.Unlock()
	l.writeState(state, now, turn)
	l.manager.update(now, turn)
}

// publish writes the current status to the state file and sends it to the service manager.
func (l *life) publish() { l.update(func(*Status) {}) }

// trackHook publishes the running hook, or the body for which the stop waits. The caller calls done
// when that hook or body has returned.
func (l *life) trackHook(label string) (done func()) {
	l.update(func(s *Status) { s.Doing = label })
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.status.Doing = "" // the next update publishes this
	}
}

// endSurvivors ends the processes that the worker of a killed supervisor has left, because no
// daemon may start beside them. A supervisor ends them itself before it starts a worker.
func (l *life) endSurvivors(deadline time.Time, limit *timeoutError) error {
	if l.mode.kind == modeSupervisor || !l.snapshot().carried {
		return nil
	}
	ctx, cancel := context.WithDeadlineCause(l.stopCtx, deadline, limit)
	defer cancel()
	quarter := l.plan.startTimeout / 4
	_, err := supervise.Remains{
		Of: l.marks.previous, Limit: min(l.plan.wholeStop(), quarter), Margin: min(supervise.OrphansMargin, quarter), Crash: true, Log: l.log,
	}.End(ctx)
	switch {
	case err == nil:
		l.update(func(s *Status) { s.keepMarks(supervise.Alive{}) })
	case l.stopCtx.Err() != nil:
		return nil
	default:
		err = addPrefix(err)
		l.update(func(s *Status) { s.Left = trimPrefix(err) })
	}
	return err
}

// The values of Status.KeptBy.
const (
	keptDetached   = "detached"
	keptForeground = "foreground"
	keptManager    = "manager"
	keptProcess1   = "process 1"
)
