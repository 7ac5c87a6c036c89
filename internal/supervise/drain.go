package supervise

import (
	"errors"
	"time"

	"example.com/lifecycle/internal/sys/ossignal"
)

// drain makes a replaced worker finish its work and end within limit. s.mu is held.
func (s *Supervisor) drain(p *process, limit time.Duration) {
	p.drains, p.drainLimit = true, min(limit, noTimeout)
	s.others = append(s.others, p)
	if p.state == starting { // a worker that is not ready yet gets StopSignal
		s.mu.After(func() { _ = p.NotLast() })
	}
	p.handle(replaced)
	s.emit(Draining{PID: p.PID, Until: p.deadline})
	s.endOldest()
	go s.awaitDrained(p)
}

// endOldest ends workers that drain if there are too many of them. s.mu is held.
func (s *Supervisor) endOldest() {
	excess := -maxDraining
	for _, p := range s.others {
		if p.drains {
			excess++
		}
	}
	for _, p := range s.others {
		if excess <= 0 {
			return
		}
		if !p.drains {
			continue
		}
		if p.state <= draining {
			s.mu.After(func() {
				s.spec.Log.Warn("ending a worker that drains, because too many do", "worker", p.PID, "limit", maxDraining)
			})
		}
		if p.state == terminating && excess > maxDraining {
			p.handle(deadlineExpired)
		} else {
			p.handle(stopRequested)
		}
		excess--
	}
}

// awaitDrained waits until a replaced worker has ended.
func (s *Supervisor) awaitDrained(p *process) {
	<-p.ended
	<-p.gone
	s.drained(p, s.endOrphans(p))
	close(p.finished)
}

// drained reports the end of a replaced worker.
func (s *Supervisor) drained(p *process, left int) {
	e := p.end()
	s.mu.Lock()
	s.remove(p)
	s.emit(Drained{PID: p.PID, Left: left, Exit: e.Exit, Living: s.living()})
	s.upgrade.handle(drainedEnded)
	killed := p.wasKilled
	s.mu.Unlock()
	s.deliver()
	if killed {
		s.spec.Log.Error("the old worker was killed while it drained", "worker", p.PID, "how", e.Text())
	} else {
		s.spec.Log.Info("the old worker has drained", "worker", p.PID, "how", e.Text())
	}
}

// errNotDrained is the reason for which the supervisor kills a worker that drains.
var errNotDrained = errors.New("it did not drain in time")

// tellReplaced makes the worker drain. A worker that uses this library gets a message. A supervised
// program gets StopSignal. So does a worker to which the message cannot be sent.
func (p *process) tellReplaced() {
	if p.isProgram() || p.Replace() != nil {
		if err := p.signal(p.of.spec.Policy.StopSignal); err != nil {
			p.refused(err)
			return
		}
	}
	_ = p.Signal(ossignal.Continue) // if this fails, the deadline of the state kills the worker
}

// isProgram reports whether the worker is a supervised program.
func (p *process) isProgram() bool { return p.of.spec.Program != nil && !p.probe }
