// Package sdnotify sends notifications to a service manager, as sd_notify(3) does. It also receives
// the notifications of services. Each message is one datagram with lines NAME=VALUE.
package sdnotify

import (
	"os"
	"strings"
	"time"

	"example.com/lifecycle/internal/sys/bytetext"
)

// Socket is a connection to the manager. It stays connected and therefore also works after
// chroot(2).
type Socket struct{ file *os.File }

// Dial connects to the socket at an address as in NOTIFY_SOCKET: a path, or @ and a name in the
// abstract namespace (unix(7)).
func Dial(address string) (*Socket, error) { return dial(address) }

// limit is how long a send waits while the queue of the manager is full. A manager that reads
// nothing for longer is assumed to hang.
const limit = 500 * time.Millisecond

// Send sends one message. It blocks for half a second at most.
func (s *Socket) Send(lines ...string) error {
	if err := s.file.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	_, err := s.file.WriteString(strings.Join(lines, "\n"))
	return err
}

// SendFiles sends one message with files. The receiver gets copies. It blocks for half a second at
// most.
func (s *Socket) SendFiles(files []*os.File, lines ...string) error {
	if err := s.file.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	return s.sendFiles(files, strings.Join(lines, "\n"))
}

// Close closes the socket.
func (s *Socket) Close() error { return s.file.Close() }

// Line returns NAME=VALUE in one line of UTF-8, as systemd requires. It replaces control characters
// in the value with spaces, and escapes bytes that are not UTF-8 as \xHH.
func Line(name, value string) string {
	return name + "=" + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, bytetext.Valid(value))
}
