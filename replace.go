package lifecycle

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"example.com/lifecycle/internal/handoff"
	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/sys/execve"
	"example.com/lifecycle/internal/sys/proc"
	"example.com/lifecycle/internal/sys/safefile"
	"example.com/lifecycle/internal/sys/startup"
	"example.com/lifecycle/internal/sys/takeover"
	"example.com/lifecycle/internal/sys/worker"
)

// oneShotVariables are the variables of the environment that only the first program of a process
// may use.
var oneShotVariables = []string{readyVariable, "LISTEN_*", "_LIFECYCLE_*", "_GO_DAEMON"}

// onUpgrade replaces the worker by a worker of the program on disk, and then this program by that
// program. If onUpgrade returns nil, only the worker was replaced, and u.Note explains why. With
// option Program, the supervised program runs on, and onUpgrade replaces only the supervisor.
func (s *supervisorLife) onUpgrade(u *Upgrade) error {
	path, w := s.path, s.worker.Load()
	if s.of.program != nil {
		u.OldVersion = s.of.version
	}
	if path == "" {
		return errors.New("lifecycle: the file of this program is unknown (is /proc mounted?)")
	}
	spec := supervise.UpgradeSpec{
		Path: path, NoOverlap: s.of.noOverlap, DrainTimeout: s.of.wholeDrain(), Check: s.checkHello,
		State: func() (json.RawMessage, error) {
			workers, err := w.Snapshot()
			if err != nil {
				return nil, err
			}
			h, err := s.handoff(u, workers)
			if err != nil {
				return nil, err
			}
			return json.Marshal(h)
		},
	}
	if s.of.program != nil {
		spec.Probe = &supervise.Probe{Args: startup.Args(), Dir: s.startDir()}
	}
	r, err := w.Upgrade(s.life.stopCtx, spec)
	if err != nil {
		var failed *supervise.RestoreError
		u.Ended = errors.As(err, &failed) && failed.Old != nil
		return s.refusal(err)
	}
	u.OldWorker, u.NewWorker, u.NewVersion = cmp.Or(r.Old, u.OldWorker), r.New, r.Version
	for tries := 1; s.life.stopCtx.Err() == nil; tries++ {
		err = s.replaceProgram(path, u) // returns only if it fails
		if !errors.Is(err, errSignalArrived) || tries == maxTries {
			u.Note = trimPrefix(err)
			break
		}
	}
	if stop := context.Cause(s.life.stopCtx); stop != nil {
		err, u.Note = stop, ""
	}
	if s.of.program != nil { // nothing was replaced
		u.NewWorker, u.NewVersion, u.Note = 0, "", ""
		return err
	}
	w.SetPath(path)
	return nil
}

// startDir returns the directory of the start, or "" if it no longer exists.
func (s *supervisorLife) startDir() string {
	if info, err := os.Stat(s.dir); err != nil || !info.IsDir() {
		return ""
	}
	return s.dir
}

// answerGuard answers the questions of a supervisor with Program, which is about to execute this
// program, until the supervisor ends this process.
func answerGuard() {
	in := worker.Inherited()
	in.OnAsk(canResume)
	<-in.Take()
}

// unmasked returns f so that it runs in a thread without blocked signals. Commands that f starts
// inherit the signal mask of the thread. In a program that an upgrade has executed, threads block
// USR1 and USR2.
func unmasked(f func(context.Context) error) func(context.Context) error {
	if f == nil {
		return nil
	}
	return func(ctx context.Context) error {
		runtime.LockOSThread() // and the thread ends with this goroutine
		execve.EmptySignalMask()
		return f(ctx)
	}
}

