package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/lifecycle/internal/sys/proc"
)

// SurvivorsError reports that processes of an earlier worker still run. No worker starts beside
// them.
type SurvivorsError struct {
	Processes []string
	Err       error // why they could not be ended; nil: they might not belong to that worker
	hidden    bool  // /proc does not show them
}

func (e *SurvivorsError) Error() string {
	all := strings.Join(e.Processes, ", ")
	if e.hidden {
		return fmt.Sprintf("/proc hides processes that may belong to an earlier worker: %s: "+
			"end them, or delete the state file if they do not (hidepid in proc(5))", all)
	}
	if e.Err == nil {
		return fmt.Sprintf("these processes may belong to an earlier worker: %s: end them, or delete the state file if they do not", all)
	}
	return fmt.Sprintf("cannot end processes of an earlier worker: %s: %v: end them first", all, e.Err)
}

// EndLimit returns the longest time that Start may take to end the processes of an earlier worker.
func EndLimit(stopTimeout, startTimeout time.Duration) time.Duration {
	return endLimit(stopTimeout, startTimeout) + 2*OrphansMargin + killMargin + reapTime
}

func endLimit(stopTimeout, startTimeout time.Duration) time.Duration {
	return min(stopTimeout, startTimeout/2)
}

// endPrevious ends the processes that the workers of a killed supervisor have left. If it returns
// an error, no worker may start.
func (s *Supervisor) endPrevious(ctx context.Context) error {
	all := Remains{
		Of: s.spec.Previous, Limit: endLimit(s.spec.StopTimeout, s.spec.StartTimeout), Margin: OrphansMargin, Crash: true, Log: s.spec.Log,
	}.look()
	defer all.close()
	all.awaitWorkers(ctx)
	s.endGroups(ctx)
	err := all.end(ctx, func(v *survivors) {
		if v.marked {
			s.awaitReaped(ctx, v.mark)
		}
	})
	s.mu.Lock()
	switch {
	case errors.As(err, new(*SurvivorsError)):
		s.emit(Stuck{Why: err.Error()})
	case err == nil && slices.ContainsFunc(all, func(v *survivors) bool { return v.marked }):
		s.emit(Alone{})
	}
	s.mu.Unlock()
	s.deliver()
	return err
}

// awaitReaped waits until the parent of the earlier worker has reaped it. Until then its PID
// exists, and postgres refuses to start if the PID in its own file exists. The parent is process 1
// or another subreaper, which may be slow, or may never reap.
func (s *Supervisor) awaitReaped(ctx context.Context, m mark) {
	zombie := func() bool {
		p, ok := proc.Of(m.PID)
		return ok && p.Ended && p.ID == m.ID
	}
	if s.spec.Program == nil || !zombie() {
		return
	}
	s.spec.Log.Info("waiting until the earlier worker, which is a zombie, is reaped", "pid", m.PID)
	limited, cancel := context.WithTimeout(ctx, reapTime)
	defer cancel()
	for zombie() && pause(limited, OrphansMargin/100) {
	}
}

// reapTime is how long the parent of an earlier worker may take to reap it.
const reapTime = 3 * time.Second

// names returns the names and PIDs of the processes for people, at most maxNamed of them.
func names(all []proc.Process) (texts []string) {
	for _, p := range all[:min(len(all), maxNamed)] {
		texts = append(texts, named(p.Name, p.PID))
	}
	if len(all) > maxNamed {
		texts = append(texts, fmt.Sprintf("and %d more", len(all)-maxNamed))
	}
	return texts
}

// named returns the name and PID of a process for people.
func named(name string, pid int) string { return fmt.Sprintf("%s (pid %d)", name, pid) }
