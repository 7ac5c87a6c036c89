package handshake

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"example.com/lifecycle/internal/sys/detach"
	"example.com/lifecycle/internal/sys/pin"
)

// state is the state of a start in its launcher. Each state has a deadline; see expired.
type state int

const (
	launching state = iota // the daemon has not called Run yet
	starting               // Run has begun: the daemon becomes ready or ends
	undoing                // the launcher has requested a stop, or the daemon has reported a failure
	killing                // the launcher has killed the daemon
)

const (
	// StopMargin is the additional time that a launcher or a verb waits for a daemon to stop.
	StopMargin = 2 * time.Second
	// readMargin is the time to read messages that arrived while the launcher was suspended.
	readMargin = 100 * time.Millisecond
)

// launch is a start in progress, in the launcher.
type launch struct {
	Spec

	state    state
	overdue  bool // the deadline of the state has expired once
	deadline *time.Timer
	cause    error           // why the launcher undoes the start; nil: the start is not undone
	failure  json.RawMessage // the reason that the daemon reports

	peer     *detach.Peer
	messages chan message    // closed at the end of the socket
	over     context.Context // ends when wait returns

	pid     int
	process *os.Process
	exited  chan *os.ProcessState // receives how the daemon ended; nil if unknown
	killed  bool                  // KILL was sent to the daemon, not only to stage 1
	killErr error                 // why it could not be killed
}

func newLaunch(spec Spec, peer *detach.Peer) *launch {
	return &launch{Spec: spec, peer: peer, messages: make(chan message)}
}

// wait blocks until the daemon is ready and returns its PID. It returns an error when the daemon
// has ended.
func (l *launch) wait(ctx context.Context) (pid int, err error) {
	over, finish := context.WithCancel(context.Background())
	defer finish()
	l.over = over
	go l.read()
	l.deadline = time.NewTimer(time.Until(l.Began.Add(l.StartTimeout)))
	defer l.deadline.Stop()
	interrupted, insisted := ctx.Done(), l.Insist
	for {
		select {
		case m, open := <-l.messages:
			if !open {
				return 0, l.ended()
			}
			if m.PID != 0 && l.pid == 0 && l.OnPID != nil {
				defer l.OnPID(m.PID)()
			}
			if l.received(m) {
				l.awaitStage1()
				return l.pid, nil
			}
		case <-interrupted:
			interrupted = nil
			l.cause = cmp.Or(l.cause, context.Cause(ctx))
			l.requestStop()
		case <-insisted:
			insisted = nil
			l.cause = cmp.Or(l.cause, context.Cause(ctx))
			l.kill()
		case <-l.deadline.C:
			if over := l.expired(); over {
				return 0, l.ended()
			}
		}
	}
}

// enter changes the state and sets its deadline to d from now.
func (l *launch) enter(s state, d time.Duration) {
	l.state, l.overdue = s, false
	l.deadline.Reset(d)
}

// received handles one message and reports whether the start has succeeded.
func (l *launch) received(m message) (ready bool) {
	switch {
	case m.Error != "":
		l.cause = fmt.Errorf("cannot detach: %s", m.Error)
	case m.PID != 0 && l.pid == 0: // stage 1 and the daemon both send the PID
		l.watch(m.PID)
	case m.Living:
		if m.Limits != nil {
			l.Limits = *m.Limits
		}
		if l.state == launching && l.cause == nil {
			l.enter(starting, l.Limits.Start+l.longestStop())
		} else {
			l.enter(l.state, l.longestStop())
		}
	case len(m.Failed) > 0:
		l.failure = m.Failed
		l.enter(max(l.state, undoing), l.longestStop())
	case m.Ready && l.cause == nil:
		_ = l.peer.Send(message{Go: true})
	case m.Done:
		return true
	}
	return false
}

// requestStop closes our side of the socket. The daemon then stops. A daemon that has not called
// Run exits at once.
func (l *launch) requestStop() {
	_ = l.peer.CloseWrite()
	if l.state >= starting {
		l.enter(max(l.state, undoing), l.longestStop())
	} else {
		l.enter(undoing, StopMargin)
	}
}

