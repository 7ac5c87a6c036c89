package supervise

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/monotonic"
	"example.com/lifecycle/internal/sys/ossignal"
	"example.com/lifecycle/internal/sys/pin"
	"example.com/lifecycle/internal/sys/proc"
)

// survivors are the processes that the worker of a killed supervisor has left.
type survivors struct {
	mark       mark
	marked     bool
	at         ownedAt
	groupOnly  bool
	stopSignal os.Signal
	log        *slog.Logger

	pinned    map[int]*survivor
	uncertain []proc.Process
}

// survivor is a process that is certain to be the worker's, and is pinned.
type survivor struct {
	proc.Process
	pin    *pin.Pin
	asked  bool // it was sent StopSignal, or TERM
	killed bool
	err    error // of the last signal
}

func (v *survivors) close() {
	for _, p := range v.pinned {
		_ = p.pin.Close()
	}
}

// list returns the processes that are certain to be the worker's.
func (v *survivors) list() (certain []proc.Process) {
	known := func(p proc.Process) bool {
		before := v.pinned[p.PID]
		return before != nil && before.ID == p.ID && before.lives()
	}
	now := monotonic.Boottime()
	f := v.mark.find(proc.List(), proc.Namespace(), v.at, look{v.groupOnly, known})
	if f.group {
		v.at.group = now
	}
	if f.session {
		v.at.session = now
	}
	v.uncertain = f.uncertain
	return f.certain
}

// look pins the processes that are certain to be the worker's and that are not pinned yet.
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
	// Between the list and the pin, the process may have ended, and its PID may be another's.
	again := v.list()
	for _, c := range candidates {
		same := func(p proc.Process) bool { return p.PID == c.PID && p.ID == c.ID }
		if !slices.ContainsFunc(again, same) {
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

// end ends the survivors in order: the worker with StopSignal, then the others with TERM. It kills
// what has not ended after limit. It does nothing if it is uncertain what belongs to the worker.
func (v *survivors) end(ctx context.Context, limit time.Duration) error {
	begun := time.Now()
	deadline := begun.Add(limit)
	var others time.Time // when the others were sent TERM
	for delay := time.Millisecond; ; delay = min(2*delay, OrphansMargin/100) {
		from := time.Now()
		v.look()
		if len(v.uncertain) > 0 {
			return &SurvivorsError{Processes: names(v.uncertain)}
		}
		left := v.living()
		if len(left) == 0 {
			return nil
		}
		now := time.Now()
		kill := deadline
		if left[0].PID != v.mark.PID {
			if others.IsZero() {
				others = now
			}
			if soonest := others.Add(OrphansMargin); soonest.After(kill) {
				kill = soonest
			}
		}
		v.signal(left, now.After(kill))
		if err := refusal(left); err != nil || now.After(kill.Add(killMargin)) {
			return &SurvivorsError{Processes: survivorNames(left), Err: cmp.Or(err, errors.New("they still run after KILL"))}
		}
		if !pause(ctx, max(delay, 2*time.Since(from))) {
			return context.Cause(ctx)
		}
	}
}

// signal asks the worker to stop, or the others when it has ended.
func (v *survivors) signal(left []*survivor, kill bool) {
	for _, p := range left {
		switch {
		case kill:
			if !p.killed {
				v.log.Error("killing a process that an earlier worker left behind", "pid", p.PID, "name", p.Name)
			}
			p.killed = true
			p.signal(syscall.SIGKILL)
		case !p.asked:
			v.log.Warn("ending a process that an earlier worker left behind", "pid", p.PID, "name", p.Name)
			p.asked = true
			if p.PID == v.mark.PID {
				p.signal(v.stopSignal)
			} else {
				p.signal(syscall.SIGTERM)
			}
		}
		if p.PID == v.mark.PID {
			return
		}
	}
}

// refusal returns why none of the processes that were signalled may be, or nil.
func refusal(left []*survivor) (err error) {
	for _, p := range left {
		switch {
		case errors.Is(p.err, fs.ErrPermission):
			err = syscall.EPERM
		case p.asked:
			return nil
		}
	}
	return err
}

func survivorNames(all []*survivor) (texts []string) {
	var processes []proc.Process
	for _, p := range all {
		processes = append(processes, p.Process)
	}
	return names(processes)
}
