//go:build unix

package proctest

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/rawconn"
)

// Manager is a service manager that keeps every message, byte for byte.
type Manager struct {
	Conn *net.UnixConn
	t    *testing.T
}

// ManagerAt starts a service manager that receives messages at that address.
func ManagerAt(t *testing.T, address string) *Manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &Manager{Conn: conn, t: t}
}

var monotonicTime = Pattern(`MONOTONIC_USEC=\d+`)

// Messages returns the messages that have arrived. It replaces the times in them by constants.
func (m *Manager) Messages() (all []string) {
	m.t.Helper()
	buf := make([]byte, 64<<10)
	for {
		n := 0
		// No deadline: on a busy machine, it could expire before the first read.
		err := rawconn.Control(m.Conn, func(fd int) (err error) {
			n, err = syscall.Read(fd, buf)
			return err
		})
		if errors.Is(err, syscall.EAGAIN) {
			return all
		}
		require.NoError(m.t, err)
		all = append(all, monotonicTime().ReplaceAllString(string(buf[:n]), "MONOTONIC_USEC=N"))
	}
}

// Await waits for a message with that line. It returns all messages so far.
func (m *Manager) Await(line string) (all []string) {
	m.t.Helper()
	Eventually(m.t, func() bool {
		all = append(all, m.Messages()...)
		return strings.Contains("\n"+strings.Join(all, "\n")+"\n", "\n"+line+"\n")
	}, "%s", line)
	return all
}

// ShortDir returns a directory whose path is short enough for a socket.
func ShortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "n")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
