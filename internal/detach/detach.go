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
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"runtime/debug"
	"sync"
)

// Order says what is to be started.
type Order struct {
	Args           []string   // with the name of the program first
	Note           any        // what it is told, as JSON
	Stdout, Stderr *os.File   // nil: /dev/null, open for writing
	Files          []*os.File // what it is given besides; it gets copies
}

// Inheritance is what a detached process was given.
type Inheritance struct {
	Note     json.RawMessage
	Files    []*os.File
	Launcher *Peer

	mu       sync.Mutex
	taken    bool
	messages chan json.RawMessage
}

// inherited is package state because it is settled before main: what was given to the process, which is one.
var inherited *Inheritance

// Inherited returns what this process was given if it is a detached one, else nil.
func Inherited() *Inheritance { return inherited }

// Take returns the messages of the launcher, to the first who asks; the channel is closed when the launcher is gone. Until then a
// process whose launcher goes ends at once: nobody would ever end it.
func (i *Inheritance) Take() (messages <-chan json.RawMessage, first bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	first, i.taken = !i.taken, true
	return i.messages, first
}

func (i *Inheritance) watch() {
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
func Start(o Order, cancel <-chan struct{}) (*Peer, error) { return start(o, cancel) }

// Redirect makes a descriptor of this process, and of what it starts, one of f. The process is never without it.
func Redirect(f *os.File, fd int) error { return redirect(f, fd) }

// Umask sets the file mode creation mask, where there is one.
func Umask(mask int) { umask(mask) }

// Peer is who sits at the other end of the socket.
type Peer struct {
	conn *os.File
	in   *bufio.Reader

	stage1     *os.Process   // nil in the detached process
	stage1Over chan struct{} // closed when stage 1 has ended
	stage1How  *os.ProcessState

	mu    sync.Mutex
	words []byte
}

// NewPeer returns who sits at the other end of an open socket.
func NewPeer(conn *os.File) *Peer { return &Peer{conn: conn, in: bufio.NewReader(conn)} }

// A message is a line of JSON behind a NUL. Whatever else comes is what a process had to say whose stderr the socket was: a panic in an init
// that ran before ours.
const messageMark = 0

// encode puts the message on a line of its own, whatever was written before it.
func encode(message any) ([]byte, error) {
	text, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	return append(append([]byte{'\n', messageMark}, text...), '\n'), nil
}

// Send sends a message.
func (p *Peer) Send(message any) error {
	line, err := encode(message)
	if err == nil {
		_, err = p.conn.Write(line)
	}
	return err
}

// Receive blocks until there is a message, and returns io.EOF when the other end is gone, with all that held it open.
func (p *Peer) Receive() (json.RawMessage, error) {
	for {
		line, err := p.in.ReadBytes('\n')
		if len(line) > 1 && line[0] == messageMark && err == nil {
			return line[1 : len(line)-1], nil
		}
		p.hear(line)
		if err != nil {
			return nil, err
		}
	}
}

const maxWords = 64 << 10

func (p *Peer) hear(line []byte) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.words = append(p.words, line...)
	if len(p.words) > maxWords {
		p.words = p.words[:maxWords]
	}
}

// Words is what came over the socket that was no message.
func (p *Peer) Words() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.words)
}

// Orphaned is closed when stage 1 has ended, and the detached process belongs to whoever adopts it.
func (p *Peer) Orphaned() <-chan struct{} { return p.stage1Over }

// Stage1 is how stage 1 has ended, once Orphaned is closed.
func (p *Peer) Stage1() *os.ProcessState {
	<-p.stage1Over
	return p.stage1How
}

// Kill ends stage 1, if it has not ended: then there will be no detached process.
func (p *Peer) Kill() { _ = p.stage1.Kill() }

// TakeCrashes sends what the Go runtime has to say of a panic or a fatal error to the other end too, where it is among Words, until
// debug.SetCrashOutput is called again.
func (p *Peer) TakeCrashes() error {
	err := debug.SetCrashOutput(p.conn, debug.CrashOptions{})
	return errors.Join(err, setNonblock(p.conn)) // which SetCrashOutput has undone for all copies
}

// CloseWrite closes this end for sending: the other one reads the end, and what it has to say can still be read.
func (p *Peer) CloseWrite() error { return closeWrite(p.conn) }

// Close closes this end: the other one reads that it is gone.
func (p *Peer) Close() error { return p.conn.Close() }
