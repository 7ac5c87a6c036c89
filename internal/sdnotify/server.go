package sdnotify

import (
	"errors"
	"os"
	"strings"
)

// Server is the other end: it hears what services say.
type Server struct {
	Address string // for NOTIFY_SOCKET
	file    *os.File

	buf, control []byte // of receive
}

// Listen makes a socket to which every process may send: Message.PID tells whose word it is.
func Listen() (*Server, error) { return listen() }

// Message is one datagram.
type Message struct {
	PID   int // of the sender, by the kernel; 0 where that does not tell
	Lines []string
	Files []*os.File // for the receiver to close
}

// Value is that of the last line of that name.
func (m Message) Value(name string) (value string, ok bool) {
	for _, line := range m.Lines {
		if v, found := strings.CutPrefix(line, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
}

// Close closes the files of a message that is not wanted.
func (m Message) Close() {
	for _, f := range m.Files {
		f.Close()
	}
}

// Receive blocks until there is a message, and returns os.ErrClosed when the server is closed. It is for one goroutine.
func (s *Server) Receive() (Message, error) {
	for {
		m, err := s.receive()
		if !errors.Is(err, errNoMessage) {
			return m, err
		}
	}
}

// errNoMessage says that a datagram was dropped: it was too long, or brought too many files.
var errNoMessage = errors.New("no message")

// Close closes the socket.
func (s *Server) Close() error {
	return s.file.Close()
}
