// Package lifeline is the socket between a process and one that it has started: messages go both ways, and the end tells each that the other is gone.
package lifeline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"runtime/debug"
	"sync"
)

// Pair makes a socket with two ends. No process inherits one of them by chance. Reading from ours is ended by closing it.
func Pair() (ours, theirs *os.File, err error) { return pair() }

// Conn makes a file of an end that was inherited, of which reading is ended by closing it.
func Conn(fd int) *os.File { return conn(fd) }

// Mark names a socket, so that who inherits it can tell it from others: by device and inode.
func Mark(f *os.File) (mark string, err error) { return markOf(f) }

// IsMarked says whether the descriptor is of the socket with that mark.
func IsMarked(fd int, mark string) bool { return isMarked(fd, mark) }

// MadeByUs says whether the descriptor is an end of a pair that was made by our own effective user and group (unix(7), SO_PEERCRED). One that is
// connected to somebody's address is none: its other end says what it is asked to say.
func MadeByUs(fd int) bool { return madeByUs(fd) }

// IsGone says whether the other end is gone. It does not block.
func IsGone(fd int) bool { return isGone(fd) }

// Peer is who sits at the other end.
type Peer struct {
	conn *os.File
	in   *bufio.Reader

	mu    sync.Mutex
	words []byte
}

// NewPeer returns who sits at the other end of an open socket.
func NewPeer(conn *os.File) *Peer { return &Peer{conn: conn, in: bufio.NewReader(conn)} }

// A message is a line of JSON behind a NUL. Whatever else comes is what a process had to say whose stderr the socket was: a panic in an init
// that ran before ours.
const messageMark = 0

// Encode puts the message on a line of its own, whatever was written before it.
func Encode(message any) ([]byte, error) {
	text, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	return append(append([]byte{'\n', messageMark}, text...), '\n'), nil
}

// Decode returns the text of a message as Encode has made it.
func Decode(line []byte) json.RawMessage {
	return bytes.TrimPrefix(bytes.TrimSpace(line), []byte{messageMark})
}

// Send sends a message. It blocks while the other end reads nothing and what was sent before fills the socket.
func (p *Peer) Send(message any) error {
	line, err := Encode(message)
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

// TakeCrashes sends what the Go runtime has to say of a panic or a fatal error to the other end too, where it is among Words, until
// debug.SetCrashOutput is called again.
func (p *Peer) TakeCrashes() error {
	err := debug.SetCrashOutput(p.conn, debug.CrashOptions{})
	return errors.Join(err, setNonblock(p.conn)) // which SetCrashOutput has undone for all copies
}

// CloseRead has Receive return io.EOF once all has been read that was sent until now, whoever still holds the other end open.
func (p *Peer) CloseRead() error { return closeRead(p.conn) }

// CloseWrite closes this end for sending: the other one reads the end, and what it has to say can still be read.
func (p *Peer) CloseWrite() error { return closeWrite(p.conn) }

// Close closes this end: the other one reads that it is gone.
func (p *Peer) Close() error { return p.conn.Close() }
