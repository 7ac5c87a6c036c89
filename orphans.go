package lifecycle

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"example.com/lifecycle/internal/ossignal"
	"example.com/lifecycle/internal/pin"
	"example.com/lifecycle/internal/proc"
	"example.com/lifecycle/internal/reaper"
)

// What a worker leaves behind is adopted by its parent, which is a subreaper or process 1 (PR_SET_CHILD_SUBREAPER(2const)), whatever it has done to detach itself.

// reapOrphans waits for those that end by themselves, so that none stays a zombie.
func reapOrphans() (deafen func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, ossignal.Child)
	over := make(chan struct{})
	go func() {
		for {
			reaper.Reap()
			select {
			case <-ended:
			case <-over:
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(ended)
		close(over)
	})
}

// endOrphans ends what a worker has left, and says how many there were: with TERM, and those that do not heed that with KILL.
func (s *supervisor) endOrphans() (left int) {
	told := map[int]bool{}
	begun := time.Now()
	for {
		reaper.Reap()
		orphans := reaper.Orphans()
		late := time.Since(begun)
		switch {
		case len(orphans) == 0:
			return len(told)
		case late > 2*orphansMargin:
			s.life.log.Error("what the worker has left does not end", "pids", orphans)
			return len(told)
		}
		for _, pid := range orphans {
			if !told[pid] {
				told[pid] = true
				s.life.log.Warn("ends what the worker has left", "pid", pid, "name", proc.Name(pid))
				proc.Signal(pid, syscall.SIGTERM)
				proc.Signal(pid, ossignal.Continue)
			}
			if late > orphansMargin {
				proc.Signal(pid, syscall.SIGKILL)
			}
		}
		time.Sleep(min(orphansMargin/100, time.Millisecond+late/4))
	}
}

// awaitProcess waits for a process that is no child of this one.
func awaitProcess(ctx context.Context, pid int) {
	p, err := pin.Open(pid)
	if err != nil {
		return
	}
	defer p.Close()
	_ = p.Wait(ctx)
}
