package lifecycle

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/sdnotify"
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

// messages are those that have come. Times are as they always are, and limits are in hours.
func (m *managerSocket) messages() (all []string) {
	m.t.Helper()
	buf := make([]byte, 64<<10)
	for {
		require.NoError(m.t, m.conn.SetReadDeadline(time.Now().Add(time.Millisecond)))
		n, err := m.conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all
		}
		require.NoError(m.t, err)
		all = append(all, regexp.MustCompile(`MONOTONIC_USEC=\d+`).ReplaceAllString(string(buf[:n]), "MONOTONIC_USEC=N"))
	}
}

// await waits for a message with that line, and returns all until then.
func (m *managerSocket) await(line string) (all []string) {
	m.t.Helper()
	eventually(m.t, func() bool {
		all = append(all, m.messages()...)
		return strings.Contains("\n"+strings.Join(all, "\n")+"\n", "\n"+line+"\n")
	}, "%s", line)
	return all
}

// shortDir is a directory of which the path is short enough for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "n")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Rows K2, K3, K4.
func TestAServiceManagerIsToldAWholeLifeInOrder(t *testing.T) {
	t.Parallel()
	for where, address := range map[string]string{"path": filepath.Join(shortDir(t), "s"), "abstract": "@lifecycle" + filepath.Base(shortDir(t))} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			if where == "abstract" {
				needs(t, "linux")
			}
			m := managerAt(t, address)
			cmd := command(daemon, "pidfile="+pidPath(t), "starttimeout=4s", "reloadtimeout=8s", "stoptimeout=40s", "run")
			cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address)
			p := launch(t, cmd)
			require.Equal(t, []string{
				"EXTEND_TIMEOUT_USEC=5000000\nSTATUS=starting",
				"STATUS=starting: OnStart of daemon",
				"READY=1\nSTATUS=ready",
			}, m.await("READY=1"))
			p.signal(syscall.SIGHUP)
			require.Equal(t, []string{
				"RELOADING=1\nMONOTONIC_USEC=N\nEXTEND_TIMEOUT_USEC=10000000\nSTATUS=reloading",
				"STATUS=reloading: OnCheck of daemon",
				"STATUS=reloading: OnReload of daemon",
				"READY=1\nSTATUS=ready",
			}, m.await("READY=1"))
			p.signal(syscall.SIGTERM)
			require.Equal(t, 0, p.wait())
			// The first may come with the second, for the hook does not wait for it; and fn may have returned.
			all := regexp.MustCompile(`STATUS=stopping(: Run of daemon)?\n`).ReplaceAllString(strings.Join(m.messages(), "\n")+"\n", "")
			require.Equal(t, "STOPPING=1\nEXTEND_TIMEOUT_USEC=45000000\n"+
				"STATUS=stopping: OnStop of daemon\nSTATUS=stopping: OnExit of daemon\n", all)
		})
	}
}

// A life with everything in it, to the last byte: nothing else may be sent, and nothing in another order.
// Rows K2, K3, K4, K6.
func TestEveryMessageOfAWholeLifeIsAsItMustBe(t *testing.T) {
	t.Parallel()
	address := filepath.Join(shortDir(t), "s")
	m := managerAt(t, address)
	config := filepath.Join(t.TempDir(), "config")
	touch(t, config)
	cmd := command(daemon, "pidfile="+pidPath(t), "reload=cat:"+config, "run")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address, "WATCHDOG_USEC=20000")
	p := launch(t, cmd)
	require.Equal(t, []string{
		"EXTEND_TIMEOUT_USEC=65000000\nSTATUS=starting",
		"STATUS=starting: OnStart of daemon",
		"READY=1\nSTATUS=ready",
	}, withoutSigns(m.await("READY=1")))
	require.Empty(t, withoutSigns(m.await("WATCHDOG=1")))

	reloading := []string{
		"RELOADING=1\nMONOTONIC_USEC=N\nEXTEND_TIMEOUT_USEC=35000000\nSTATUS=reloading",
		"STATUS=reloading: OnCheck of daemon",
		"STATUS=reloading: OnReload of daemon",
	}
	p.signal(syscall.SIGHUP)
	require.Equal(t, append(reloading, "READY=1\nSTATUS=ready"), withoutSigns(m.await("READY=1")))
	require.NoError(t, os.Remove(config))
	p.signal(syscall.SIGHUP)
	why := "OnReload of daemon: open " + config + ": no such file or directory"
	require.Equal(t, append(reloading, "READY=1\nX_LIFECYCLE_ERROR="+why+"\nSTATUS=ready, last reload rejected: "+why), withoutSigns(m.await("READY=1")))
	touch(t, config)
	p.signal(syscall.SIGHUP)
	require.Equal(t, append(reloading, "READY=1\nSTATUS=ready"), withoutSigns(m.await("READY=1")))

	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	require.Equal(t, []string{
		"STOPPING=1\nEXTEND_TIMEOUT_USEC=25000000", "STATUS=stopping: OnStop of daemon", "STATUS=stopping: OnExit of daemon",
	}, stopOf(m.messages()))
}

