// Package lifeline is the socket between a process and one that it has started: messages go both ways, and the end tells each that the other is gone.
package lifeline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
	max  int // how long a message may be that Receive returns
	left int // how much Drain still reads; 0: any amount

	mu    sync.Mutex
	words []byte
}

// NewPeer returns who sits at the other end of an open socket.
func NewPeer(conn *os.File) *Peer {
	return &Peer{conn: conn, in: bufio.NewReader(conn), max: MaxMessage}
}

// MaxMessage is how long a message may be, in bytes. Send refuses a longer one, Receive drops it.
const MaxMessage = 4 << 20

// Limit has Receive drop messages that are longer than that.
func (p *Peer) Limit(bytes int) { p.max = bytes }

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
	switch {
	case err != nil:
		return err
	case len(line) > MaxMessage:
		return fmt.Errorf("a message of %d bytes is too long: %d are the limit", len(line), MaxMessage)
	}
	_, err = p.conn.Write(line)
	return err
}

// Receive blocks until there is a message, and returns io.EOF when the other end is gone, with all that held it open.
// The other end may be hostile: what it sends takes no more memory than one message and the words.
func (p *Peer) Receive() (json.RawMessage, error) {
	for {
		if message, err := p.receiveLine(p.max); message != nil || err != nil {
			return message, err
		}
	}
}

// maxDrained is how much Drain reads of one peer, in bytes.
const maxDrained = 4 << 20

var errFlood = errors.New("the other end sends too much")

// Drain keeps the words of a peer and drops its messages, until the other end is gone. When that has sent more than
// any crash has to say, Drain reads no more, and the other end cannot send any more (EPIPE): so a flood has an end.
func (p *Peer) Drain() {
	p.left = maxDrained
	for err := error(nil); err == nil; {
		if _, err = p.receiveLine(0); err == errFlood {
			_ = p.CloseRead()
		}
	}
}

// receiveLine reads a line, piece by piece. It returns the message, or nil if the line is words or a message that is longer than limit.
func (p *Peer) receiveLine(limit int) (message json.RawMessage, err error) {
	var whole []byte
	isMessage, isTooLong := false, false
	for first := true; ; first = false {
		piece, err := p.in.ReadSlice('\n')
		if first {
			isMessage = len(piece) > 0 && piece[0] == messageMark
		}
		switch {
		case !isMessage:
			p.hear(piece)
		case isTooLong:
		case len(whole)+len(piece) > limit:
			whole, isTooLong = nil, true
		default:
			whole = append(whole, piece...)
		}
		if p.left > 0 {
			if p.left -= len(piece); p.left <= 0 {
				return nil, errFlood
			}
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			p.hear(whole) // a message that was cut off
			return nil, err
		case len(whole) > 1:
			return whole[1 : len(whole)-1], nil
		default:
			return nil, nil
		}
	}
}

const maxWords = 64 << 10

// hear keeps what was said, up to maxWords.
func (p *Peer) hear(piece []byte) {
	if len(bytes.TrimSpace(piece)) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.words = append(p.words, piece[:min(len(piece), maxWords-len(p.words))]...)
}

// Output is what came over the socket that was no message.
func (p *Peer) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.words)
}

// RedirectCrashOutput sends what the Go runtime has to say of a panic or a fatal error to the other end too, where it is among Words, until
// debug.SetCrashOutput is called again.
func (p *Peer) RedirectCrashOutput() error {
	err := debug.SetCrashOutput(p.conn, debug.CrashOptions{})
	return errors.Join(err, setNonblock(p.conn)) // which SetCrashOutput has undone for all copies
}

// CloseRead has Receive return io.EOF once all has been read that was sent until now, whoever still holds the other end open.
func (p *Peer) CloseRead() error { return closeRead(p.conn) }

// CloseWrite closes this end for sending: the other one reads the end, and what it has to say can still be read.
func (p *Peer) CloseWrite() error { return closeWrite(p.conn) }

// Close closes this end: the other one reads that it is gone.
func (p *Peer) Close() error { return p.conn.Close() }
