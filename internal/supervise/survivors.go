package supervise

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/ossignal"
	"example.com/lifecycle/internal/sys/pin"
	"example.com/lifecycle/internal/sys/proc"
)

// Remains describes the processes that the workers of a killed supervisor may have left, and how to
// end them.
type Remains struct {
	Of     Alive
	Limit  time.Duration // until KILL; 0: the StopTimeout of that supervisor; negative: KILL at once
	Margin time.Duration // for the processes that get TERM when the worker has ended
	Crash  bool          // if the worker ended before End, KILL follows after Margin, not Limit
	Owner  int           // End signals only processes of this user; 0: of any user
	Log    *slog.Logger
}

// Ended contains the names of the processes that End has ended, for people.
type Ended struct{ Names, Killed []string }

// End ends the processes in order: the worker with its StopSignal, then the others with TERM. It
// kills processes that have not ended after Limit. First, it gives a worker of this binary time to
// detect the end of its supervisor. If it is uncertain which processes belong to the worker, End
// signals none. It returns a *SurvivorsError if processes may still run.
func (r Remains) End(ctx context.Context) (Ended, error) {
	all := r.look()
	defer all.close()
	all.awaitWorkers(ctx)
	err := all.end(ctx, func(*survivors) {})
	var ended Ended
	for _, v := range all {
		ended.Names, ended.Killed = append(ended.Names, v.ended.Names...), append(ended.Killed, v.ended.Killed...)
	}
	return ended, err
}

// allSurvivors contains the survivors of each worker.
type allSurvivors []*survivors

// look finds the processes while the workers still run, because then their children have them as
// their parents.
func (r Remains) look() (all allSurvivors) {
	for _, m := range r.Of.all() {
		v := newSurvivors(r, m)
		v.look()
		all = append(all, v)
	}
	return all
}

func (all allSurvivors) close() {
	for _, v := range all {
		v.close()
	}
}

func (all allSurvivors) awaitWorkers(ctx context.Context) {
	for _, v := range all {
		v.awaitWorker(ctx)
	}
}

// end ends the survivors of all workers at the same time. It calls ended for each worker that has
// left no process now.
func (all allSurvivors) end(ctx context.Context, ended func(*survivors)) error {
	errs := make([]error, len(all))
	var ends sync.WaitGroup
	for i, v := range all {
		ends.Go(func() {
			if errs[i] = v.end(ctx); errs[i] == nil {
				ended(v)
			}
		})
	}
	ends.Wait()
	return cmp.Or(errs...)
}

// survivors contains the processes that the worker of a killed supervisor has left.
type survivors struct {
	Remains
	of     Marked
	mark   mark
	marked bool
	at     ownedAt

	pinned    map[int]*survivor
	uncertain []proc.Process
	unseen    bool      // the last list contains no member of the group
	hiddenAt  time.Time // when the group first had unlisted members; zero: none
	ended     Ended
}

func newSurvivors(r Remains, of Marked) *survivors {
	v := &survivors{Remains: r, of: of, at: ownedAt{of.At, of.At}, pinned: map[int]*survivor{}}
	v.mark, v.marked = parseMark(of.Mark)
	if r.Limit == 0 {
		v.Limit = v.mark.StopTimeout
	}
	return v
}

// survivor is a pinned process that certainly belongs to the worker.
type survivor struct {
	proc.Process
	pin    *pin.Pin
	asked  bool // the process got StopSignal or TERM
	killed bool
	err    error // of the last signal
}

func (v *survivors) close() {
	for _, p := range v.pinned {
		_ = p.pin.Close()
	}
}

// list returns the processes that certainly belong to the worker.
func (v *survivors) list() (certain []proc.Process) {
	known := func(p proc.Process) bool {
		before := v.pinned[p.PID]
		return before != nil && before.ID == p.ID && before.lives()
	}
	now, all := monotonic.Boottime(), proc.List()
	f := v.mark.find(all, proc.Namespace(), v.at, look{known, v.mark.inherits(v.of.Image)})
	v.unseen = !slices.ContainsFunc(all, func(p proc.Process) bool { return p.Group == v.mark.PID })
	if f.group {
		v.at.group = now
	}
	if f.session {
		v.at.session = now
	}
	v.uncertain = f.uncertain
	return f.certain
}

// hidden reports whether the group has members but the last list contains none of them. Then /proc
// hides them, or they were forked after the list.
func (v *survivors) hidden() bool {
	return v.marked && v.unseen && v.mark.isIn(proc.Namespace()) && proc.HasGroup(v.mark.PID)
}

// look pins the processes that certainly belong to the worker and are not pinned yet.
func (v *survivors) look() {
	if !v.marked {
		return
	}
	var candidates []*survivor
	for _, p := range v.list() {
		if before := v.pinned[p.PID]; before != nil && before.ID == p.ID {
			continue
		}
		if held, err := pin.Open(p.PID); err == nil {
			candidates = append(candidates, &survivor{Process: p, pin: held})
		}
	}
	if len(candidates) == 0 {
		return
	}
	// Between the list and the pin, a process may have ended, and another process may have got its
	// PID.
	again := v.list()
	for _, c := range candidates {
		same := func(p proc.Process) bool { return p.PID == c.PID && p.ID == c.ID }
		if !slices.ContainsFunc(again, same) {
			_ = c.pin.Close()
			continue
		}
		if uid, err := c.pin.UID(); v.Owner != 0 && uid != v.Owner && !errors.Is(err, os.ErrProcessDone) {
			v.uncertain = append(v.uncertain, c.Process)
			_ = c.pin.Close()
			continue
		}
		if before := v.pinned[c.PID]; before != nil {
			_ = before.pin.Close()
		}
		v.pinned[c.PID] = c
	}
}

func (p *survivor) lives() bool {
	return !errors.Is(p.pin.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

func (p *survivor) signal(sig os.Signal) {
	p.err = p.pin.Signal(sig)
	if p.err == nil && sig != syscall.SIGKILL {
		_ = p.pin.Signal(ossignal.Continue)
	}
}

// living returns the pinned processes that have not ended, the worker first.
func (v *survivors) living() (all []*survivor) {
	for _, p := range v.pinned {
		if p.lives() {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *survivor) int {
		first := func(p *survivor) int {
			if p.PID == v.mark.PID {
				return 0
			}
			return p.PID
		}
		return cmp.Compare(first(a), first(b))
	})
	return all
}