// A failed start ends with why: the roll-back is a stop like any other before that.
// Row K2.
func TestEveryMessageOfAFailedStartIsAsItMustBe(t *testing.T) {
	t.Parallel()
	address := filepath.Join(shortDir(t), "s")
	m := managerAt(t, address)
	require.Equal(t, 1, managed(t, address, "start=cat:/no/such/file", "run").wait())
	all := m.messages()
	require.Equal(t, []string{"EXTEND_TIMEOUT_USEC=65000000\nSTATUS=starting", "STATUS=starting: OnStart of daemon"}, all[:2])
	why := "OnStart of daemon: open /no/such/file: no such file or directory"
	require.Equal(t, []string{
		"STOPPING=1\nEXTEND_TIMEOUT_USEC=25000000", "STATUS=" + why + "\nX_LIFECYCLE_ERROR=" + why + "\nX_LIFECYCLE_EXIT=1\nERRNO=2",
	}, stopOf(all[2:]))
}

func withoutSigns(all []string) []string {
	return slices.DeleteFunc(all, func(message string) bool { return message == "WATCHDOG=1" })
}

// stopOf are the messages of a stop but for signs of life and what it waits for: the first hook does not wait for the first message, and fn may have returned.
func stopOf(all []string) (stop []string) {
	for _, message := range withoutSigns(all) {
		lines := slices.DeleteFunc(strings.Split(message, "\n"), func(line string) bool {
			return line == "STATUS=stopping" || line == "STATUS=stopping: Run of daemon" || line == "STATUS=stopping: Watchdog of daemon"
		})
		hook := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "STATUS=stopping: ") })
		if hook > 0 { // it has come with the first
			stop, lines = append(stop, strings.Join(lines[:hook], "\n")), lines[hook:]
		}
		if len(lines) > 0 {
			stop = append(stop, strings.Join(lines, "\n"))
		}
	}
	return stop
}

// managed runs the program daemon with a manager at that address.
func managed(t *testing.T, address string, args ...string) *process {
	t.Helper()
	cmd := command(daemon, append([]string{"pidfile=" + pidPath(t)}, args...)...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address, "WATCHDOG_USEC=1", "WATCHDOG_PID=1")
	return launch(t, cmd)
}

func TestAServiceManagerIsToldWhyAStartHasFailed(t *testing.T) {
	t.Parallel()
	address := filepath.Join(shortDir(t), "s")
	m := managerAt(t, address)
	require.Equal(t, 1, managed(t, address, "start=error", "run").wait())
	all := m.messages()
	require.Equal(t, "STATUS=OnStart of daemon: OnStart failed on purpose\nX_LIFECYCLE_ERROR=OnStart of daemon: OnStart failed on purpose\nX_LIFECYCLE_EXIT=1", all[len(all)-1])
	require.NotContains(t, strings.Join(all, "\n"), "READY=1")

	require.Equal(t, 1, managed(t, address, "workdir=/no/such/place", "run").wait())
	all = m.messages()
	require.Equal(t, "STATUS=working directory: chdir /no/such/place: no such file or directory\n"+
		"X_LIFECYCLE_ERROR=working directory: chdir /no/such/place: no such file or directory\nX_LIFECYCLE_EXIT=1\nERRNO=2", all[len(all)-1])
}

// Row K3.
func TestARefusedReloadEndsWithReady(t *testing.T) {
	t.Parallel()
	address := filepath.Join(shortDir(t), "s")
	m := managerAt(t, address)
	p := managed(t, address, "check=error", "run")
	m.await("READY=1")
	p.signal(syscall.SIGHUP)
	all := m.await("READY=1")
	require.Contains(t, all[0], "RELOADING=1\nMONOTONIC_USEC=N\n")
	require.Equal(t, "READY=1\nX_LIFECYCLE_ERROR=OnCheck of daemon: OnCheck failed on purpose\nSTATUS=ready, last reload rejected: OnCheck of daemon: OnCheck failed on purpose", all[len(all)-1])
}

