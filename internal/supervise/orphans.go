package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/cgroup"
	"example.com/lifecycle/internal/sys/ossignal"
	"example.com/lifecycle/internal/sys/pin"
	"example.com/lifecycle/internal/sys/proc"
	"example.com/lifecycle/internal/sys/reaper"
	"example.com/lifecycle/internal/sys/worker"
)

// The supervisor is a subreaper or process 1, so it adopts all processes that a worker leaves
// behind, even detached ones (PR_SET_CHILD_SUBREAPER(2const)).

// reapOrphans reaps orphans that have ended, because they would stay zombies. It uses at most a
// fifth of a processor, even if many orphans end. It calls changed after children have ended,
// stopped or continued.
func reapOrphans(changed func()) (stopReaping func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, ossignal.Child)
	over := make(chan struct{})
	go func() {
		for {
			begun := time.Now()
			reaper.Reap()
			changed()
			pause := max(reapPause, 4*time.Since(begun))
			select {
			case <-ended:
			case <-over:
				return
			}
			time.Sleep(time.Until(begun.Add(pause)))
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(ended)
		close(over)
	})
}

// reportSuspension logs once that a worker was suspended or continued. The record distinguishes a
// suspended worker from a hanging one.
func (s *Supervisor) reportSuspension() {
	s.mu.Lock()
	all := s.workers()
	s.mu.Unlock()
	for _, p := range all {
		now, _ := proc.Of(p.PID)
		if p.hasEnded() || now.Stopped == p.suspended {
			continue
		}
		p.suspended = now.Stopped
		if now.Stopped {
			s.spec.Log.Warn("the worker was suspended by a signal, such as SIGTTIN for reading from a terminal; continue it with SIGCONT", "worker", p.PID)
		} else {
			s.spec.Log.Info("the worker was continued", "worker", p.PID)
		}
	}
}

// reapPause is the shortest time between two calls of Reap.
const reapPause = 5 * time.Millisecond

// endOrphans ends the processes that a worker left, and returns their number. All calls for one
// worker together take at most 2*OrphansMargin.
func (s *Supervisor) endOrphans(p *process) (left int) {
	left, _ = s.endOrphansBy(p, time.Time{})
	return left
}

