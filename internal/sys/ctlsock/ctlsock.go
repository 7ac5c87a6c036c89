// Package ctlsock implements the control socket between a process and its child. Both can send
// messages. When one of them ends, the other one reads the end of the stream.
package ctlsock

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"
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

// MadeByUs reports whether the descriptor is an end of a pair (unix(7), SO_PEERCRED). A process
// with our effective user and group must have made the pair. MadeByUs returns false for a socket
// that is connected to an address. Such a socket is not trusted. Any client may be able to make the
// service at that address send messages.
func MadeByUs(fd int) bool { return madeByUs(fd) }

// IsGone reports whether the other end is gone. It does not block.
func IsGone(fd int) bool { return isGone(fd) }

// Peer is the process at the other end.
type Peer struct {
	conn *os.File
	in   *bufio.Reader
	max  int // Receive drops longer messages
	left int // how many bytes Serve still reads; 0: Serve sets it; noLimit: any number

	line    partial    // the line that receiveLine is reading
	reading sync.Mutex // held by Serve while it reads and handles one line

	sending chan struct{} // filled by Send, so that a deadline interrupts only one message

	mu     sync.Mutex
	output []byte
}

// NewPeer returns the process at the other end of an open socket.
func NewPeer(conn *os.File) *Peer {
	return &Peer{conn: conn, in: bufio.NewReader(conn), max: MaxMessage, sending: make(chan struct{}, 1)}
}

// MaxMessage is the maximum length of a message in bytes. Send refuses a longer message. Receive
// drops it.
const MaxMessage = 4 << 20

// Limit sets the maximum length of a received message, in bytes. Receive drops a longer message.
func (p *Peer) Limit(bytes int) { p.max = bytes }

// A message is a line of JSON after a NUL. Any other line is output. The stderr of the process may
// be the socket, for example during a panic in an init function that runs before ours.
const messageMark = 0

// Encode returns the message as a separate line, even if the output before it is an incomplete
// line.
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
func (p *Peer) Send(message any) error { return p.SendContext(context.Background(), message) }

// SendContext is [Peer.Send], but gives up when ctx ends, and returns the cause of ctx. The other
// end may then have received the beginning of the message, as one message that is not JSON.
func (p *Peer) SendContext(ctx context.Context, message any) error {
	line, err := Encode(message)
	switch {
	case err != nil:
		return err
	case len(line) > MaxMessage:
		return fmt.Errorf("the message has %d bytes, but the limit is %d", len(line), MaxMessage)
	}
	select {
	case p.sending <- struct{}{}:
		defer func() { <-p.sending }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if ctx.Done() == nil {
		_, err = p.conn.Write(line)
		return err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = p.conn.SetWriteDeadline(longAgo)
	})
	_, err = p.conn.Write(line)
	if !stop() {
		<-interrupted
		_ = p.conn.SetWriteDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = context.Cause(ctx)
	}
	return err
}

// longAgo is a deadline that interrupts a blocked call.
var longAgo = time.Unix(1, 0)

// Receive blocks until there is a message. It returns io.EOF when every copy of the other end is
// closed. The other end may be hostile. Its data never takes more memory than one message and
// maxOutput together.
func (p *Peer) Receive() (json.RawMessage, error) {
	for {
		switch message, err := p.receiveLine(p.max); {
		case err != nil:
			p.keepOutput(message)
			return nil, err
		case message != nil:
			return message, nil
		}
	}
}

// maxServed is the maximum number of bytes that Serve reads from one peer.
const maxServed = 4 << 20

const noLimit = -1

// maxReport is the maximum length of a message that Serve accepts, in bytes.
const maxReport = 64 << 10

var errFlood = errors.New("the peer sends too much")

// Serve calls handle for each message of the peer and keeps its output, until the other end is
// gone. It drops a message that is longer than maxReport. After maxServed bytes it closes the
// socket for reading. This is more than any crash report has. A peer that floods the socket then
// gets EPIPE. Only one goroutine may call Serve.
func (p *Peer) Serve(handle func(message json.RawMessage)) {
	for p.serveLine(handle) {
	}
}

