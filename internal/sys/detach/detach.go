// Package detach starts a process in the background with the Context of go-daemon. It starts the
// program again in a new session. The process does not lead the session. It can therefore never
// acquire a terminal (daemon(7), steps 5 to 8).
//
//	launcher ── Reborn (setsid) ──► stage 1 ── fork, exec ──► the detached process
//	    ▲                                                         │
//	    └───────────────────── one socket, both ways ◄────────────┘
//
// Stage 1 runs in the init function of this package, and so does the beginning of the detached
// process. Packages that are initialised before this one are therefore initialised three times: in
// the launcher, in stage 1 and in the detached process. Only the socket is inherited by number. All
// other descriptors are sent over the socket (unix(7), SCM_RIGHTS).
package detach

import (
	"encoding/json"
	"os"
	"sync"

	"example.com/lifecycle/internal/sys/ctlsock"
)

// Spec describes the process to start.
type Spec struct {
	Args           []string   // with the name of the program first
	Dir            string     // working directory; "": the current one
	Note           any        // passed to the process as JSON
	Stdout, Stderr *os.File   // nil: /dev/null, open for writing
	Files          []*os.File // copies are passed to the process
}

// Handoff is what the launcher passed to a detached process.
type Handoff struct {
	Note     json.RawMessage
	Files    []*os.File
	Launcher *Peer

	mu       sync.Mutex
	taken    bool
	messages chan json.RawMessage
}

// inherited is package state because it is set once per process, before main.
var inherited *Handoff

// Inherited returns the handoff of this process, or nil if it is not a detached process.
func Inherited() *Handoff { return inherited }

// Take returns the messages of the launcher to its first caller. The channel is closed when the
// launcher is gone. If the launcher ends before Take is called, this process exits at once, because
// no other process would end it.
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

// Start starts a detached process and returns the other end of the socket. Later failures are
// reported over the socket. Start gives up when cancel is closed.
func Start(o Spec, cancel <-chan struct{}) (*Peer, error) { return start(o, cancel) }

// Redirect replaces the descriptor fd of this process with a copy of f, which child processes
// inherit. fd is open all the time.
func Redirect(f *os.File, fd int) error { return redirect(f, fd) }

// Umask sets the file mode creation mask, if the system has one.
func Umask(mask int) { umask(mask) }

// Peer is the process at the other end of the socket.
type Peer struct {
	*ctlsock.Peer

	stage1     *os.Process   // nil in the detached process
	stage1Over chan struct{} // closed when stage 1 has ended
	stage1How  *os.ProcessState
}

// NewPeer returns the peer of an open socket. It has no stage 1.
func NewPeer(conn *os.File) *Peer {
	over := make(chan struct{})
	close(over)
	return &Peer{Peer: ctlsock.NewPeer(conn), stage1Over: over}
}

// Stage1Done returns a channel that is closed when stage 1 has ended. From then on the detached
// process is an orphan.
func (p *Peer) Stage1Done() <-chan struct{} { return p.stage1Over }

// Stage1 returns how stage 1 ended. It blocks until stage 1 has ended.
func (p *Peer) Stage1() *os.ProcessState {
	<-p.stage1Over
	return p.stage1How
}

// Kill ends stage 1 if it is still running. Then no detached process is started.
func (p *Peer) Kill() {
	if p.stage1 != nil {
		_ = p.stage1.Kill() // an error means that stage 1 has ended: it never changes its user
	}
}