// refusal converts an error of package supervise for an upgrade that was refused.
func (s *supervisorLife) refusal(err error) error {
	var failed *supervise.RestoreError
	var logged *loggedError
	var late *supervise.NotReadyError
	switch {
	case errors.As(err, &failed):
		inner := s.refusal(failed.Err)
		text := errorText(s.of.name, inner) + strings.TrimPrefix(failed.Error(), failed.Err.Error())
		return &textError{"lifecycle: " + text, []error{inner}}
	case errors.As(err, &logged): // the worker has logged it, and the supervisor logs the refusal
		return fromWorker(logged.error)
	case errors.As(err, &late) && err != error(late): // with an explanation
		return &textError{"lifecycle: " + err.Error(), []error{ErrStartTimeout, err}}
	}
	return fromWorker(err)
}

// checkHello returns why a worker of another program must not replace the worker.
func (s *supervisorLife) checkHello(h supervise.Hello) error {
	switch {
	case h.Refuses != "":
		return errors.New(h.Refuses)
	case h.Protocol != handoff.Protocol:
		return fmt.Errorf("the new program has version %d of the upgrade protocol, and this one has version %d: use the verb restart",
			h.Protocol, handoff.Protocol)
	case !safefile.SameEntry(s.of.pidFile, string(h.PIDFile)):
		return fmt.Errorf("the new program uses the PID file %q, and this one uses %q: use the verbs stop and start", h.PIDFile, s.of.pidFile)
	case !h.Supervises:
		return errors.New("the new program does not supervise a worker of its own here (option Supervise): use the verb restart")
	}
	return nil
}

// handoff returns what the next program needs, without files. workers is the state of package
// supervise.
func (s *supervisorLife) handoff(u *Upgrade, workers json.RawMessage) (*handoff.Handoff, error) {
	life, err := s.life.encode(u)
	return &handoff.Handoff{
		Format: handoff.Protocol, PIDFile: []byte(s.of.pidFile), Program: []byte(s.path), Background: s.life.mode.background,
		UnderNohup: underNohup, SigintIgnored: sigintIgnored, Life: life, Workers: workers,
	}, err
}

// maxTries is how often replaceProgram is called if a signal arrives at the same moment each time.
const maxTries = 20

// replaceProgram executes the program at path in this process. replaceProgram returns only if it
// fails. This program then goes on as before. The error is errSignalArrived if a signal has arrived
// that the next program would not know of.
func (s *supervisorLife) replaceProgram(path string, u *Upgrade) error {
	l, w := s.life, s.worker.Load()
	held, unhandled, resume := l.pauseSignals()
	defer resume()
	workers, files, err := w.Freeze()
	if err != nil {
		return err
	}
	defer w.Thaw()
	h, err := s.handoff(u, workers)
	if err != nil {
		return err
	}
	var own []*os.File
	if f := l.lock.Keep(); f != nil {
		h.HasLock, own = true, append(own, f)
	}
	if f := l.state.Kept(); f != nil {
		h.HasState, own = true, append(own, f)
	}
	return takeover.Execute(worker.OnForkThread, takeover.Spec{
		Path: path, Args: startup.Args(), Env: startup.Environ(oneShotVariables...), Dir: s.startDir(),
		State: h, Files: slices.Concat(own, files), Held: held, Abort: unhandled,
	})
}

// resume is the OnStart of a supervisor that takes over the workers of the previous program.
func (s *supervisorLife) resume(h *handoff.Handoff) error {
	w, err := supervise.Resume(s.spec(), h.Workers, h.Files)
	if err != nil {
		return err
	}
	s.worker.Store(w)
	s.life.finishUpgrade(&s.life.resumed.Upgrade, nil)
	return nil
}

// takeHandoff returns the handoff of the previous program to the first life of this process.
func (p *plan) takeHandoff() (*handoff.Handoff, error) {
	h, err := handoff.Take()
	switch {
	case err != nil:
		return nil, addPrefix(err)
	case h != nil && !safefile.SameEntry(p.pidFile, string(h.PIDFile)):
		return nil, fmt.Errorf("lifecycle: the supervisor uses the PID file %q, but its new program uses %q", h.PIDFile, p.pidFile)
	}
	return h, nil
}

