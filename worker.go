package lifecycle

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/ossignal"
	"example.com/lifecycle/internal/worker"
)

// workerProcess is one worker, as its parent sees it: from its start to its end. supervisor.mu guards what changes.
type workerProcess struct {
	*worker.Process
	of    *supervisor
	began time.Time
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
	w := &workerProcess{of: s, began: time.Now(), ready: make(chan struct{}), gone: make(chan struct{})}
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
		Args: os.Args, Notify: s.server.Address, Store: maxStore, Watchdog: 2 * s.of.watchdog.every, Umask: s.of.umask,
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

// programDir is the working directory of a program, as it is seen from its root directory; "" is that.
func (s *supervisor) programDir() string {
	if s.of.chroot == "" {
		return cmp.Or(s.of.workDir, s.dir)
	}
	if seen := s.life.pathsFrom(s.of.chroot).workDir; seen != "" {
		return filepath.Dir(seen)
	}
	return ""
}

// become is who a program becomes, once findRole has found that out.
func (c *config) become() *worker.Role {
	if c.role == nil && c.chroot == "" {
		return nil
	}
	become := &worker.Role{Root: c.chroot}
	if c.role != nil {
		become.Identity = &c.role.Identity
		if c.role.Name != "" {
			become.Env = []string{"HOME=" + c.role.Home, "USER=" + c.role.Name, "LOGNAME=" + c.role.Name}
		}
	}
	return become
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
	select {
	case <-w.gone:
		return
	default:
	}
	w.limit.Stop()
	if w.watch != nil {
		w.watch.Stop()
	}
	w.of.awaits.disappoint(w)
	w.Close()
	close(w.gone)
}

func (w *workerProcess) hasEnded() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

// mustBeDoneIn limits what the worker does just now: it starts or stops. supervisor.mu is held.
func (w *workerProcess) mustBeDoneIn(d time.Duration) {
	w.due = time.Now().Add(d)
	w.limit.Reset(d)
}

// extend gives it the time for which it asks, in microseconds, and never less than it has (sd_notify(3)). supervisor.mu is held.
func (w *workerProcess) extend(usec string) {
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n < 0 || n > byItself.Microseconds() || w.due.IsZero() || w.felled {
		return
	}
	if asks := time.Duration(n)*time.Microsecond + workerMargin; asks > time.Until(w.due) {
		w.mustBeDoneIn(asks)
	}
}

// ask asks the worker to end, which has so long to do so, unless that is asked already. supervisor.mu is held.
func (w *workerProcess) ask(limit time.Duration, why error) {
	if w.asked || w.hasEnded() {
		return
	}
	w.asked, w.why = true, why
	w.mustBeDoneIn(limit)
	w.send(syscall.SIGTERM)
}

// send sends a signal, also to one that is suspended.
func (w *workerProcess) send(sig os.Signal) {
	_ = w.Signal(sig)
	_ = w.Signal(ossignal.Continue)
}

// overdue ends a worker whose time is over: first with TERM, then with KILL.
func (w *workerProcess) overdue() {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	switch {
	case w.hasEnded(), w.due.IsZero(), time.Now().Before(w.due): // it was done just in time, or has got more
	case w.felled:
		w.of.life.log.Error("the worker does not end, not even by KILL", "worker", w.PID)
		w.over()
	case w.asked || w.phase == Stopping:
		w.asked, w.felled = true, true
		w.why = cmp.Or(w.why, errors.New("its stop does not end"))
		w.send(syscall.SIGKILL)
		w.mustBeDoneIn(2 * time.Second)
	default:
		w.ask(w.of.of.wholeStop()+workerMargin, &notReady{limit: w.of.of.startTimeout})
	}
}

// settle counts a program that says nothing as ready, for it lives.
func (w *workerProcess) settle() {
	w.of.mu.Lock()
	settled := !w.speaks && !w.asked && !w.hasEnded()
	if settled {
		w.becomesReady()
	}
	w.of.mu.Unlock()
	if settled {
		w.tellUp(func(*Status) {})
	}
}

// tellUp changes what the parent says, as long as the worker lives that is meant.
func (w *workerProcess) tellUp(change func(*Status)) {
	w.of.life.tell(func(st *Status) {
		if !w.hasEnded() {
			st.workerDown = st.workerDown && !w.isReady()
			change(st)
		}
	})
}

func (w *workerProcess) isReady() bool {
	select {
	case <-w.ready:
		return true
	default:
		return false
	}
}

// becomesReady notes that the worker is ready. supervisor.mu is held.
func (w *workerProcess) becomesReady() {
	w.phase = Ready
	if !w.readyAt.IsZero() {
		return
	}
	w.readyAt = time.Now()
	w.due = time.Time{}
	w.limit.Stop()
	w.watchIt()
	if w.stale {
		_ = w.pass(ossignal.User1)
	}
	close(w.ready)
	go debug.FreeOSMemory() // what the start took; the parent may have nothing to do for months
}

// watchIt begins to wait for a sign of life, or waits for the next one. supervisor.mu is held.
func (w *workerProcess) watchIt() {
	every := 2 * w.of.of.watchdog.every
	if every == 0 || w.asked {
		return
	}
	due := time.Now().Add(every)
	w.alive = due
	if w.watch != nil {
		w.watch.Stop()
	}
	w.watch = time.AfterFunc(every, func() { w.hangs(due) })
}

// hangs ends a worker that has given no sign of life until then.
func (w *workerProcess) hangs(due time.Time) {
	late := time.Since(due)
	w.of.hearAll() // it may have given one that was not read
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	switch every := w.of.of.watchdog.every; {
	case w.alive != due:
	case late > every/4: // this process stood still, and so may the other have
		w.watchIt()
	default:
		w.abort(errors.New("no sign of life for " + limitText(2*every)))
	}
}

// abort ends a worker that hangs, with its trace. supervisor.mu is held.
func (w *workerProcess) abort(why error) {
	if w.hasEnded() || w.asked || w.phase == Stopping {
		return
	}
	w.asked, w.why = true, why
	w.of.life.log.Error("the worker hangs", "worker", w.PID, "why", why)
	w.mustBeDoneIn(traceMargin)
	w.send(syscall.SIGABRT)
}

// traceMargin is how long a worker has to write its trace.
const traceMargin = 5 * time.Second

// errTriggered says that a worker has found that out by itself (sd_notify(3)).
var errTriggered = errors.New("it has asked for that (WATCHDOG=trigger)")

// end is how it has ended.
func (w *workerProcess) end() end {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	e := end{at: time.Now(), Exit: Exit{At: time.Now(), PID: w.PID, Error: w.error}}
	if w.why != nil {
		e.Why = w.why.Error()
	}
	if !w.readyAt.IsZero() {
		e.readyFor = e.at.Sub(w.readyAt)
	}
	switch status, ok := sysStatus(w.how); {
	case w.how == nil:
		e.Code = -1
	case ok && status.Signaled():
		e.Code, e.Signal = -1, ossignal.Name(status.Signal())
	default:
		e.Code = w.how.ExitCode()
	}
	switch {
	case w.failed != nil:
		e.Error = program{life: &life{config: w.of.of}}.text(w.failed.Err())
	case e.Error == "" && e.Code != 0:
		if words := lastWords(w.Words()); len(words) > 0 {
			e.Error = words[0]
		}
	}
	return e
}

func sysStatus(state *os.ProcessState) (status syscall.WaitStatus, ok bool) {
	if state == nil {
		return status, false
	}
	status, ok = state.Sys().(syscall.WaitStatus)
	return status, ok
}

// whyNotReady says why the first worker is not ready, of which nothing is left.
func (s *supervisor) whyNotReady(w *workerProcess, left int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case w.failed != nil:
		return w.failed.Err()
	case w.error != "":
		return errors.New(w.error)
	case w.why != nil:
		return w.why
	}
	died := &diedError{how: howEnded(w.how), words: lastWords(w.Words())}
	if len(died.words) == 0 && w.logs != nil {
		died.words = lastWords(w.logs.since())
	}
	if left > 0 && s.of.program != nil {
		return fmt.Errorf("%w\n  | (%s: %w)", died, filepath.Base(s.of.program[0]), errForksAway)
	}
	return died
}

