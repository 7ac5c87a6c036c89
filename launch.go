package lifecycle

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"example.com/lifecycle/internal/detach"
	"example.com/lifecycle/internal/pin"
)

// launched is a detached process that is ready.
type launched struct {
	pid  int
	took time.Duration
}

// launch starts the detached process and waits for what comes of it. It holds the lock until that is settled, so that there is no gap and a
// refusal leaves everything as it was.
//
// Where adopt says so, the process is a child of this one for as long as it starts, so that its exit code can be told, and a signal undoes the start
// before it ends this one. A caller that lives on has better not do that: what else becomes an orphan meanwhile would be its child as well, for good,
// and its signals are its own.
func (l *life) launch(parent context.Context, adopt bool) (*launched, error) {
	l.born = time.Now()
	if underTest() {
		return nil, errors.New("lifecycle: start: " + errUnderTest)
	}
	if err := l.findRole(); err != nil {
		return nil, err
	}
	ctx, insisted := parent, (<-chan struct{})(nil)
	ready := false
	if adopt {
		var deafen func()
		ctx, insisted, deafen = hearLauncher(parent)
		defer func() {
			if ready { // and is about to end: a signal must not change how, now that all is well
				time.AfterFunc(linger, deafen)
			} else {
				deafen()
			}
		}()
	}

	var lock *pidLock
	var files []*os.File
	if l.pidFile != "" {
		var err error
		if lock, err = lockPIDFile(l.pidFile, l.pidFileMode, false, l.log); err != nil {
			return nil, err
		}
		defer lock.clear()
		files = append(files, lock.file)
	}
	l.needLog()
	// Not at a reopen: to ask the user database for the default can take its time.
	err := makeDefaultDir(l.logFile, ".log", DefaultLogFile)
	if err != nil {
		return nil, logFileError(l.logFile, err)
	}
	logs, err := l.openLogs()
	if err != nil {
		return nil, err
	}
	defer logs.close()
	if adopt {
		defer detach.Adopt()()
	}
	inTime, cancel := context.WithDeadlineCause(ctx, l.born.Add(l.startTimeout), l.notLiving())
	defer cancel()
	peer, err := detach.Start(detach.Order{
		Args: l.detachedArgs(), Note: handover{PIDFile: l.pidFile, NoLog: logs.stderr == nil},
		Stdout: logs.stdout, Stderr: logs.stderr, Files: files,
	}, inTime.Done())
	if err != nil {
		if cause := context.Cause(inTime); cause != nil {
			err = cause
		}
		return nil, plainly(err)
	}
	defer peer.Close()
	over, end := context.WithCancel(context.Background())
	defer end()
	w := &launching{life: l, over: over, peer: peer, logs: logs, notices: make(chan notice), insisted: insisted, limits: l.limits()}
	pid, err := w.wait(ctx)
	var lives *unkillableError
	if err == nil || errors.As(err, &lives) {
		lock.pass() // for it holds it
	}
	if err != nil {
		return nil, err
	}
	ready = true
	return &launched{pid: pid, took: time.Since(l.born)}, nil
}

// plainly gives an error our name, if it has not got it.
func plainly(err error) error {
	if strings.HasPrefix(err.Error(), "lifecycle: ") {
		return err
	}
	return fmt.Errorf("lifecycle: %w", err)
}

