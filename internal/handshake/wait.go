package handshake

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"example.com/lifecycle/internal/detach"
	"example.com/lifecycle/internal/pin"
)

// state is where a start is, as its launcher sees it. Each state has a deadline; see expired.
type state int

const (
	launching state = iota // the daemon has not come to Run yet
	starting               // Run has begun: the daemon becomes ready or ends by itself
	undoing                // the daemon was asked to stop, or has said that it failed
	killing                // the daemon was killed
)

const (
	// StopMargin is how long a launcher or a verb waits beyond the time by which a daemon wants to have stopped.
	StopMargin = 2 * time.Second
	// readMargin is for messages that arrived while the launcher itself did not run.
	readMargin = 100 * time.Millisecond
)

// launch is one start that is waited for.
type launch struct {
	Spec

	state    state
	overdue  bool // the deadline of the state has expired once
	deadline *time.Timer
	cause    error           // why the start is undone; nil: it is not, or the daemon says why
	failure  json.RawMessage // why the daemon says that it failed

	peer     *detach.Peer
	messages chan message    // closed at the end of the socket
	over     context.Context // ends when wait returns

	pid     int
	process *os.Process
	exited  chan *os.ProcessState // receives how the daemon ended; nil where that cannot be told
	killed  bool                  // the daemon itself was killed, not only stage 1
}

func newLaunch(spec Spec, peer *detach.Peer) *launch {
	return &launch{Spec: spec, peer: peer, messages: make(chan message)}
}

// wait returns the PID of the daemon when it is ready, or an error when nothing of it is left.
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

// enter changes the state, which has the time d.
func (l *launch) enter(s state, d time.Duration) {
	l.state, l.overdue = s, false
	l.deadline.Reset(d)
}

// received handles one message and reports whether the start has succeeded.
func (l *launch) received(m message) (ready bool) {
	switch {
	case m.Error != "":
		l.cause = fmt.Errorf("cannot detach: %s", m.Error)
	case m.PID != 0 && l.pid == 0: // stage 1 sends it, and so does the daemon
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

// requestStop closes our side of the socket, which the daemon takes for a stop request. Before it has come to Run it
// exits at once.
func (l *launch) requestStop() {
	_ = l.peer.CloseWrite()
	if l.state >= starting {
		l.enter(max(l.state, undoing), l.longestStop())
	} else {
		l.enter(undoing, StopMargin)
	}
}

// expired handles the end of the time that the state has, and reports whether there is nothing left to wait for.
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
	case killing: // something else holds the socket open
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

// longestStop is how long the daemon takes to stop at most, and a margin.
func (l *launch) longestStop() time.Duration { return l.Limits.Stop + StopMargin }

// kill ends the daemon, whichever stage it is in.
func (l *launch) kill() {
	l.peer.Kill()
	if l.process != nil && l.process.Kill() == nil {
		l.killed = true
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

// watch waits for the end of the daemon, which is a child of this process where the system has subreapers.
func (l *launch) watch(pid int) {
	l.pid, l.exited = pid, make(chan *os.ProcessState, 1)
	process, err := os.FindProcess(pid)
	if err != nil {
		l.exited <- nil
		return
	}
	pinned, err := pin.Open(pid)
	if err != nil { // it has ended, and is no child that somebody must wait for
		l.exited <- nil
		return
	}
	l.process = process
	go func() {
		<-l.peer.Stage1Done()
		state, err := process.Wait()
		if err != nil { // it is no child of this process
			_ = pinned.Wait(l.over)
		}
		pinned.Close()
		l.exited <- state
	}()
}

// awaitStage1 waits until stage 1, which has nothing left to do, is gone. Otherwise the daemon could still be a child of
// stage 1 when the launcher ends: systemd, which looks for its main process at that moment, would find one that is not
// its own, would not notice its end, and would stop it with KILL.
func (l *launch) awaitStage1() {
	for range 2 {
		select {
		case <-l.peer.Stage1Done():
			return
		case <-time.After(StopMargin):
			l.peer.Kill() // it was suspended
		}
	}
}

// ended returns why the socket was closed without a success, once the daemon is gone.
func (l *launch) ended() error {
	state, lives := l.awaitExit()
	if lives {
		return &UnkillableError{l.pid}
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
	return &ExitError{How: ExitText(state), Lines: LastLines(output)}
}

// awaitExit waits for the end of the daemon, which has closed the socket, and kills it if it lives on.
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
