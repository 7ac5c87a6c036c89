package supervise

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/proc"
)

// awaitWorker waits for the worker. A worker of this binary detects the end of its supervisor and
// stops. A supervised program is killed with its supervisor, unless it has changed its user.
func (v *survivors) awaitWorker(ctx context.Context) {
	pid, stops := v.of.PID, v.mark.ThisBinary || !v.marked
	if v.marked {
		if pid = v.mark.PID; !v.mark.isIn(proc.Namespace()) || proc.Identity(pid) != v.mark.ID {
			return
		}
	}
	if pid == 0 || pid == os.Getpid() {
		return
	}
	limit := killedTime
	if stops {
		limit = LostWorker + WorkerMargin
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	AwaitExit(limited, pid)
}

// killedTime is how long a supervised program may take to die with its supervisor. After that, End
// asks the program to stop.
const killedTime = 100 * time.Millisecond

// end ends the survivors in order. It is the part of End after awaitWorker.
func (v *survivors) end(ctx context.Context) error {
	var deadline time.Time // from the first signal, because a look may take a long time
	var others time.Time   // when the others got TERM
	asked := false         // the worker was asked to stop
	for delay := time.Millisecond; ; delay = min(2*delay, OrphansMargin/100) {
		from := time.Now()
		v.look()
		if len(v.uncertain) > 0 {
			return &SurvivorsError{Processes: names(v.uncertain)}
		}
		left := v.living()
		if len(left) == 0 {
			if done, err := v.noneLeft(from); done {
				return err
			}
		} else {
			now := time.Now()
			if deadline.IsZero() {
				deadline = now.Add(v.Limit)
			}
			kill := deadline
			switch {
			case left[0].PID == v.mark.PID:
				asked = true
			case v.Limit >= 0:
				if others.IsZero() {
					others = now
				}
				if soonest := others.Add(v.Margin); soonest.After(kill) || v.Crash && !asked {
					kill = soonest
				}
			}
			v.signal(left, now.After(kill))
			if err := refusal(left); err != nil || now.After(kill.Add(killMargin)) {
				return &SurvivorsError{Processes: survivorNames(left), Err: cmp.Or(err, errors.New("they still run after KILL"))}
			}
		}
		if !pause(ctx, max(delay, 2*time.Since(from))) {
			return context.Cause(ctx)
		}
	}
}

// noneLeft reports whether no survivor is left. It returns an error if /proc has hidden one for a
// while.
func (v *survivors) noneLeft(now time.Time) (done bool, err error) {
	switch {
	case !v.hidden():
		return true, nil
	case v.hiddenAt.IsZero():
		v.hiddenAt = now
	case now.Sub(v.hiddenAt) > v.Margin:
		return true, &SurvivorsError{Processes: []string{v.mark.groupText()}, hidden: true}
	}
	return false, nil
}

// signal asks the worker to stop. If the worker has ended, signal asks the other processes to end.
func (v *survivors) signal(left []*survivor, kill bool) {
	for _, p := range left {
		if !p.asked && !p.killed && len(v.ended.Names) < maxNamed {
			v.ended.Names = append(v.ended.Names, named(p.Name, p.PID))
		}
		switch {
		case kill:
			if !p.killed {
				v.Log.Error("killing a process that an earlier worker left behind", "pid", p.PID, "name", p.Name)
				v.ended.Killed = append(v.ended.Killed, named(p.Name, p.PID))
			}
			p.killed = true
			p.signal(syscall.SIGKILL)
		case !p.asked:
			v.Log.Warn("ending a process that an earlier worker left behind", "pid", p.PID, "name", p.Name)
			p.asked = true
			if p.PID == v.mark.PID {
				p.signal(v.mark.StopSignal)
			} else {
				p.signal(syscall.SIGTERM)
			}
		}
		if p.PID == v.mark.PID && !(kill && v.Limit < 0) {
			return
		}
	}
}

// refusal returns an error if the kernel refused the signals to all processes, else nil.
func refusal(left []*survivor) (err error) {
	for _, p := range left {
		switch {
		case errors.Is(p.err, fs.ErrPermission):
			err = syscall.EPERM
		case p.asked, p.killed:
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
