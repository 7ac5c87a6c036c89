package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"example.com/lifecycle/internal/supervise"
	"example.com/lifecycle/internal/worker"
)

// A worker lives like any daemon in the foreground, but for what its parent has: the PID file, the state file, the terminal. It stops when it has lost that.

// workerNote is what a worker of this program is told.
type workerNote struct {
	PIDFile  string `json:"pid_file"` // of the supervisor
	Detached bool   `json:"detached"`
	First    bool   `json:"first"` // its failure is that of the start
}

// supervisorNote is what this process was told if it is a worker, else nil.
var supervisorNote = sync.OnceValue(func() *workerNote {
	in := worker.Inherited()
	if in == nil {
		return nil
	}
	note := new(workerNote)
	_ = json.Unmarshal(in.Note, note) // it is of the same program
	return note
})

// isWorker says whether this is the life that the parent of this process looks after.
func (c *plan) isWorker() bool {
	note := supervisorNote()
	return note != nil && c.policy != nil && c.pidFile == note.PIDFile
}

// errSupervisorLost is the cause of a stop because the parent has died.
const errSupervisorLost = stopCause("lifecycle: the parent that supervises this worker is gone")

// becomeWorker makes this life that of a worker.
func (l *life) becomeWorker() {
	own := *l.plan
	own.pidFile = ""
	own.env = workerEnv{own.env}
	l.plan, l.supervised, l.firstWorker = &own, true, supervisorNote().First
	in := worker.Inherited()
	_ = in.RedirectCrashOutput()
	lost := in.Take()
	go func() {
		<-lost // be it after the life, in what main does then
		time.AfterFunc(supervise.LostWorker, func() { l.plan.env.exit(1) })
		l.on(stopRequest, errSupervisorLost, nil)
	}()
}

// finalPatience is how long a worker that got a TERM waits for the word that no other worker follows. The
// supervisor sends it before its own TERM; the wait is for a TERM that both got from somebody else.
const finalPatience = 100 * time.Millisecond

// isLast reports whether no process follows this one that would be given its sockets. err is what the life
// returns.
func (l *life) isLast(err error) bool {
	if !l.supervised {
		return false // a service manager does not say
	}
	why := context.Cause(l.stopCtx)
	switch {
	case worker.Inherited().IsFinal(0), errors.Is(why, errSupervisorLost):
		return true
	case !isClosed(l.readyCh):
		return l.firstWorker // its failure is that of the start
	case l.plan.policy.isFinal(ExitCode(err)):
		return true
	}
	var signal *StopSignalError
	return errors.As(why, &signal) && worker.Inherited().IsFinal(finalPatience)
}

// isFinal reports whether a worker that ends by itself with that exit code is not started again, however
// often it has failed.
func (p *RestartPolicy) isFinal(code int) bool {
	return code == 0 && !p.Always || slices.Contains(p.Permanent, code)
}

// workerEnv is the host of a worker: whether the terminal has hung up is for the parent to know, which sends HUP for a reload only.
type workerEnv struct{ env }

func (workerEnv) terminal() (hungUp func() bool) { return func() bool { return false } }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