// upgradeEvent updates the status with an event of an upgrade.
func (s *supervisorLife) upgradeEvent(st *Status, e supervise.Event) {
	switch e := e.(type) {
	case supervise.Replaced:
		if e.Old != 0 {
			st.drains(e.Old, func(d *Draining) { d.Version, d.Text = st.WorkerVersion, st.Text })
		}
		living := st.living()
		st.Worker, st.WorkerID, st.WorkerVersion, st.workerDown = e.New, proc.Identity(e.New), e.Version, false
		// The old worker may have ended earlier. Its restart was then due.
		st.NextRestart, st.Attempt, st.AttemptLimit = time.Time{}, 0, 0
		st.Text = ""
		st.setMarks(living)
	case supervise.Draining:
		st.drains(e.PID, func(d *Draining) { d.Until = e.Until })
	case supervise.Drained:
		st.Draining = slices.DeleteFunc(slices.Clone(st.Draining), func(d Draining) bool { return d.PID == e.PID })
		st.setMarks(e.Living)
	case supervise.Said:
		st.drains(e.PID, func(d *Draining) {
			if e.Text != nil {
				d.Text = *e.Text
			}
		})
	}
}

// OtherWorker identifies a worker that runs beside the current worker. Its fields have the meaning
// that Worker, WorkerMark, WorkerKnown and WorkerImage of a [Status] have for the current worker.
type OtherWorker struct {
	PID   int           `json:"pid"`
	Mark  string        `json:"mark"`
	Known time.Duration `json:"known_boottime_ns"`
	Image string        `json:"image,omitempty"`
}

// keepMarks keeps the marks of earlier workers whose processes may still run. The zero Alive means
// that there are no such workers.
func (s *Status) keepMarks(surviving supervise.Alive) {
	s.setMarks(surviving)
	s.carried = !surviving.IsZero()
}

// setMarks records the workers that live: the current one, if there is one, and others.
func (s *Status) setMarks(living supervise.Alive) {
	s.WorkerMark, s.WorkerKnown, s.WorkerImage, s.OtherWorkers, s.carried, s.Upgrading = "", 0, "", nil, false, 0
	for i, m := range append([]supervise.Marked{living.Marked}, living.Others...) {
		switch {
		case m.Mark == "":
		case m.PID == s.Worker, i == 0 && (s.Worker == 0 || m.PID == 0):
			s.WorkerMark, s.WorkerKnown, s.WorkerImage = m.Mark, m.At, m.Image
		default:
			s.OtherWorkers = append(s.OtherWorkers, OtherWorker{m.PID, m.Mark, m.At, m.Image})
		}
		drains := slices.ContainsFunc(s.Draining, func(d Draining) bool { return d.PID == m.PID })
		if m.PID != s.Worker && !drains && s.isUpgrading {
			s.Upgrading = m.PID
		}
	}
}

// refreshMarks updates what is known about the workers.
func (s *Status) refreshMarks(known func(mark string) (now supervise.Marked, ok bool)) {
	if known == nil {
		return
	}
	if m, ok := known(s.WorkerMark); ok {
		s.WorkerKnown, s.WorkerImage = m.At, m.Image
	}
	s.OtherWorkers = slices.Clone(s.OtherWorkers)
	for i, o := range s.OtherWorkers {
		if m, ok := known(o.Mark); ok {
			s.OtherWorkers[i].Known, s.OtherWorkers[i].Image = m.At, m.Image
		}
	}
}

// marked returns the values that identify the processes of the current worker.
func (s *Status) marked() supervise.Marked {
	return supervise.Marked{PID: s.Worker, Mark: s.WorkerMark, Image: s.WorkerImage, At: s.WorkerKnown}
}

// living returns the marks of all workers.
func (s *Status) living() supervise.Alive {
	a := supervise.Alive{Marked: s.marked()}
	for _, o := range s.OtherWorkers {
		a.Others = append(a.Others, supervise.Marked{PID: o.PID, Mark: o.Mark, Image: o.Image, At: o.Known})
	}
	return a
}