// E15: a program that the daemon starts could else speak for it.
// Row E15.
func TestTheVariablesOfTheManagerDoNotReachWhatTheDaemonStarts(t *testing.T) {
	t.Parallel()
	needs(t, "sh")
	address := filepath.Join(shortDir(t), "s")
	m := managerAt(t, address)
	p := managed(t, address, "start=children", "run")
	m.await("READY=1")
	require.Contains(t, p.out.String(), programVariable+"="+daemon, "its environment")
	require.NotContains(t, p.out.String(), "NOTIFY_SOCKET")
	require.NotContains(t, p.out.String(), "WATCHDOG")
}

// Row K1.
func TestAManagerThatCannotBeReachedIsNoReasonNotToLive(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	touch(t, filepath.Join(dir, "file"))
	l, err := net.Listen("unix", filepath.Join(dir, "stream"))
	require.NoError(t, err)
	defer l.Close()
	for _, address := range []string{
		filepath.Join(dir, "nothing"), filepath.Join(dir, "file"), filepath.Join(dir, "stream"), dir + "/" + strings.Repeat("x", 200),
		"@nobody-listens-here", "vsock:2:1234", "relative", "@",
	} {
		p := managed(t, address, "run")
		p.await("msg=ready")
		p.signal(syscall.SIGTERM)
		require.Equal(t, 0, p.wait())
		require.Equal(t, 1, p.out.count(`level=WARN msg="the service manager cannot be told anything"`), "%q", address)
	}
	require.Equal(t, 0, managed(t, "", "run=:", "run").wait())
}

// One that reads nothing costs half a second for each message, and one that has gone nothing.
// Row K1.
func TestAManagerThatHangsOrGoesIsSaidOnce(t *testing.T) {
	t.Parallel()
	address := filepath.Join(shortDir(t), "s")
	m := managerAt(t, address)
	fill(t, address)
	p := managed(t, address, "run")
	p.await("msg=ready")
	require.Equal(t, 1, p.out.count(`msg="cannot tell the service manager"`))
	require.NoError(t, m.conn.Close())
	p.signal(syscall.SIGHUP)
	p.await("msg=reloaded")
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
	require.Equal(t, 1, p.out.count(`msg="cannot tell the service manager"`), "%s", p.out)
}

// fill sends messages until there is room for no more.
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

// Behind a launcher, the service manager must be told which process it is to watch (Type=notify with NotifyAccess=all).
func TestADetachedDaemonTellsTheManagerItsPID(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	address := filepath.Join(shortDir(t), "s")
	m := managerAt(t, address)
	cmd := command(daemon, b.args("start")...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+address)
	pid := b.readied(runCommand(t, cmd))
	all := m.messages()
	require.Equal(t, fmt.Sprintf("READY=1\nMAINPID=%d\nSTATUS=ready", pid), all[len(all)-1])
	b.stop()
}

func TestALongTextDoesNotKeepAManagerFromHearingWhatGoesWithIt(t *testing.T) {
	t.Parallel()
	address := filepath.Join(shortDir(t), "s")
	at := managerAt(t, address)
	socket, err := sdnotify.Dial(address)
	require.NoError(t, err)
	m := &manager{socket: socket, log: slog.New(slog.DiscardHandler)}
	long := strings.Repeat("ö", 50_000)
	m.tell(Status{Phase: Ready, Text: long}, 1)
	m.tell(Status{Phase: Reloading, Text: long}, 2)
	m.tell(Status{Phase: Ready, Text: long, LastReload: &Verdict{Error: long}}, 3)
	m.end(errors.New(long))
	all := at.messages()
	require.Len(t, all, 4)
	for i, begin := range []string{"READY=1\nSTATUS=ö", "RELOADING=1\n", "READY=1\nX_LIFECYCLE_ERROR=ö", "STATUS=ö"} {
		require.True(t, strings.HasPrefix(all[i], begin), "%.100s", all[i])
		require.Less(t, len(all[i]), 4096)
		require.True(t, utf8.ValidString(all[i]))
	}
}
