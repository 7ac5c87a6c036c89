package supervise

import (
	"context"
	"syscall"
	"time"

	"example.com/lifecycle/internal/sys/cgroup"
)

// newGroup returns an empty control group for the next worker. It returns nil if it cannot make
// one, or if some processes may outlive the worker. Each worker gets a new group, because a worker
// of root may have changed or frozen its group.
func (s *Supervisor) newGroup() *cgroup.Group {
	if s.tree == nil || s.spec.Policy.KeepOrphans {
		return nil
	}
	group, err := s.tree.New(s.spec.Daemon)
	if err != nil {
		s.spec.Log.Debug("cannot create a control group for the worker", "why", err)
		return nil
	}
	return group
}

// endGroups ends the processes in the groups of a killed supervisor, and removes these groups.
func (s *Supervisor) endGroups(ctx context.Context) {
	end := time.Now().Add(OrphansMargin)
	for _, group := range s.tree.Abandoned(s.spec.Daemon) {
		s.spec.Log.Warn("ending processes that the worker of a killed supervisor left behind")
		told := map[int]bool{}
		for group.Populated() && time.Now().Before(end) && pause(ctx, 5*time.Millisecond) {
			_ = group.Each(func(p cgroup.Process) {
				if !told[p.PID] {
					told[p.PID] = true
					_ = p.Signal(syscall.SIGTERM) // if the kernel refuses TERM, Kill below reports that
				}
			})
		}
		if err := group.Kill(end.Add(OrphansMargin)); err != nil {
			s.spec.Log.Error("cannot end processes that the worker of a killed supervisor left behind", "why", err)
		}
		_ = group.Remove()
	}
}