// serveLine reads and handles one line. It reports whether another one may follow.
func (p *Peer) serveLine(handle func(json.RawMessage)) (more bool) {
	p.reading.Lock()
	defer p.reading.Unlock()
	if p.left == 0 {
		p.left = maxServed
	}
	message, err := p.receiveLine(maxReport)
	switch {
	case err == nil && message != nil:
		handle(message)
	case errors.Is(err, errFlood):
		_ = p.CloseRead()
	}
	// Pause sets the deadline.
	return err == nil || errors.Is(err, errFlood) || errors.Is(err, os.ErrDeadlineExceeded)
}

// partial is the part of a line that was read already.
type partial struct {
	begun     bool
	isMessage bool
	isTooLong bool
	text      []byte // of a message that is not too long
}

// State is what a Peer has read and not handled yet, and the output that it has kept. With the
// socket, it is the whole Peer.
type State struct {
	Buffered  []byte `json:"buffered,omitempty"`
	Begun     bool   `json:"begun,omitempty"`
	IsMessage bool   `json:"is_message,omitempty"`
	IsTooLong bool   `json:"is_too_long,omitempty"`
	Line      []byte `json:"line,omitempty"`
	Left      int    `json:"left"`
	Output    []byte `json:"output,omitempty"`
}

// Pause makes Serve wait until Resume is called, and returns the state and the socket. Until then,
// no code reads the socket and no message is handled. Pause must not be called twice in a row.
func (p *Peer) Pause() (State, *os.File, error) {
	if err := p.conn.SetReadDeadline(longAgo); err != nil {
		return State{}, nil, err
	}
	p.reading.Lock()
	buffered, _ := p.in.Peek(p.in.Buffered())
	return State{
		Buffered: bytes.Clone(buffered), Left: p.left, Output: []byte(p.Output()),
		Begun: p.line.begun, IsMessage: p.line.isMessage, IsTooLong: p.line.isTooLong, Line: bytes.Clone(p.line.text),
	}, p.conn, nil
}

// Resume ends a Pause.
func (p *Peer) Resume() {
	_ = p.conn.SetReadDeadline(time.Time{})
	p.reading.Unlock()
}

// ResumePeer returns the peer of an open socket with the state that Pause has returned in another
// program.
func ResumePeer(conn *os.File, s State) *Peer {
	p := NewPeer(conn)
	p.in = bufio.NewReader(io.MultiReader(bytes.NewReader(s.Buffered), conn))
	p.left, p.output = s.Left, s.Output
	p.line = partial{begun: s.Begun, isMessage: s.IsMessage, isTooLong: s.IsTooLong, text: s.Line}
	return p
}

// receiveLine reads one line, piece by piece. It returns the message, or nil if the line is output
// or a message that is longer than limit. With an error, it returns the beginning of a message. If
// a deadline interrupts it, the next call continues with the same line.
func (p *Peer) receiveLine(limit int) (message json.RawMessage, err error) {
	l := &p.line
	for {
		piece, err := p.in.ReadSlice('\n')
		isFirst := !l.begun
		if isFirst && len(piece) > 0 {
			l.begun, l.isMessage = true, piece[0] == messageMark
		}
		switch {
		case !l.isMessage && isFirst && len(bytes.TrimSpace(piece)) == 0: // a blank line
		case !l.isMessage:
			p.keepOutput(piece)
		case l.isTooLong:
		case len(l.text)+len(piece) > limit:
			l.text, l.isTooLong = nil, true
		default:
			l.text = append(l.text, piece...)
		}
		isFlood := false
		if p.left > 0 {
			if p.left -= len(piece); p.left <= 0 {
				p.left, isFlood = noLimit, true
			}
		}
		interrupted := errors.Is(err, bufio.ErrBufferFull) || errors.Is(err, os.ErrDeadlineExceeded)
		whole := l.text
		if !interrupted {
			*l = partial{}
		}
		switch {
		case isFlood:
			return nil, errFlood
		case errors.Is(err, bufio.ErrBufferFull):
		case interrupted:
			return nil, err
		case err != nil:
			return whole, err // an incomplete message
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
