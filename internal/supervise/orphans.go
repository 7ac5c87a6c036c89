package supervise

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"example.com/lifecycle/internal/cgroup"
	"example.com/lifecycle/internal/ossignal"
	"example.com/lifecycle/internal/pin"
	"example.com/lifecycle/internal/proc"
	"example.com/lifecycle/internal/reaper"
)

// What a worker leaves behind is adopted by its parent, which is a subreaper or process 1
// (PR_SET_CHILD_SUBREAPER(2const)), whatever it has done to detach itself.

// reapOrphans waits for those that end by themselves, so that none stays a zombie. Where many of
// them end it takes a fifth of a processor at most.
func reapOrphans() (stopReaping func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, ossignal.Child)
	over := make(chan struct{})
	go func() {
		for {
			begun := time.Now()
			reaper.Reap()
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

// reapPause is the shortest time from one look at what has ended to the next.
const reapPause = 5 * time.Millisecond

// endOrphans ends what the last worker has left, and returns how many processes that were. It takes
// 2*OrphansMargin for one worker, however often it is called.
func (s *Supervisor) endOrphans() (left int) {
	s.orphans.mu.Lock()
	defer s.orphans.mu.Unlock()
	return s.orphans.end(s.last.Load(), s.spec.Log)
}

// orphans is what endOrphans has done so far.
type orphans struct {
	mu   sync.Mutex
	of   *process
	took time.Duration // for what that worker has left

	log   *slog.Logger
	group *cgroup.Group // of that worker
	told  map[int]bool  // those that were sent TERM and live
	left  int
}

// maxNamed is how many orphans the log names one by one.
const maxNamed = 20

// begin gives a new worker a time of its own.
func (o *orphans) begin(of *process) {
	if o.of != of {
		o.of, o.took = of, 0
	}
}

func (o *orphans) end(of *process, log *slog.Logger) (left int) {
	o.begin(of)
	o.log, o.told, o.left, o.group = log, map[int]bool{}, 0, nil
	if of != nil {
		o.group = of.group
	}
	defer func() { _ = o.group.Remove() }()
	begun := time.Now().Add(-o.took)
	defer func() { o.took = time.Since(begun) }()
	if o.terminate(begun.Add(OrphansMargin)) {
		return o.left
	}
	deadline := begun.Add(2 * OrphansMargin)
	groupErr := o.group.Kill(time.Now().Add(time.Until(deadline) / 2))
	err := cmp.Or(reaper.Kill(deadline), groupErr) // a worker of root may have left its group
	if pids, names := living(); len(pids) > 0 {
		log.Error("what the worker has left does not end", "pids", pids, "names", names, "why", err)
	}
	return o.left
}

// terminate sends each orphan a TERM, and reports whether all have ended in time.
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

// tell sends TERM to the orphans, and to what else is in the control group, where they have not got
// it yet, and reports whether there are none.
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
		_ = signal(syscall.SIGTERM)
		_ = signal(ossignal.Continue)
	}
	err := reaper.EachOrphan(func(p reaper.Orphan) { terminate(p.PID, p.Signal) })
	err = cmp.Or(err, o.group.Each(func(p cgroup.Process) { terminate(p.PID, p.Signal) }))
	o.told = told
	for i, pid := range pids {
		o.log.Warn("ends what the worker has left", "pid", pid, "name", names[i])
	}
	if o.left > maxNamed && before <= maxNamed {
		o.log.Warn("ends what the worker has left, and the rest is not named", "named", maxNamed)
	}
	return err == nil && len(told) == 0 && !o.group.Populated()
}

// living names orphans that have not ended, the first of them.
func living() (pids []int, names []string) {
	_ = reaper.EachOrphan(func(orphan reaper.Orphan) {
		if len(pids) < maxNamed {
			pids, names = append(pids, orphan.PID), append(names, proc.Name(orphan.PID))
		}
	})
	return pids, names
}

// AwaitExit waits for a process that is no child of this one.
func AwaitExit(ctx context.Context, pid int) {
	p, err := pin.Open(pid)
	if err != nil {
		return
	}
	defer p.Close()
	_ = p.Wait(ctx)
}
