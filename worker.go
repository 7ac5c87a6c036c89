package lifecycle

import (
	"os"
	"time"

	"example.com/lifecycle/internal/sdnotify"
	"example.com/lifecycle/internal/worker"
)

// workerProcess is one worker, as its parent sees it: from its start to its end. supervisor.mu guards what changes.
type workerProcess struct {
	*worker.Process
	of    *supervisor
	ready chan struct{} // closed when it is ready for the first time
	gone  chan struct{} // closed when it has ended and all that it said was heard, or when it does not end even by KILL
	logs  *logs         // from where it began to write to it; nil: there is none

	how     *os.ProcessState // once it has ended; nil too where that cannot be told
	phase   Phase
	readyAt time.Time
	speaks  bool     // sd_notify
	state   *Status  // what an own worker says of itself
	failed  *failure // why it ends, as it says
	error   string   // the same from a program that knows X_LIFECYCLE_ERROR only

	asked  bool  // it was asked to end
	felled bool  // it was killed
	why    error // why it was ended, unless for a stop

	limit *time.Timer // when it must have become ready, or ended
	due   time.Time   // when that is; zero: there is no limit
	last  time.Time   // when its stop must be over, whatever it asks for; zero: it does not stop
	stale bool        // it has the old log
	watch *time.Timer // when it must have given a sign of life; nil: nobody watches
	alive time.Time   // when that is
}

// startWorker starts one.
func (s *supervisor) startWorker() (*workerProcess, error) {
	w, err := s.tryWorker()
	if err != nil {
		return nil, err
	}
	s.life.tell(func(st *Status) {
		st.Worker, st.NextRestart, st.Attempt, st.AttemptLimit = w.PID, time.Time{}, 0, 0
		st.Restarts = s.restarts
	})
	return w, nil
}

func (s *supervisor) tryWorker() (*workerProcess, error) {
	s.mu.Lock() // what it says at once waits until it is known
	defer s.mu.Unlock()
	if s.stopping {
		return nil, errStopsInstead
	}
	order, err := s.order()
	if err != nil {
		return nil, err
	}
	w := &workerProcess{of: s, ready: make(chan struct{}), gone: make(chan struct{})}
	if s.life.detached() {
		w.logs = s.life.logsFromNow()
	}
	if w.Process, err = worker.Start(order); err != nil {
		return nil, err
	}
	if s.worker.Load() != nil {
		s.restarts++
	}
	s.worker.Store(w)
	w.limit = time.AfterFunc(byItself, w.overdue)
	if s.of.program == nil {
		w.mustBeDoneIn(s.of.startTimeout + grace(s.of.startTimeout) + workerMargin)
	} else {
		w.mustBeDoneIn(s.of.startTimeout)
		time.AfterFunc(s.of.policy.Settle, w.settle)
	}
	go w.await()
	return w, nil
}

// workerNote is what an own worker is told.
type workerNote struct {
	PIDFile  string `json:"pid_file"` // of the parent
	Detached bool   `json:"detached"`
	First    bool   `json:"first"` // its failure is that of the start
}

func (s *supervisor) order() (o worker.Order, err error) {
	o = worker.Order{
		Args: os.Args, Notify: s.server.Address, Store: sdnotify.Room(), Watchdog: 2 * s.of.watchdog.every, Umask: s.of.umask,
		Note: workerNote{s.of.pidFile, InDaemon(), s.worker.Load() == nil}, Dir: s.dir,
	}
	for _, kept := range s.store {
		o.Sockets = append(o.Sockets, kept.Socket)
	}
	if s.of.program != nil {
		o.Args = s.of.program
		if o.Program, err = s.of.findProgram(); err != nil {
			return o, err
		}
		o.Dir, o.Become = s.programDir(), s.life.become()
	}
	if info, err := os.Stat(o.Dir); o.Dir == s.dir && (err != nil || !info.IsDir()) { // it was removed since
		o.Dir = ""
	}
	return o, nil
}

// logsFromNow are the logs, to read what is written from now on.
func (c *config) logsFromNow() *logs {
	l, err := c.openLogs()
	if err != nil {
		return nil
	}
	l.close()
	return l
}

// await waits for the end of the worker.
func (w *workerProcess) await() {
	how, _ := w.Wait()
	w.of.hearAll() // its last words may not have been read
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	w.how = how
	w.over()
}

// over is the end of it. supervisor.mu is held.
func (w *workerProcess) over() {
	if w.hasEnded() {
		return
	}
	w.limit.Stop()
	if w.watch != nil {
		w.watch.Stop()
	}
	w.of.awaits.disappoint(w)
	w.Close()
	close(w.gone)
}

func (w *workerProcess) hasEnded() bool { return isClosed(w.gone) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
