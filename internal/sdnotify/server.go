package sdnotify

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Server is the other end: it hears what services say.
type Server struct {
	Address string // for NOTIFY_SOCKET
	file    *os.File
	place   *place        // where the file of the socket is; nil: it has none
	turn    chan struct{} // held by who receives and hears a message
	queued  int           // how many datagrams the kernel keeps at most

	trusts func(pid int) bool // nil: everybody is
	hear   func(Message)      // of Serve

	buf, control []byte       // of next
	refusing     atomic.Bool  // the kernel is to take no descriptors for it
	cannotRefuse atomic.Bool  // and is too old for that
	strangers    atomic.Int64 // how many messages of theirs were dropped
}

// Listen makes a socket to which every process may send, in a chroot too: Message.PID tells whose word it is.
func Listen() (*Server, error) { return listen() }

// ListenPrivate makes a socket to which only root and that user can send. It is a file in a directory of its own,
// which Close removes, or the next ListenPrivate after a death.
func ListenPrivate(uid int) (*Server, error) { return listenPrivate(uid) }

// maxRoom is how many descriptors a manager keeps for a service at most (FDSTORE in systemd.exec(5)).
const maxRoom = 512

// Room is how many descriptors this process can keep for its services.
func Room() int { return room() }

// Message is one datagram.
type Message struct {
	PID     int // of the sender, by the kernel; 0 where that does not tell
	Text    string
	Files   []*os.File // for the receiver to close, with Discard
	Refused int        // how many descriptors came that are not among them, because of their kind
}

// Value is that of the last line of that name.
func (m Message) Value(name string) (value string, ok bool) {
	for line := range strings.SplitSeq(strings.TrimSuffix(m.Text, "\n"), "\n") {
		if v, found := strings.CutPrefix(line, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
}

// Receive blocks until there is a message, and returns os.ErrClosed when the server is closed. It is for one goroutine.
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
	// errEmpty says that there is no datagram.
	errEmpty = errors.New("nothing was sent")
	// errNoMessage says that a datagram was dropped: it was too long, brought too many files, or is of a stranger.
	errNoMessage = errors.New("no message")
)

// batch is how many messages are heard between two looks at the pace.
const batch = 16

// Serve calls hear for each message of a process that trusts reports to be trusted, one after the other, until the
// server is closed. Of the others it reads no byte.
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
		default: // the kernel has no memory, or no descriptors, just now
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// awaitRoom waits for a second until what was closed makes room for other descriptors, and reports whether there is
// room. It does not wait again while every call of close(2) hangs.
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

// one hears one message. s.turn is held.
func (s *Server) one() error {
	m, err := s.next()
	if err == nil {
		s.hear(m)
	}
	return err
}

// Barrier returns when Serve has heard all that was sent before, as sd_notify_barrier(3) does, or after limit. It reads
// what waits itself, so nobody keeps it waiting who fills the queue.
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

// Close closes the socket and removes its file. It waits for a second at most: what is still in the queue is closed
// with the socket, and may linger.
func (s *Server) Close() error {
	s.place.remove()
	s.shutdown()
	closed := make(chan error, 1)
	go func() { closed <- s.file.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeLimit):
		return errCloses
	}
}

const closeLimit = time.Second

var errCloses = errors.New("the notify socket is still being closed: what was sent to it lingers")

// pace limits what messages cost once there are more than a burst of them in a second: to half of a CPU, and to some
// hundredths of one if there are strangers among the senders. Who sends more waits.
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
