package sdnotify

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Server receives the messages of services, as a service manager does.
type Server struct {
	Address string // for NOTIFY_SOCKET
	file    *os.File
	place   *place        // of the socket file; nil if there is none
	turn    chan struct{} // held while one message is received and handled
	queued  int           // maximum number of datagrams that the kernel keeps

	trusts func(pid int) bool // nil: every process is trusted
	hear   func(Message)      // set by Serve

	buf, control []byte       // used by next
	refusing     atomic.Bool  // the kernel is asked to refuse descriptors
	cannotRefuse atomic.Bool  // the kernel is too old to refuse them
	strangers    atomic.Int64 // number of dropped messages from untrusted processes
}

// Listen returns a server whose socket accepts messages from every process, even from inside a
// chroot. Message.PID identifies the sender.
func Listen() (*Server, error) { return listen() }

// ListenPrivate returns a server to which only root and that user can send, or every process for
// [AnyUser]. Its socket is a file in its own directory. Therefore a process in another network
// namespace can use it too. Close removes the directory. If this process is killed, the next
// ListenPrivate removes the directory.
func ListenPrivate(uid int) (*Server, error) { return listenPrivate(uid) }

// AnyUser means every user.
const AnyUser = -1

// maxRoom is the maximum number of descriptors that a manager keeps for a service (FDSTORE in
// systemd.exec(5)).
const maxRoom = 512

// CanKeep returns an error if a Server of this package refuses to keep that descriptor.
func CanKeep(f *os.File) error { return canKeep(f) }

var errNotKept = errors.New("it is not a socket, a pipe, an eventfd, a memory file, or a regular file of a local file system")

// Room returns how many descriptors this process can keep for its services.
func Room() int { return room() }

// Message is one datagram.
type Message struct {
	PID     int // of the sender, from the kernel; 0 if unknown
	Text    string
	Files   []*os.File // the receiver must close them with Discard
	Refused int        // number of descriptors that were dropped because of their kind
}

// Value returns the value of the last line with that name.
func (m Message) Value(name string) (value string, ok bool) {
	for line := range strings.SplitSeq(strings.TrimSuffix(m.Text, "\n"), "\n") {
		if v, found := strings.CutPrefix(line, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
}

// Receive blocks until there is a message. It returns os.ErrClosed when the server is closed. Only
// one goroutine may call it.
func (s *Server) Receive() (Message, error) {
	for {
		m, err := s.next()
		switch {
		case errors.Is(err, errEmpty):
			if err := s.await(); err != nil {
				return Message{}, err
			}
		case !errors.Is(err, errNoMessage):
			return m, err
		}
	}
}

var (
	// errEmpty reports that there is no datagram.
	errEmpty = errors.New("nothing was sent")
	// errNoMessage reports that a datagram was dropped: it was too long, carried too many files, or
	// came from an untrusted process.
	errNoMessage = errors.New("no message")
)

// batch is how many messages Serve handles before it checks the pace.
const batch = 16

// Serve calls hear for each message of a process for which trusts returns true, until the server is
// closed. It makes one call at a time. It reads no byte of other messages.
func (s *Server) Serve(trusts func(pid int) bool, hear func(Message)) {
	s.turn <- struct{}{}
	s.trusts, s.hear = trusts, hear
	<-s.turn
	var p pace
	stuck := false
	for {
		begun, heard, before := time.Now(), 0, s.strangers.Load()
		err := errNoMessage
		stuck = !awaitRoom(stuck)
		for ; heard < batch && (err == nil || errors.Is(err, errNoMessage)) && (heard == 0 || stuck || !discards.isFull()); heard++ {
			s.turn <- struct{}{}
			err = s.one()
			<-s.turn
		}
		rest := max(time.Since(begun), 100*time.Microsecond)
		if s.strangers.Load() != before {
			rest = 10 * time.Millisecond
		}
		p.keep(heard, rest)
		switch {
		case err == nil, errors.Is(err, errNoMessage):
		case errors.Is(err, errEmpty):
			if s.await() != nil {
				return
			}
		case errors.Is(err, os.ErrClosed):
			return
		default: // the kernel is short of memory or descriptors now
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// awaitRoom waits for up to a second until enough descriptors are closed, and reports whether more
// descriptors may be received. stuck means that every call of close(2) hangs: awaitRoom then does
// not wait.
func awaitRoom(stuck bool) bool {
	for range 100 {
		if !discards.isFull() {
			return true
		}
		if stuck {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// one handles one message. The caller holds s.turn.
func (s *Server) one() error {
	m, err := s.next()
	if err == nil {
		s.hear(m)
	}
	return err
}

// Barrier blocks until all messages that were sent before the call have been handled, as
// sd_notify_barrier(3) does, but not longer than limit. Barrier itself receives queued messages.
// Therefore a sender that fills the queue cannot delay it.
func (s *Server) Barrier(limit time.Duration) {
	over := time.NewTimer(limit)
	defer over.Stop()
	for range s.queued + 1 {
		select {
		case <-over.C:
			return
		case s.turn <- struct{}{}:
		}
		if s.hear == nil {
			<-s.turn
			return
		}
		err := s.one()
		<-s.turn
		if err != nil && !errors.Is(err, errNoMessage) {
			return
		}
	}
}

// State is a Server without its open files. A program that is executed in this process (package
// takeover) continues with it.
type State struct {
	Address   []byte `json:"address"` // bytes, because JSON text must be UTF-8
	Directory []byte `json:"directory,omitempty"`
	Refusing  bool   `json:"refusing,omitempty"` // the kernel refuses descriptors
}

// Files returns how many files belong to the state.
func (s State) Files() int {
	if len(s.Directory) > 0 {
		return 2
	}
	return 1
}

// Freeze returns the state and the files of the server. Until Thaw is called, no message is
// received or handled; messages wait in the queue of the socket. Freeze waits for a message that is
// being handled. It must not be called from hear.
func (s *Server) Freeze() (State, []*os.File) {
	s.turn <- struct{}{}
	state := State{Address: []byte(s.Address), Refusing: s.refusing.Load()}
	files := []*os.File{s.file}
	if path, lock := s.place.parts(); lock != nil {
		state.Directory = []byte(path)
		files = append(files, lock)
	}
	return state, files
}

// Thaw ends a Freeze, if no program was executed.
func (s *Server) Thaw() { <-s.turn }

// AdoptServer returns the server that another program of this process has frozen. Its address, its
// queue and its directory stay. It owns the files from then on. After an error, they are closed.
func AdoptServer(s State, files []*os.File) (*Server, error) { return adopt(s, files) }

// Close closes the socket and removes its file. It waits for a second at most. With the socket, the
// kernel closes the descriptors that are still in the queue. That may take longer.
func (s *Server) Close() error {
	s.place.remove()
	s.shutdown()
	closed := make(chan error, 1)
	go func() { closed <- s.file.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeLimit):
		return errors.New("the notify socket did not close within a second: the kernel closes it later")
	}
}

const closeLimit = time.Second

// pace limits the CPU time that messages use. If more than a burst of messages arrives in a second,
// Serve uses at most half of a CPU. For messages of untrusted processes it uses at most a few
// hundredths of a CPU. A sender that sends more must wait.
type pace struct {
	since time.Time
	n     int
}

const burst = 256

func (p *pace) keep(n int, rest time.Duration) {
	if now := time.Now(); now.Sub(p.since) > time.Second {
		p.since, p.n = now, 0
	}
	if p.n += n; p.n > burst {
		time.Sleep(min(rest, 100*time.Millisecond))
	}
}