// hearLauncher makes a signal that would end the launcher end ctx instead: the start is undone first. insisted is closed when somebody does not want to
// wait for that, which is told from the same wish twice as in a life.
func hearLauncher(parent context.Context) (ctx context.Context, insisted <-chan struct{}, deafen func()) {
	ctx, cancel := context.WithCancelCause(parent)
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	if !underNohup {
		signal.Notify(c, syscall.SIGHUP)
	}
	if !inScriptsBackground {
		signal.Notify(c, syscall.SIGINT)
	}
	done, again := make(chan struct{}), make(chan struct{})
	go func() {
		var first time.Time
		for {
			select {
			case sig := <-c:
				cancel(&StopSignalError{sig})
				switch {
				case sig == syscall.SIGHUP:
				case first.IsZero():
					first = time.Now()
				case time.Since(first) > insistAfter:
					close(again)
					return
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, again, func() {
		signal.Stop(c)
		close(done)
		cancel(nil)
	}
}

// launching is a start that is waited for.
type launching struct {
	*life
	over    context.Context // ends with it
	peer    *detach.Peer
	logs    *logs
	notices chan notice // closed when the other end is

	insisted <-chan struct{} // closed when nobody wants to wait for its end

	pid     int
	process *os.Process
	exited  chan *os.ProcessState // gets how the process ended, nil if that cannot be told
	failed  *failure
	living  bool
	limits  *limits
	killed  bool // whatever there was of it
	felled  bool // the process itself
}

// wait returns the PID of the process when it is ready, or, when nothing of it is left, an error.
func (w *launching) wait(ctx context.Context) (pid int, err error) {
	go w.listen()
	deadline := time.NewTimer(time.Until(w.born.Add(w.startTimeout)))
	defer deadline.Stop()
	interrupted, insisted := ctx.Done(), w.insisted
	late := 0
	var cause error
	for {
		select {
		case n, open := <-w.notices:
			if !open {
				return 0, w.ended(cause)
			}
			switch {
			case n.Error != "":
				cause = fmt.Errorf("lifecycle: cannot detach: %s", n.Error)
			case n.PID != 0 && w.pid == 0: // stage 1 says it, and the process itself
				w.watch(n.PID)
			case n.Living:
				w.living, w.limits = true, cmp.Or(n.Limits, w.limits)
				if cause == nil {
					deadline.Reset(w.limits.Start + w.longestStop())
				} else {
					deadline.Reset(w.longestStop())
				}
			case n.Failed != nil:
				w.failed = n.Failed
				deadline.Reset(w.longestStop())
			case n.Ready && cause == nil:
				_ = w.peer.Send(notice{Go: true})
			case n.Done:
				return w.pid, nil
			}
		case <-interrupted:
			interrupted = nil
			cause = cmp.Or(cause, context.Cause(ctx))
			_ = w.peer.Hush() // a stop request; before it comes to Run, it ends at once
			late = hushed
			if w.living {
				deadline.Reset(w.longestStop())
			} else {
				deadline.Reset(stopMargin)
			}
		case <-insisted:
			insisted = nil
			cause = cmp.Or(cause, context.Cause(ctx))
			w.kill()
			late = hushed
			deadline.Reset(stopMargin)
		case <-deadline.C:
			late++
			switch {
			case late == justLate: // what it has said meanwhile may not have been read, where this process itself stood still
				deadline.Reset(100 * time.Millisecond)
				continue
			case w.failed == nil:
				cause = cmp.Or(cause, w.overdue())
			}
			switch {
			case w.killed: // and yet the socket is open: what holds it cannot be told
				return 0, w.ended(cause)
			case w.living && late == hushed:
				_ = w.peer.Hush()
				deadline.Reset(w.longestStop())
			default:
				w.kill()
				deadline.Reset(stopMargin)
			}
		}
	}
}

// How late a process is: whether it has been asked to stop for that.
const (
	justLate = 1
	hushed   = 2
)

// overdue says what the process did not do in time. One that lives ends its start by itself.
func (w *launching) overdue() error {
	if !w.living {
		return w.notLiving()
	}
	return &overrun{is: ErrStartTimeout, told: "lifecycle: it neither became ready nor ended in " + limitText(time.Since(w.born).Round(time.Second))}
}

func (c *config) notLiving() error {
	return &overrun{is: ErrStartTimeout, told: "lifecycle: its main did not come to Run in " + limitText(c.startTimeout)}
}

// longestStop is how long the process takes to stop at most, and a margin.
func (w *launching) longestStop() time.Duration { return w.limits.Stop + stopMargin }

func (w *launching) listen() {
	defer close(w.notices)
	for {
		text, err := w.peer.Receive()
		if err != nil {
			return
		}
		var n notice
		if json.Unmarshal(text, &n) == nil {
			select {
			case w.notices <- n:
			case <-w.over.Done():
				return
			}
		}
	}
}

// watch waits for the end of the process, which is a child of this one where the system has subreapers.
func (w *launching) watch(pid int) {
	w.pid, w.exited = pid, make(chan *os.ProcessState, 1)
	process, err := os.FindProcess(pid)
	if err != nil {
		w.exited <- nil
		return
	}
	pinned, err := pin.Open(pid)
	if err != nil { // it has ended, and is no child of ours that we would have to wait for
		w.exited <- nil
		return
	}
	w.process = process
	go func() {
		<-w.peer.Orphaned()
		state, err := process.Wait()
		if err != nil { // it is no child of ours
			_ = pinned.Wait(w.over)
		}
		pinned.Close()
		w.exited <- state
	}()
}

// kill ends the process, whichever stage it is in.
func (w *launching) kill() {
	w.killed = true
	w.peer.Kill()
	if w.process != nil && w.process.Kill() == nil {
		w.felled = true
	}
}

// ended says why the other end of the socket is closed without a success.
func (w *launching) ended(cause error) error {
	var state *os.ProcessState
	overdue := false
	if w.exited != nil {
		select {
		case state = <-w.exited:
		case <-w.insisted:
			overdue = true
		case <-time.After(w.longestStop()):
			overdue = true
		}
	}
	if overdue { // it has closed the socket and lives on
		w.kill()
		select {
		case state = <-w.exited:
		case <-time.After(stopMargin):
			return &unkillableError{w.pid}
		}
	}
	if cause == nil && w.failed != nil {
		cause = w.failed.Err()
	}
	switch {
	case cause != nil && w.felled && (state == nil || !state.Exited()):
		return &killedError{cause}
	case cause != nil:
		return cause
	}
	if w.pid == 0 {
		state = w.peer.Stage1()
	}
	words := w.peer.Words()
	if strings.TrimSpace(words) == "" {
		words = w.logs.since()
	}
	return &diedError{how: howEnded(state), words: lastWords(words)}
}
