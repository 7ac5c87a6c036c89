// Package sdnotify tells a service manager what a service does, as sd_notify(3): each message is one datagram of lines, NAME=VALUE.
package sdnotify

import (
	"os"
	"strings"
	"time"
)

// Socket is connected to the manager once, so it works after a chroot too.
type Socket struct{ file *os.File }

// Dial connects to the socket at that address, as NOTIFY_SOCKET has it: a path, or a name behind an @ for one in the abstract namespace (unix(7)).
func Dial(address string) (*Socket, error) { return dial(address) }

// limit is how long a manager that reads nothing is waited for. It reads one message after the other, so a queue that stays full for that long is
// of one that hangs.
const limit = 500 * time.Millisecond

// Send sends one message. It blocks for half a second at most.
func (s *Socket) Send(lines ...string) error {
	if err := s.file.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	_, err := s.file.WriteString(strings.Join(lines, "\n"))
	return err
}

// SendFiles sends one message with files, of which the receiver gets copies.
func (s *Socket) SendFiles(files []*os.File, lines ...string) error {
	if err := s.file.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	return s.sendFiles(files, strings.Join(lines, "\n"))
}

// Close closes the socket.
func (s *Socket) Close() error { return s.file.Close() }

// Line makes NAME=VALUE of a text, which must be one line.
func Line(name, value string) string {
	return name + "=" + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(value, "?"))
}
