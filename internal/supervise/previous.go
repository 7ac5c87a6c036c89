package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"example.com/lifecycle/internal/sys/proc"
)

// SurvivorsError reports that processes of an earlier worker run, so no worker starts beside them.
type SurvivorsError struct {
	Processes []string
	Err       error // why they could not be ended; nil: they may belong to something else
}

func (e *SurvivorsError) Error() string {
	all := strings.Join(e.Processes, ", ")
	if e.Err == nil {
		return fmt.Sprintf("these processes may belong to an earlier worker: %s: end them, or delete the state file if they do not", all)
	}
	return fmt.Sprintf("cannot end processes of an earlier worker: %s: %v: end them first", all, e.Err)
}

// EndLimit returns how long the end of the processes of an earlier worker takes at most.
func EndLimit(stopTimeout, startTimeout time.Duration) time.Duration {
	return endLimit(stopTimeout, startTimeout) + 2*OrphansMargin + killMargin
}

func endLimit(stopTimeout, startTimeout time.Duration) time.Duration {
	return min(stopTimeout, startTimeout/2)
}

// endPrevious ends what the worker of a killed supervisor has left. If it returns an error, a
// worker must not start.
func (s *Supervisor) endPrevious(ctx context.Context) error {
	v := &survivors{
		at: ownedAt{s.spec.Previous.At, s.spec.Previous.At}, groupOnly: s.spec.Policy.KeepOrphans, log: s.spec.Log, stopSignal: s.spec.Policy.StopSignal,
		pinned: map[int]*survivor{},
	}
	defer v.close()
	v.mark, v.marked = parseMark(s.spec.Previous.Mark)
	v.look() // while the worker lives, its children can be told by their parent
	s.awaitPrevious(ctx)
	s.endGroups(ctx)
	err := v.end(ctx, endLimit(s.spec.StopTimeout, s.spec.StartTimeout))
	s.mu.Lock()
	switch {
	case errors.As(err, new(*SurvivorsError)):
		s.emit(Stuck{Why: err.Error()})
	case err == nil && v.marked:
		s.emit(Alone{})
	}
	s.mu.Unlock()
	s.deliver()
	return err
}

// awaitPrevious waits for the worker of a killed supervisor. A worker of this binary detects the
// end of its supervisor and stops. A supervised program is killed with its supervisor, unless it
// has changed its user.
func (s *Supervisor) awaitPrevious(ctx context.Context) {
	pid := s.spec.Previous.PID
	if m, ok := parseMark(s.spec.Previous.Mark); ok {
		if pid = m.PID; m.Namespace != proc.Namespace() || proc.Identity(pid) != m.ID {
			return
		}
	}
	if pid == 0 || pid == os.Getpid() {
		return
	}
	limit := LostWorker + WorkerMargin
	if s.spec.Program != nil {
		limit = killedTime
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	AwaitExit(limited, pid)
}

// killedTime is how long a program may take to end that was killed with its supervisor. A longer
// end is no error: it is asked to stop then.
const killedTime = 100 * time.Millisecond

// names returns the processes for people, at most maxNamed of them.
func names(all []proc.Process) (texts []string) {
	for _, p := range all[:min(len(all), maxNamed)] {
		texts = append(texts, named(p.Name, p.PID))
	}
	if len(all) > maxNamed {
		texts = append(texts, fmt.Sprintf("and %d more", len(all)-maxNamed))
	}
	return texts
}

// named returns the name of a process for people.
func named(name string, pid int) string { return fmt.Sprintf("%s (pid %d)", name, pid) }
