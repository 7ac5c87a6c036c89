package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
)

// Otherwise a program that the daemon starts could send notifications as the daemon.
// Row E15.
func TestProgramsOfTheDaemonDoNotGetTheVariablesOfTheManager(t *testing.T) {
	t.Parallel()
	proctest.Needs(t, "sh")
	address := filepath.Join(proctest.ShortDir(t), "s")
	m := proctest.ManagerAt(t, address)
	p := managed(t, address, "start=children", "run")
	m.Await("READY=1")
	p.Await("OnStart done") // the output of a process arrives later than its messages
	require.Contains(t, p.Out.String(), proctest.Variable+"="+daemon, "the environment of the program")
	require.NotContains(t, p.Out.String(), "NOTIFY_SOCKET")
	require.NotContains(t, p.Out.String(), "WATCHDOG")
}

// Row K1.
func TestADaemonRunsIfItsManagerCannotBeReached(t *testing.T) {
	t.Parallel()
	dir := proctest.ShortDir(t)
	proctest.Touch(t, filepath.Join(dir, "file"))
	l, err := net.Listen("unix", filepath.Join(dir, "stream"))
	require.NoError(t, err)
	defer l.Close()
	for _, address := range []string{
		filepath.Join(dir, "nothing"), filepath.Join(dir, "file"), filepath.Join(dir, "stream"), dir + "/" + strings.Repeat("x", 200),
		"@nobody-listens-here", "vsock:2:1234", "relative", "@",
	} {
		p := managed(t, address, "run")
		p.Await("msg=ready")
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait())
		require.Equal(t, 1, p.Out.Count(`level=WARN msg="cannot connect to the service manager, so it gets no notifications"`), "%q", address)
	}
	require.Equal(t, 0, managed(t, "", "run=:", "run").Wait())
}

// A manager that does not read delays each message by half a second. A manager that is gone causes
// no delay.
// Row K1.
func TestAManagerThatHangsOrEndsIsLoggedOnce(t *testing.T) {
	t.Parallel()
	address := filepath.Join(proctest.ShortDir(t), "s")
	m := proctest.ManagerAt(t, address)
	fill(t, address)
	p := managed(t, address, "run")
	p.Await("msg=ready")
	require.Equal(t, 1, p.Out.Count(`msg="cannot notify the service manager"`))
	require.NoError(t, m.Conn.Close())
	p.Signal(syscall.SIGHUP)
	p.Await("msg=reloaded")
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	require.Equal(t, 1, p.Out.Count(`msg="cannot notify the service manager"`), "%s", p.Out)
}

// fill sends messages until the queue is full.
func fill(t *testing.T, address string) {
	t.Helper()
	conn, err := net.Dial("unixgram", address)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	for {
		require.NoError(t, conn.SetWriteDeadline(time.Now().Add(10*time.Millisecond)))
		if _, err := conn.Write([]byte("X=1")); err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			return
		}
	}
}

// If a launcher has started the daemon, the daemon must tell the service manager which process to
// watch (Type=notify with NotifyAccess=all).
func TestADetachedDaemonReportsItsPIDToTheManager(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	address := filepath.Join(proctest.ShortDir(t), "s")
	m := proctest.ManagerAt(t, address)
	cmd := proctest.Command(daemon, b.args("start")...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address)
	pid := b.readied(proctest.CallCommand(t, cmd))
	all := m.Messages()
	require.Equal(t, fmt.Sprintf("READY=1\nMAINPID=%d\nSTATUS=ready", pid), all[len(all)-1])
	b.stop()
}
