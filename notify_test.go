package lifecycle

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sys/rawconn"
	"example.com/lifecycle/internal/sys/sdnotify"
)

// managerSocket is a service manager that keeps every message, byte for byte.
type managerSocket struct {
	t    *testing.T
	conn *net.UnixConn
}

func managerAt(t *testing.T, address string) *managerSocket {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &managerSocket{t, conn}
}

// messages returns the messages that have arrived, with times made constant and limits in hours.
func (m *managerSocket) messages() (all []string) {
	m.t.Helper()
	buf := make([]byte, 64<<10)
	for {
		n := 0
		// Without a deadline: on a busy machine, it would be over before the first read.
		err := rawconn.Control(m.conn, func(fd int) (err error) {
			n, err = syscall.Read(fd, buf)
			return err
		})
		if errors.Is(err, syscall.EAGAIN) {
			return all
		}
		require.NoError(m.t, err)
		all = append(all, regexp.MustCompile(`MONOTONIC_USEC=\d+`).ReplaceAllString(string(buf[:n]), "MONOTONIC_USEC=N"))
	}
}

// shortDir returns a directory whose path is short enough for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "n")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestALongTextDoesNotKeepAManagerFromHearingWhatGoesWithIt(t *testing.T) {
	t.Parallel()
	address := filepath.Join(shortDir(t), "s")
	at := managerAt(t, address)
	socket, err := sdnotify.Dial(address)
	require.NoError(t, err)
	m := &manager{socket: socket, log: slog.New(slog.DiscardHandler)}
	long := strings.Repeat("ö", 50_000)
	m.update(Status{Phase: Ready, Text: long}, 1)
	m.update(Status{Phase: Reloading, Text: long}, 2)
	m.update(Status{Phase: Ready, Text: long, LastReload: &Verdict{Error: long}}, 3)
	m.end(errors.New(long))
	all := at.messages()
	require.Len(t, all, 4)
	for i, begin := range []string{"READY=1\nSTATUS=ö", "RELOADING=1\n", "READY=1\nX_LIFECYCLE_ERROR=ö", "STATUS=ö"} {
		require.True(t, strings.HasPrefix(all[i], begin), "%.100s", all[i])
		require.Less(t, len(all[i]), 4096)
		require.True(t, utf8.ValidString(all[i]))
	}
}
