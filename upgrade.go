package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"example.com/lifecycle/internal/handoff"
	"example.com/lifecycle/internal/pidfile"
	"example.com/lifecycle/internal/statefile"
	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/sys/bytetext"
	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/statedir"
	"example.com/lifecycle/internal/sys/worker"
)

// ErrUpgrade reports that an upgrade was refused: the new program cannot replace the running
// program. The running program serves as before. If a hook of the new program failed, the same
// error also wraps a [*HookError] that names it.
var ErrUpgrade = errors.New("lifecycle: upgrade refused")

// ErrReplaced is the cause of the stop of a worker that an upgrade has replaced. The new worker
// serves already. The old one finishes its work in progress within [DrainTimeout].
var ErrReplaced error = stopCause("lifecycle: another worker has replaced this one")

// Upgrade is the result of an upgrade: a [Verdict], and what was replaced by what. If the upgrade
// was refused, NewWorker is 0 and the fields of the verdict explain why. Ended is set if no worker
// serves any more. This happens only with [NoOverlap]: the old worker had ended, and the old
// program was started again but did not become ready. Note is set if the new worker serves, but the
// supervisor still runs the old program. With [Program], both workers are the supervised program.
type Upgrade struct {
	Verdict
	OldWorker  int    `json:"old_worker,omitempty"` // PID of the replaced worker; 0: none ran
	NewWorker  int    `json:"new_worker,omitempty"` // PID of the worker that replaced it
	OldVersion string `json:"old_version,omitempty"`
	NewVersion string `json:"new_version,omitempty"`
}

// Draining is a worker that an upgrade has replaced, and that finishes its work in progress.
type Draining struct {
	PID     int       `json:"pid"`
	Version string    `json:"version,omitempty"`
	Until   time.Time `json:"until,omitzero"` // when it is killed; zero: no limit
	Text    string    `json:"text,omitempty"` // text of the program, see [Life.SetStatus]
}

// upgradeError is the error of an upgrade that was refused.
type upgradeError struct{ cause error }

func (e *upgradeError) Error() string { return e.cause.Error() }

func (e *upgradeError) Unwrap() []error { return []error{ErrUpgrade, e.cause} }

// ExitCode returns 1. The verb upgrade does not exit with the code of the new program.
func (e *upgradeError) ExitCode() int { return 1 }

// Err returns nil if the new worker has replaced the old one. Otherwise it returns an error that
// wraps [ErrUpgrade]. It also wraps a [*HookError] if a hook of the new program failed, and
// [ErrStartTimeout] if the new program took too long.
func (u *Upgrade) Err() error {
	if u.Error == "" {
		return nil
	}
	f := failure{Verdict: u.Verdict}
	if u.TimedOut {
		f.Is = []string{ErrStartTimeout.Error()}
	}
	return &upgradeError{f.err()}
}

// copied returns a copy of u for a change of its strings; nil for nil.
func (u *Upgrade) copied(change func(*Upgrade)) *Upgrade {
	if u == nil {
		return nil
	}
	c := *u
	change(&c)
	return &c
}

// asText returns a copy of u whose strings are UTF-8; see [Status.asText].
func (u *Upgrade) asText() *Upgrade {
	return u.copied(func(c *Upgrade) {
		c.Verdict = *c.Verdict.asText()
		c.OldVersion, c.NewVersion = bytetext.Valid(c.OldVersion), bytetext.Valid(c.NewVersion)
	})
}

// fromText reverses asText.
func (u *Upgrade) fromText() {
	if u != nil {
		u.Verdict.fromText()
	}
}

// upgradeHook is the Doing of a supervisor during an upgrade.
const upgradeHook = "upgrade"

// upgrade handles USR2 in a supervisor. If the upgrade succeeds, upgrade does not return: the new
// program runs in this process and finishes the upgrade.
func (l *life) upgrade() {
	u := &Upgrade{Verdict: Verdict{Began: monotonic.Now()}}
	l.update(func(s *Status) {
		u.OldWorker, u.OldVersion = s.Worker, s.WorkerVersion
		s.isUpgrading = true
	})
	l.log.Info("upgrading")
	l.finishUpgrade(u, l.onUpgrade(u))
}

// finishUpgrade publishes the result of an upgrade, and then logs it.
func (l *life) finishUpgrade(u *Upgrade, err error) {
	note, ended := u.Note, u.Ended
	u.Verdict = *newVerdict(u.Began, monotonic.Now()-u.Began, err)
	u.Note, u.Ended = note, ended
	l.update(func(s *Status) {
		s.Upgrades++
		s.LastUpgrade, s.Upgrading, s.isUpgrading = u, 0, false
	})
	took := u.Took.Round(time.Microsecond)
	switch {
	case err != nil && l.stopCtx.Err() != nil:
		l.log.Info("a stop interrupted the upgrade", "took", took, "err", trimPrefix(err))
	case err != nil && ended:
		l.log.Error("upgrade refused, and no worker serves", "took", took, "err", errorText(l.plan.name, err))
	case err != nil:
		l.log.Error("upgrade refused, the old worker serves", "took", took, "err", errorText(l.plan.name, err))
	default:
		attrs := []any{"took", took, "worker", u.NewWorker, "replaced", u.OldWorker}
		if u.NewVersion != "" {
			attrs = append(attrs, "version", u.NewVersion)
		}
		l.log.Info("upgraded", attrs...)
	}
	if err == nil && note != "" {
		l.log.Warn("the supervisor runs on with the old program", "err", note)
	}
}

