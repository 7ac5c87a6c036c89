package lifecycle

import (
	"cmp"
	"context"
	"os"
	"time"

	"example.com/lifecycle/internal/logfile"
	"example.com/lifecycle/internal/sdnotify"
	"example.com/lifecycle/internal/worker"
)

// workerProcess is one worker, as its parent sees it: from its start to its end. supervisor.mu guards what changes.
type workerProcess struct {
	*worker.Process
	of    *supervisor
	ready chan struct{} // closed when it is ready for the first time
	gone  chan struct{} // closed when it has ended and all that it said was heard, or when it does not end even by KILL
	logs  *logfile.Pair // from where it began to write to it; nil: there is none

	how     *os.ProcessState        // once it has ended; nil too where that cannot be told
	isStage bool                    // it has not executed its program yet
	stage   context.Context         // how long it may be that
	giveUp  context.CancelCauseFunc // ends that
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

// startWorker starts one, and returns when it has executed its program. When ctx ends before, there is none, and the error is its cause.
func (s *supervisor) startWorker(ctx context.Context) (*workerProcess, error) {
	w, err := s.forkWorker(ctx)
	if err == nil {
		err = w.executes()
	}
	if err != nil {
		return nil, err
	}
	s.life.tell(func(st *Status) {
		st.Worker, st.NextRestart, st.Attempt, st.AttemptLimit = w.PID, time.Time{}, 0, 0
		st.Restarts = s.restarts
	})
	return w, nil
}

// forkWorker starts one, which may be no more than a stage yet when it returns: any process of the user that this becomes can stop it.
func (s *supervisor) forkWorker(ctx context.Context) (*workerProcess, error) {
	order, err := s.order()
	if err != nil {
		return nil, err
	}
	w := &workerProcess{of: s, ready: make(chan struct{}), gone: make(chan struct{}), isStage: true}
	w.stage, w.giveUp = context.WithCancelCause(ctx)
	if s.life.detached() {
		w.logs = s.life.logsFromNow()
	}
	s.forking.Lock() // what it says at once waits until it is known
	defer s.forking.Unlock()
	if s.stops() {
		return nil, errStopsInstead
	}
	if w.Process, err = worker.Start(order); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.worker.Store(w)
	w.limit = time.AfterFunc(byItself, w.overdue)
	if s.of.program == nil {
		w.mustBeDoneIn(s.of.startTimeout + grace(s.of.startTimeout) + workerMargin)
	} else {
		w.mustBeDoneIn(s.of.startTimeout)
	}
	go w.await()
	return w, nil
}

// awaitFork waits until a worker that is being started is known.
func (s *supervisor) awaitFork() {
	s.forking.Lock()
	defer s.forking.Unlock()
}

func (s *supervisor) stops() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// executes waits until the worker is a stage no more. If it does not become the program, it is killed, and all is over when this returns.
func (w *workerProcess) executes() error {
	s := w.of
	defer w.giveUp(nil)
	err := w.Executed(w.stage)
	s.mu.Lock()
	w.isStage = false
	switch {
	case err != nil:
		w.kills()
	case s.startedOne:
		s.restarts++
	}
	s.startedOne = s.startedOne || err == nil
	s.mu.Unlock()
	if err != nil {
		<-w.gone
		return err
	}
	if s.of.program != nil {
		time.AfterFunc(s.of.policy.Settle, w.settle)
	}
	return nil
}

// workerNote is what an own worker is told.
type workerNote struct {
	PIDFile  string `json:"pid_file"` // of the parent
	Detached bool   `json:"detached"`
	First    bool   `json:"first"` // its failure is that of the start
}

// order is how the next worker is started.
func (s *supervisor) order() (o worker.Order, err error) {
	o = worker.Order{
		Args: os.Args, Notify: s.server.Address, Store: sdnotify.Room(), Watchdog: 2 * s.of.watchdog.every, Umask: s.of.umask,
		Note: workerNote{s.of.pidFile, InDaemon(), !s.startedOne}, Dir: s.dir,
		NoTerminal: s.life.changesUser(),
	}
	s.mu.Lock()
	for _, kept := range s.store {
		o.Sockets = append(o.Sockets, kept.Socket)
	}
	s.mu.Unlock()
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

// logsFromNow returns the logs, to read what is written from now on. They are closed.
func (c *config) logsFromNow() *logfile.Pair {
	l, err := c.openLogs()
	if err != nil {
		return nil
	}
	l.Close()
	return l
}

// await waits for the end of the worker.
func (w *workerProcess) await() {
	how, err := w.Wait()
	w.of.hearAll() // its last words may not have been read
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	w.how = how
	w.why = cmp.Or(w.why, err)
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
	w.of.mu.After(w.Close)
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
