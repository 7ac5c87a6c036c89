// Package ctlsock implements the control socket between a process and its child. Both can send
// messages. When one of them ends, the other one reads the end of the stream.
package ctlsock

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

// Pair makes a socket with two ends. Both are close-on-exec. Closing ours ends a blocked read.
func Pair() (ours, theirs *os.File, err error) { return pair() }

// Conn makes a file from an inherited end. Closing the file ends a blocked read from it.
func Conn(fd int) *os.File { return conn(fd) }

// Mark returns the device and inode of a socket. With this mark, the process that inherits the
// socket can recognize it.
func Mark(f *os.File) (mark string, err error) { return markOf(f) }

// IsMarked reports whether the descriptor is the socket with that mark.
func IsMarked(fd int, mark string) bool { return isMarked(fd, mark) }

// MadeByUs reports whether the descriptor is an end of a pair that a process with our effective
// user and group has made (unix(7), SO_PEERCRED). It returns false for a socket that is connected
// to an address. A socket that is connected to an address is not trusted, because any client may be
// able to make the service at that address send messages.
func MadeByUs(fd int) bool { return madeByUs(fd) }

// IsGone reports whether the other end is gone. It does not block.
func IsGone(fd int) bool { return isGone(fd) }

// Peer is the process at the other end.
type Peer struct {
	conn *os.File
	in   *bufio.Reader
	max  int // Receive drops longer messages
	left int // how many bytes Drain still reads; 0: no limit

	mu     sync.Mutex
	output []byte
}

// NewPeer returns the process at the other end of an open socket.
func NewPeer(conn *os.File) *Peer {
	return &Peer{conn: conn, in: bufio.NewReader(conn), max: MaxMessage}
}

// MaxMessage is the maximum length of a message in bytes. Send refuses a longer message. Receive
// drops it.
const MaxMessage = 4 << 20

// Limit sets the maximum length of a received message, in bytes. Receive drops a longer message.
func (p *Peer) Limit(bytes int) { p.max = bytes }

// A message is a line of JSON after a NUL. Any other line is output: the stderr of the process may
// be the socket, for example during a panic in an init function that runs before ours.
const messageMark = 0

// Encode returns the message as a separate line. It stays separate even after an incomplete line of
// output.
func Encode(message any) ([]byte, error) {
	text, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	return append(append([]byte{'\n', messageMark}, text...), '\n'), nil
}

// Decode returns the JSON of a message from Encode.
func Decode(line []byte) json.RawMessage {
	return bytes.TrimPrefix(bytes.TrimSpace(line), []byte{messageMark})
}

// Send sends a message. It blocks while the socket is full and the other end reads nothing.
func (p *Peer) Send(message any) error {
	line, err := Encode(message)
	switch {
	case err != nil:
		return err
	case len(line) > MaxMessage:
		return fmt.Errorf("the message has %d bytes, but the limit is %d", len(line), MaxMessage)
	}
	_, err = p.conn.Write(line)
	return err
}

// Receive blocks until there is a message. It returns io.EOF when every copy of the other end is
// closed. The other end may be hostile. Its data never takes more memory than one message and
// maxOutput.
func (p *Peer) Receive() (json.RawMessage, error) {
	for {
		if message, err := p.receiveLine(p.max); message != nil || err != nil {
			return message, err
		}
	}
}

// maxDrained is the maximum number of bytes that Drain reads from one peer.
const maxDrained = 4 << 20

var errFlood = errors.New("the peer sends too much")

// Drain keeps the output of the peer and drops its messages until the other end is gone. After
// maxDrained bytes, which is more than any crash report has, it closes the socket for reading. A
// peer that floods the socket then gets EPIPE.
func (p *Peer) Drain() {
	p.left = maxDrained
	for err := error(nil); err == nil; {
		if _, err = p.receiveLine(0); err == errFlood {
			_ = p.CloseRead()
		}
	}
}

// receiveLine reads one line, piece by piece. It returns the message, or nil if the line is output
// or a message that is longer than limit.
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
			p.keepOutput(piece)
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
			p.keepOutput(whole) // an incomplete message
			return nil, err
		case len(whole) > 1:
			return whole[1 : len(whole)-1], nil
		default:
			return nil, nil
		}
	}
}

// maxOutput is the maximum number of bytes of output that are kept for one peer.
const maxOutput = 64 << 10

// keepOutput appends to the output, up to maxOutput.
func (p *Peer) keepOutput(piece []byte) {
	if len(bytes.TrimSpace(piece)) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.output = append(p.output, piece[:min(len(piece), maxOutput-len(p.output))]...)
}

// Output returns the text that arrived outside of messages.
func (p *Peer) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.output)
}

// RedirectCrashOutput makes the Go runtime also write the report of a panic or fatal error to the
// socket, until debug.SetCrashOutput is called again. The other end finds the report in Output.
func (p *Peer) RedirectCrashOutput() error {
	err := debug.SetCrashOutput(p.conn, debug.CrashOptions{})
	return errors.Join(err, setNonblock(p.conn)) // SetCrashOutput has made all copies blocking
}

// CloseRead makes Receive return io.EOF after the data that has already been sent, even if the
// other end stays open.
func (p *Peer) CloseRead() error { return closeRead(p.conn) }

// CloseWrite closes this end for sending. The other end reads EOF and can still send.
func (p *Peer) CloseWrite() error { return closeWrite(p.conn) }

// Close closes this end. The other end reads EOF.
func (p *Peer) Close() error { return p.conn.Close() }
