// Package detach places a process in the background, over go-daemon's Context: the program is started again, in a session of its own
// of which it is not the leader, so that it can never gain a terminal (daemon(7), steps 5 to 8).
//
//	launcher ── Reborn (setsid) ──► stage 1 ── fork, exec ──► the detached process
//	    ▲                                                         │
//	    └───────────────────── one socket, both ways ◄────────────┘
//
// Stage 1 lives in the init of this package, and so does the beginning of the detached process: what is initialised before this
// package, is so three times. Nothing but the socket is inherited by number; what else the detached process is given
// comes over it (unix(7), SCM_RIGHTS).
package detach

import (
	"encoding/json"
	"os"
	"sync"

	"example.com/lifecycle/internal/ctlsock"
)

// Spec says what is to be started.
type Spec struct {
	Args           []string   // with the name of the program first
	Note           any        // what it is told, as JSON
	Stdout, Stderr *os.File   // nil: /dev/null, open for writing
	Files          []*os.File // what it is given besides; it gets copies
}

// Handoff is what a detached process was given.
type Handoff struct {
	Note     json.RawMessage
	Files    []*os.File
	Launcher *Peer

	mu       sync.Mutex
	taken    bool
	messages chan json.RawMessage
}

// inherited is package state because it is settled before main: what was given to the process, which is one.
var inherited *Handoff

// Inherited returns what this process was given if it is a detached one, else nil.
func Inherited() *Handoff { return inherited }

// Take returns the messages of the launcher, to the first who asks; the channel is closed when the launcher is gone. Until then a
// process whose launcher goes ends at once: nobody would ever end it.
func (i *Handoff) Take() (messages <-chan json.RawMessage, first bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	first, i.taken = !i.taken, true
	return i.messages, first
}

func (i *Handoff) watch() {
	for {
		message, err := i.Launcher.Receive()
		if err == nil {
			i.messages <- message
			continue
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		if !i.taken {
			os.Exit(1)
		}
		close(i.messages)
		return
	}
}

// Start starts a detached process and returns the other end of the socket. What goes wrong with it from then on is read there. It gives up
// when cancel is closed.
func Start(o Spec, cancel <-chan struct{}) (*Peer, error) { return start(o, cancel) }

// Redirect makes a descriptor of this process, and of what it starts, one of f. The process is never without it.
func Redirect(f *os.File, fd int) error { return redirect(f, fd) }

// Umask sets the file mode creation mask, where there is one.
func Umask(mask int) { umask(mask) }

// Peer is who sits at the other end of the socket.
type Peer struct {
	*ctlsock.Peer

	stage1     *os.Process   // nil in the detached process
	stage1Over chan struct{} // closed when stage 1 has ended
	stage1How  *os.ProcessState
}

// NewPeer returns who sits at the other end of an open socket, and has no stage 1.
func NewPeer(conn *os.File) *Peer {
	over := make(chan struct{})
	close(over)
	return &Peer{Peer: ctlsock.NewPeer(conn), stage1Over: over}
}

// Stage1Done is closed when stage 1 has ended, and the detached process belongs to whoever adopts it.
func (p *Peer) Stage1Done() <-chan struct{} { return p.stage1Over }

// Stage1 is how stage 1 has ended, once Stage1Done is closed.
func (p *Peer) Stage1() *os.ProcessState {
	<-p.stage1Over
	return p.stage1How
}

// Kill ends stage 1, if it has not ended: then there will be no detached process.
func (p *Peer) Kill() {
	if p.stage1 != nil {
		_ = p.stage1.Kill()
	}
}