// drains adds a replaced worker to the workers that drain, or changes what is known about it.
func (s *Status) drains(pid int, change func(*Draining)) {
	all := slices.Clone(s.Draining) // a published status shares the old one
	at := slices.IndexFunc(all, func(d Draining) bool { return d.PID == pid })
	if at < 0 {
		all, at = append(all, Draining{PID: pid}), len(all)
	}
	change(&all[at])
	s.Draining = all
}

// introduce sends the first message of a worker to its supervisor. The message says whether this
// program can also be the supervisor. refused is the error with which this worker is about to end,
// or nil.
func introduce(p *plan, m mode, refused error) {
	in, note := worker.Inherited(), supervisorNote()
	if in == nil || p.embedded {
		return
	}
	h := worker.Hello{
		Protocol: handoff.Protocol, Version: p.version, PIDFile: []byte(p.pidFile),
		Supervises: m.kind == modeProbe || m.kind == modeWorker && (note.Detached || note.Process1 || p.policy.Foreground),
	}
	if refused == nil {
		refused = listenedTooEarly()
	}
	if refused != nil {
		h.Refuses = trimPrefix(refused)
	}
	_ = in.Hello(h) // the supervisor is gone, and this process is about to end
}

// attachToSupervisor makes l stop when its supervisor is gone, or when another worker replaces it.
func attachToSupervisor(l *life) {
	in := worker.Inherited()
	_ = in.RedirectCrashOutput()
	in.OnAsk(canResume)
	lost, replaced := in.Take(), in.Replaced()
	go func() {
		for {
			select {
			case <-replaced:
				l.on(stopRequest, ErrReplaced, nil)
				replaced = nil
			case <-lost: // this may happen after the life, while main still runs
				time.AfterFunc(supervise.LostWorker, func() { l.plan.env.exit(1) })
				l.on(stopRequest, errSupervisorLost, nil)
				return
			}
		}
	}()
}

// wholeDrain returns how long a replaced worker may take to end, including the grace period.
func (p *plan) wholeDrain() time.Duration {
	if p.drainTimeout == 0 {
		return unlimited
	}
	return p.drainTimeout + grace(p.drainTimeout)
}

// resumption is the state of a life that one program of a supervisor passes to the next program.
type resumption struct {
	Status     Status       `json:"status"`
	WorkerDown bool         `json:"worker_down"`
	Carried    bool         `json:"carried"`
	Seq        int          `json:"seq"`
	Pending    []pendingJob `json:"pending"`
	Upgrade    Upgrade      `json:"upgrade"` // the next program finishes it
}

// pendingJob is the form of a job in a resumption.
type pendingJob struct {
	Action string         `json:"action"`
	Signal syscall.Signal `json:"signal,omitempty"`
}

// jobNames contains the actions of jobs. The names are the same in all versions.
var jobNames = map[action]string{reload: "reload", reopen: "reopen", upgrade: "upgrade", callHook: "signal"}

// encode returns the resumption of this life, with an upgrade that is not finished.
func (l *life) encode(u *Upgrade) (json.RawMessage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := resumption{
		Status: l.status.asText(), WorkerDown: l.status.workerDown, Carried: l.status.carried, Seq: l.seq, Upgrade: *u.asText(),
	}
	for _, j := range l.pending {
		pending := pendingJob{Action: jobNames[j.action]}
		pending.Signal, _ = j.signal.(syscall.Signal)
		r.Pending = append(r.Pending, pending)
	}
	return json.Marshal(r)
}

// canResume returns why this program could not go on as the supervisor with that state. It changes
// nothing. A worker sends this answer before its supervisor executes this program.
func canResume(state json.RawMessage) error {
	h, err := handoff.Read(state)
	if err == nil {
		err = json.Unmarshal(h.Life, new(resumption))
	}
	if err != nil {
		return err
	}
	return supervise.CheckState(h.Workers)
}

// resume makes l continue the life of the previous program.
func (l *life) resume(h *handoff.Handoff) error {
	r := new(resumption)
	if err := json.Unmarshal(h.Life, r); err != nil {
		return fmt.Errorf("lifecycle: the state of the supervisor cannot be read: %w", err)
	}
	r.Status.fromText()
	r.Upgrade.fromText()
	l.handoff, l.resumed = h, r
	return nil
}

// beginAgain sets the status of a life that goes on.
func (l *life) beginAgain() {
	r := l.resumed
	l.status, l.seq = r.Status, r.Seq
	l.status.workerDown, l.status.carried = r.WorkerDown, r.Carried
	l.status.Name, l.status.Version, l.status.Doing = l.plan.name, l.plan.version, ""
	for _, j := range r.Pending {
		for act, name := range jobNames {
			again := job{action: act}
			if j.Signal != 0 {
				again.signal = j.Signal
			}
			if name == j.Action && (act != callHook || l.signalHook(j.Signal) >= 0) {
				l.pending = append(l.pending, again)
			}
		}
	}
}

// adoptFiles takes over the locks of the previous program, which were never released.
func (l *life) adoptFiles() error {
	h, path := l.handoff, statePath(l.plan.pidFile)
	lock, err := pidfile.Adopt(l.plan.pidFile, h.NextFile(h.HasLock))
	if err != nil {
		return pidFileError(l.plan.pidFile, err)
	}
	statedir.Hold(filepath.Dir(l.plan.pidFile))
	state, err := statefile.Adopt(path, h.NextFile(h.HasState))
	if err != nil {
		l.log.Warn("cannot go on with the state file, so status and reload report less", "err", trimPrefix(stateFileError(path, err)))
	}
	l.mu.Lock()
	l.lock, l.state = lock, state
	l.mu.Unlock()
	return nil
}
