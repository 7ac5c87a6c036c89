package lifecycle

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"example.com/lifecycle/internal/console"
	"example.com/lifecycle/internal/detach"
	"example.com/lifecycle/internal/pin"
)

// pendingStart is a start that is waited for.
type pendingStart struct {
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
func (p *pendingStart) wait(ctx context.Context) (pid int, err error) {
	go p.listen()
	deadline := time.NewTimer(time.Until(p.born.Add(p.startTimeout)))
	defer deadline.Stop()
	interrupted, insisted := ctx.Done(), p.insisted
	late := 0
	var cause error
	for {
		select {
		case n, open := <-p.notices:
			if !open {
				return 0, p.ended(cause)
			}
			switch {
			case n.Error != "":
				cause = fmt.Errorf("lifecycle: cannot detach: %s", n.Error)
			case n.PID != 0 && p.pid == 0: // stage 1 says it, and the process itself
				p.watch(n.PID)
				if p.onLaunched != nil {
					defer p.onLaunched(n.PID)()
				}
			case n.Living:
				p.living, p.limits = true, cmp.Or(n.Limits, p.limits)
				if cause == nil {
					deadline.Reset(p.limits.Start + p.longestStop())
				} else {
					deadline.Reset(p.longestStop())
				}
			case n.Failed != nil:
				p.failed = n.Failed
				deadline.Reset(p.longestStop())
			case n.Ready && cause == nil:
				_ = p.peer.Send(notice{Go: true})
			case n.Done:
				p.awaitOrphan()
				return p.pid, nil
			}
		case <-interrupted:
			interrupted = nil
			cause = cmp.Or(cause, context.Cause(ctx))
			_ = p.peer.CloseWrite() // a stop request; before it comes to Run, it ends at once
			late = toldToStop
			if p.living {
				deadline.Reset(p.longestStop())
			} else {
				deadline.Reset(stopMargin)
			}
		case <-insisted:
			insisted = nil
			cause = cmp.Or(cause, context.Cause(ctx))
			p.kill()
			late = toldToStop
			deadline.Reset(stopMargin)
		case <-deadline.C:
			late++
			switch {
			case late == justLate: // what it has said meanwhile may not have been read, where this process itself stood still
				deadline.Reset(100 * time.Millisecond)
				continue
			case p.failed == nil:
				cause = cmp.Or(cause, p.overdue())
			}
			switch {
			case p.killed: // and yet the socket is open: what holds it cannot be told
				return 0, p.ended(cause)
			case p.living && late == toldToStop:
				_ = p.peer.CloseWrite()
				deadline.Reset(p.longestStop())
			default:
				p.kill()
				deadline.Reset(stopMargin)
			}
		}
	}
}

// How late a process is: whether it has been asked to stop for that.
const (
	justLate   = 1
	toldToStop = 2
)

// overdue says what the process did not do in time. One that lives ends its start by itself.
func (p *pendingStart) overdue() error {
	if !p.living {
		return p.notLiving()
	}
	return &overrun{is: ErrStartTimeout, told: "lifecycle: it neither became ready nor ended in " + console.FormatLimit(time.Since(p.born).Round(time.Second))}
}

func (c *config) notLiving() error {
	return &overrun{is: ErrStartTimeout, told: "lifecycle: its main did not come to Run in " + console.FormatLimit(c.startTimeout)}
}

// longestStop is how long the process takes to stop at most, and a margin.
func (p *pendingStart) longestStop() time.Duration { return p.limits.Stop + stopMargin }

// awaitOrphan waits until stage 1 is gone, which has nothing left to do. Else the process would for a moment be its child: systemd, which looks for its main
// process as soon as the launcher has ended, would find one that is not its own, would not notice its end, and would stop it with KILL.
func (p *pendingStart) awaitOrphan() {
	for range 2 {
		select {
		case <-p.peer.Orphaned():
			return
		case <-time.After(stopMargin):
			p.peer.Kill() // it was suspended
		}
	}
}

func (p *pendingStart) listen() {
	defer close(p.notices)
	for {
		text, err := p.peer.Receive()
		if err != nil {
			return
		}
		var n notice
		if json.Unmarshal(text, &n) == nil {
			select {
			case p.notices <- n:
			case <-p.over.Done():
				return
			}
		}
	}
}

// watch waits for the end of the process, which is a child of this one where the system has subreapers.
func (p *pendingStart) watch(pid int) {
	p.pid, p.exited = pid, make(chan *os.ProcessState, 1)
	process, err := os.FindProcess(pid)
	if err != nil {
		p.exited <- nil
		return
	}
	pinned, err := pin.Open(pid)
	if err != nil { // it has ended, and is no child of ours that we would have to wait for
		p.exited <- nil
		return
	}
	p.process = process
	go func() {
		<-p.peer.Orphaned()
		state, err := process.Wait()
		if err != nil { // it is no child of ours
			_ = pinned.Wait(p.over)
		}
		pinned.Close()
		p.exited <- state
	}()
}

// kill ends the process, whichever stage it is in.
func (p *pendingStart) kill() {
	p.killed = true
	p.peer.Kill()
	if p.process != nil && p.process.Kill() == nil {
		p.felled = true
	}
}

// ended says why the other end of the socket is closed without a success.
func (p *pendingStart) ended(cause error) error {
	var state *os.ProcessState
	overdue := false
	if p.exited != nil {
		select {
		case state = <-p.exited:
		case <-p.insisted:
			overdue = true
		case <-time.After(p.longestStop()):
			overdue = true
		}
	}
	if overdue { // it has closed the socket and lives on
		p.kill()
		select {
		case state = <-p.exited:
		case <-time.After(stopMargin):
			return &unkillableError{p.pid}
		}
	}
	if cause == nil && p.failed != nil {
		cause = p.failed.Err()
	}
	switch {
	case cause != nil && p.felled && (state == nil || !state.Exited()):
		return &killedError{cause}
	case cause != nil:
		return cause
	}
	if p.pid == 0 {
		state = p.peer.Stage1()
	}
	words := p.peer.Words()
	if strings.TrimSpace(words) == "" {
		words = p.logs.since()
	}
	return &diedError{how: howEnded(state), words: lastWords(words)}
}