// expired handles the deadline of the state. over is true if the launcher must not wait longer.
func (l *launch) expired() (over bool) {
	if !l.overdue {
		l.overdue = true
		l.deadline.Reset(readMargin)
		return false
	}
	if l.failure == nil {
		l.cause = cmp.Or(l.cause, error(l.timeout()))
	}
	switch l.state {
	case starting:
		l.requestStop()
	case launching, undoing:
		l.kill()
	case killing: // another process holds the socket open
		return true
	}
	return false
}

func (l *launch) timeout() *TimeoutError {
	if l.state == launching {
		return &TimeoutError{Timeout: l.StartTimeout}
	}
	return &TimeoutError{Timeout: time.Since(l.Began).Round(time.Second), Living: true}
}

// longestStop returns how long the daemon may take to stop, including a margin.
func (l *launch) longestStop() time.Duration { return l.Limits.Stop + StopMargin }

// kill kills the daemon and stage 1.
func (l *launch) kill() {
	l.peer.Kill()
	if l.process != nil {
		l.killErr = l.process.Kill()
		l.killed = l.killed || l.killErr == nil
	}
	l.enter(killing, StopMargin)
}

func (l *launch) read() {
	defer close(l.messages)
	for {
		text, err := l.peer.Receive()
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text, &m) == nil {
			select {
			case l.messages <- m:
			case <-l.over.Done():
				return
			}
		}
	}
}

// watch waits for the end of the daemon. The daemon is a child of this process if the system has
// subreapers and the start is one-shot.
func (l *launch) watch(pid int) {
	l.pid, l.exited = pid, make(chan *os.ProcessState, 1)
	process, err := os.FindProcess(pid)
	if err != nil {
		l.exited <- nil
		return
	}
	pinned, err := pin.Open(pid)
	if err != nil { // the daemon has ended, and this process need not reap it
		l.exited <- nil
		return
	}
	l.process = process
	go func() {
		<-l.peer.Stage1Done()
		state, err := process.Wait()
		if err != nil { // not a child of this process
			_ = pinned.Wait(l.over)
		}
		pinned.Close()
		l.exited <- state
	}()
}

// awaitStage1 waits until stage 1 has ended. When the launcher ends, systemd determines the main
// process of the service. While stage 1 lives, the daemon is a child of stage 1 and not of systemd.
// systemd would then not detect the end of the daemon, and would stop the daemon with KILL.
func (l *launch) awaitStage1() {
	for range 2 {
		select {
		case <-l.peer.Stage1Done():
			return
		case <-time.After(StopMargin):
			l.peer.Kill() // stage 1 is suspended
		}
	}
}

// ended waits until the daemon is gone and returns why the start failed.
func (l *launch) ended() error {
	state, lives := l.awaitExit()
	if lives {
		return &UnkillableError{l.pid, l.killErr}
	}
	cause := l.cause
	if cause == nil && l.failure != nil {
		cause = l.Decode(l.failure)
	}
	switch {
	case cause != nil && l.killed && (state == nil || !state.Exited()):
		return &KilledError{cause}
	case cause != nil:
		return cause
	}
	if l.pid == 0 {
		state = l.peer.Stage1()
	}
	output := l.peer.Output()
	if strings.TrimSpace(output) == "" {
		output = l.Tail()
	}
	return Died(state, LastLines(output))
}

// awaitExit waits for the end of the daemon after the socket was closed. It kills a daemon that
// does not end in time.
func (l *launch) awaitExit() (state *os.ProcessState, lives bool) {
	if l.exited == nil {
		return nil, false
	}
	select {
	case state = <-l.exited:
		return state, false
	case <-l.Insist:
	case <-time.After(l.longestStop()):
	}
	l.kill()
	select {
	case state = <-l.exited:
		return state, false
	case <-time.After(StopMargin):
		return nil, true
	}
}