// endOrphansBy is like endOrphans, but kills no process before until. The error is an
// *OrphansError. p may be nil.
func (s *Supervisor) endOrphansBy(p *process, until time.Time) (left int, err error) {
	o := new(orphans)
	if p != nil {
		o = &p.orphans
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log, o.keeps, o.of, o.beside = s.spec.Log, s.spec.Policy.KeepOrphans, p, s.beside(p)
	return o.end(until)
}

// beside returns the workers that run beside p.
func (s *Supervisor) beside(p *process) (others []*process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.workers() {
		if other != p && !isClosed(other.ended) {
			others = append(others, other)
		}
	}
	return others
}

// orphans holds the progress of endOrphans for one worker.
type orphans struct {
	mu   sync.Mutex
	of   *process      // that worker; nil: there was none
	took time.Duration // time spent for it

	log    *slog.Logger
	keeps  bool          // see KeepOrphans
	beside []*process    // workers whose processes must stay
	group  *cgroup.Group // of that worker
	told   map[int]bool  // processes that got TERM and still live
	left   int
}

// maxNamed is the greatest number of orphans that the log names.
const maxNamed = 20

func (o *orphans) end(until time.Time) (left int, err error) {
	o.told, o.left, o.group = map[int]bool{}, 0, nil
	if o.of != nil {
		o.group = o.of.group
	}
	defer func() { _ = o.group.Remove() }()
	begun := time.Now().Add(-o.took)
	defer func() { o.took = time.Since(begun) }()
	ask := begun.Add(OrphansMargin)
	if ask.Before(until) {
		ask = until
	}
	if o.terminate(ask) {
		return o.left, nil
	}
	deadline := ask.Add(OrphansMargin)
	pids, names, _ := o.living()
	groupErr := o.group.Kill(time.Now().Add(time.Until(deadline) / 2))
	killErr := o.kill(deadline)
	err = cmp.Or(killErr, groupErr) // a worker of root may have left its group
	alive, aliveNames, listErr := o.living()
	switch {
	case len(alive) > 0:
		o.log.Error("cannot end processes that the worker left behind", "pids", alive, "names", aliveNames, "why", err)
		return o.left, &OrphansError{PIDs: alive, Names: aliveNames, Err: cmp.Or(err, errors.New("they still run after KILL"))}
	case killErr != nil && listErr != nil: // without killErr, kill has seen that none remains
		o.log.Error("cannot list the processes that the worker left behind", "why", listErr)
		return o.left, &OrphansError{Err: listErr}
	case len(pids) == 0: // the last orphan ended meanwhile
		return o.left, nil
	}
	o.log.Error("killed processes that the worker left behind", "pids", pids, "names", names)
	return o.left, &OrphansError{PIDs: pids, Names: names}
}

// kill kills all orphans and their descendants, except processes that it must keep.
func (o *orphans) kill(deadline time.Time) error {
	if !o.keeps && len(o.beside) == 0 {
		return reaper.Kill(deadline)
	}
	for pause := time.Millisecond; ; pause = min(2*pause, OrphansMargin/100) {
		left := false
		err := reaper.EachOrphan(func(p reaper.Orphan) {
			if o.mine(p.PID) {
				left = true
				err := p.Signal(syscall.SIGKILL)
				if err != nil {
					o.log.Error("cannot kill a process that the worker left behind", "pid", p.PID, "why", err)
				}
			}
		})
		if !left || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
		reaper.Reap()
	}
}

// mine reports whether an orphan must end with its worker. If other workers run, an orphan must end
// in two cases: its environment shows that the worker has started it, or certainly no other worker
// has started it. All other orphans end with the last worker.
func (o *orphans) mine(pid int) bool {
	if !o.keeps && len(o.beside) == 0 {
		return true
	}
	p, ok := proc.Of(pid)
	if ok && o.of != nil && p.Group == o.of.PID {
		return true
	}
	if !ok || o.keeps {
		return false
	}
	inherited := proc.EnvironmentOf(pid, worker.InvocationVariable)
	if o.of != nil && inherited == o.of.invocation {
		return true
	}
	for _, other := range o.beside {
		if p.Group == other.PID || p.Session == other.PID || inherited == other.invocation || p.Began+proc.Tick > other.began {
			return false
		}
	}
	return true
}

// OrphansError reports that processes which the worker left behind did not end in time. The
// supervisor has killed them, or could not kill them.
type OrphansError struct {
	PIDs  []int // empty: the supervisor could not list them
	Names []string
	Err   error // why they could not be listed or killed; nil: they were killed
}

func (e *OrphansError) Error() string {
	if len(e.PIDs) == 0 {
		return fmt.Sprintf("cannot list the processes that the worker left behind: %v", e.Err)
	}
	all := make([]string, len(e.PIDs))
	for i, pid := range e.PIDs {
		all[i] = named(e.Names[i], pid)
	}
	if e.Err != nil {
		return fmt.Sprintf("the worker left processes that cannot be ended: %s: %v", strings.Join(all, ", "), e.Err)
	}
	return "the worker left processes that were killed: " + strings.Join(all, ", ")
}

func (e *OrphansError) Unwrap() error { return e.Err }

// terminate sends TERM to each orphan. It reports whether all ended in time.
func (o *orphans) terminate(deadline time.Time) (all bool) {
	for pause := time.Millisecond; ; pause = min(pause+pause/2, OrphansMargin/100) {
		begun := time.Now()
		reaper.Reap()
		if o.tell() {
			return true
		}
		took := time.Since(begun)
		if time.Until(deadline) < took {
			return false
		}
		time.Sleep(max(pause, 2*took))
	}
}

// tell sends TERM once to each orphan and to each other process in the control group. It reports
// whether no such process exists.
func (o *orphans) tell() (none bool) {
	told, before := map[int]bool{}, o.left
	var pids []int
	var names []string
	terminate := func(pid int, signal func(os.Signal) error) {
		again := told[pid] || o.told[pid]
		if told[pid] = true; again {
			return
		}
		if o.left++; o.left <= maxNamed {
			pids, names = append(pids, pid), append(names, proc.Name(pid))
		}
		// If the kernel refuses this signal, it later refuses KILL too, and kill returns that error.
		_ = signal(syscall.SIGTERM)
		_ = signal(ossignal.Continue)
	}
	err := reaper.EachOrphan(func(p reaper.Orphan) {
		if o.mine(p.PID) {
			terminate(p.PID, p.Signal)
		}
	})
	err = cmp.Or(err, o.group.Each(func(p cgroup.Process) { terminate(p.PID, p.Signal) }))
	o.told = told
	for i, pid := range pids {
		o.log.Warn("ending a process that the worker left behind", "pid", pid, "name", names[i])
	}
	if o.left > maxNamed && before <= maxNamed {
		o.log.Warn("ending more processes that the worker left behind, without naming them", "named", maxNamed)
	}
	return err == nil && len(told) == 0 && !o.group.Populated()
}

// living returns the first maxNamed orphans that must end and have not ended. With an error, there
// may be others.
func (o *orphans) living() (pids []int, names []string, err error) {
	err = reaper.EachOrphan(func(orphan reaper.Orphan) {
		if len(pids) < maxNamed && o.mine(orphan.PID) {
			pids, names = append(pids, orphan.PID), append(names, proc.Name(orphan.PID))
		}
	})
	return pids, names, err
}

// AwaitExit waits until a process has ended, or until ctx ends. The process need not be a child of
// this process.
func AwaitExit(ctx context.Context, pid int) {
	p, err := pin.Open(pid)
	if err != nil {
		return
	}
	defer p.Close()
	_ = p.Wait(ctx)
}