// result is what a worker has come to that was to stop, and has ended so.
func (w *workerProcess) result(e end) error {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	status, _ := sysStatus(w.how)
	switch {
	case w.failed != nil:
		return w.failed.Err()
	case e.Code == 0, !w.felled && status.Signaled() && status.Signal() == syscall.SIGTERM: // ours, or that of systemd to all in the unit
		return nil
	case w.felled:
		return fmt.Errorf("%w: the worker (pid %d) was killed after %s", ErrStopTimeout, w.PID, limitText(w.of.of.wholeStop()+workerMargin))
	case e.Code > 0:
		return WithExitCode(fmt.Errorf("lifecycle: the worker ended with %s", e.text()), e.Code)
	}
	return fmt.Errorf("lifecycle: the worker ended with %s", e.text())
}

// workersError is what a hook of a parent returns that has failed in the worker, or with it: that hook is not to be named for it.
type workersError struct{ error }

func ofWorker(err error) error {
	if err == nil {
		return nil
	}
	return workersError{err}
}

// Exit is how a worker has ended.
type Exit struct {
	At     time.Time `json:"at"`
	PID    int       `json:"pid"`
	Code   int       `json:"code"`             // -1: by a signal
	Signal string    `json:"signal,omitempty"` // SIGSEGV
	Error  string    `json:"error,omitempty"`  // what it said last
	Why    string    `json:"why,omitempty"`    // why its parent has ended it
}

// text is for people: exit 1 "db: connection refused".
func (e *Exit) text() string {
	text := fmt.Sprintf("exit %d", e.Code)
	switch {
	case e.Signal != "":
		text = "signal " + e.Signal
	case e.Code < 0:
		text = "it does not end"
	}
	if e.Why != "" {
		text += ", " + e.Why
	}
	if e.Error != "" {
		line, _, _ := strings.Cut(e.Error, "\n")
		text += fmt.Sprintf(" %q", line)
	}
	return text
}
