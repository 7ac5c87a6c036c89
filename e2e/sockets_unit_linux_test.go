package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/lifecycle/internal/proctest"
	"example.com/lifecycle/internal/sys/activation"
)

// withFile is implemented by the sockets of package net.
type withFile interface {
	io.Closer
	File() (*os.File, error)
}

// unit acts as a socket unit with that name: it listens, and the test passes the socket to the
// processes that it starts.
func unit(t *testing.T, name, network, address string) (s activation.Socket, at string) {
	t.Helper()
	var c withFile
	if strings.HasPrefix(network, "udp") || network == "unixgram" {
		p, err := net.ListenPacket(network, address)
		require.NoError(t, err)
		c, at = p.(withFile), p.LocalAddr().String()
	} else {
		l, err := net.Listen(network, address)
		require.NoError(t, err)
		c, at = l.(withFile), l.Addr().String()
	}
	f, err := c.File()
	require.NoError(t, err)
	t.Cleanup(func() {
		c.Close()
		f.Close()
	})
	return activation.Socket{Name: name, File: f}, network + "," + at
}

// inode returns the name of the socket in /proc.
func inode(t *testing.T, f *os.File) string {
	t.Helper()
	info, err := f.Stat()
	require.NoError(t, err)
	return fmt.Sprintf("socket:[%d]", info.Sys().(*syscall.Stat_t).Ino)
}

// Row E5.
func TestSocketsOfASocketUnitAreUsedAndNotInherited(t *testing.T) {
	t.Parallel()
	dir := proctest.ShortDir(t)
	var given []activation.Socket
	var asked []string
	for i, at := range []string{
		"tcp,127.0.0.1:0", "tcp,[::]:0", "unix," + dir + "/stream", "unix,@" + filepath.Base(dir), "unixpacket," + dir + "/packets", "udp,127.0.0.1:0", "unixgram," + dir + "/datagrams",
	} {
		network, where, _ := strings.Cut(at, ",")
		s, at := unit(t, fmt.Sprintf("%d.socket", i), network, where)
		given, asked = append(given, s), append(asked, at)
	}
	asked[1] = strings.Replace(asked[1], "[::]", "", 1)
	notAsked, _ := unit(t, "other.socket", "tcp", "127.0.0.1:0")
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	given = append(given, notAsked, activation.Socket{Name: "fifo", File: r})

	p := proctest.Launch(t, activated(t, given, serving, append(at(asked...), "pidfile="+proctest.PIDPath(t), "start=children")...))
	p.Await("msg=ready")
	for _, at := range []int{0, 2, 3, 4} {
		network, where, _ := strings.Cut(asked[at], ",")
		require.Equal(t, p.PID(), whoServes(t, network, where))
	}
	c, err := net.Dial("udp", address(asked[5]))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("who?"))
	require.NoError(t, err)
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(p.PID()), string(buf[:n]))

	p.Await(`msg="closed inherited sockets that the program does not use" sockets=[other.socket]`)
	var want []string
	for _, s := range given[:len(asked)] {
		want = append(want, inode(t, s.File))
	}
	slices.Sort(want)
	require.Equal(t, want, socketsOf(t, p.PID()), "each socket is taken once")
	require.NotContains(t, p.Out.String(), "LISTEN_")
	require.Contains(t, p.Out.String(), proctest.Variable+"="+serving, "the environment of the program")
	// Descriptor 3 is the directory that ls reads. The caller of the test may pass others.
	for i := range given[1:] {
		require.NotRegexp(t, fmt.Sprintf(`(?m)^descriptors:.* %d( |$)`, 4+i), p.Out.String())
	}

	p.Signal(syscall.SIGHUP) // closes the passed sockets and claims them again
	p.Await("msg=reloaded")
	require.Equal(t, p.PID(), whoServes(t, "tcp", address(asked[0])))
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait())
	for _, at := range []string{"/stream", "/packets", "/datagrams"} {
		require.FileExists(t, dir+at, "the socket file belongs to the unit")
	}
}

// Row E5.
func TestSocketsForAnotherProcessAreNotUsed(t *testing.T) {
	t.Parallel()
	s, at := unit(t, "other.socket", "tcp", "127.0.0.1:0")
	cmd := proctest.Command(serving, "pidfile="+proctest.PIDPath(t), "at="+at, "start=children")
	cmd.ExtraFiles = []*os.File{s.File}
	cmd.Env = append(cmd.Env, "LISTEN_PID="+fmt.Sprint(os.Getpid()), "LISTEN_FDS=1")
	p := proctest.Launch(t, cmd)
	require.Equal(t, 1, p.Wait())
	require.Contains(t, p.Out.String(), "bind: address already in use")

	cmd = proctest.Command(serving, "pidfile="+proctest.PIDPath(t), "never=", "start=children")
	cmd.Env = append(cmd.Env, "LISTEN_PID="+fmt.Sprint(os.Getpid()), "LISTEN_FDS=1", "LISTEN_FDNAMES=x", "LISTEN_PIDFDID=1")
	p = proctest.Launch(t, cmd)
	p.Await("msg=ready")
	require.Contains(t, p.Out.String(), proctest.Variable+"="+serving)
	require.NotContains(t, p.Out.String(), "LISTEN_")
}

// A program that reads LISTEN_FDS itself, or calls Listen only in fn, keeps the sockets.
// Row E5.
func TestSocketsStayOpenIfListenIsNotCalledBeforeReady(t *testing.T) {
	t.Parallel()
	s, asked := unit(t, "a.socket", "tcp", "127.0.0.1:0")
	p := proctest.Launch(t, activated(t, []activation.Socket{s}, serving, "pidfile="+proctest.PIDPath(t), "never="))
	p.Await(`msg="inherited sockets stay open although the program did not call Listen before its bodies began" sockets=[a.socket]`)
	require.Equal(t, []string{inode(t, s.File)}, socketsOf(t, p.PID()))

	p = proctest.Launch(t, activated(t, []activation.Socket{s}, serving, "pidfile="+proctest.PIDPath(t), "late=", "at="+asked))
	p.Await("listens ")
	require.Equal(t, p.PID(), whoServes(t, "tcp", address(asked)))
}

// Row E5.
func TestADetachedDaemonTakesTheSocketsOfItsLauncher(t *testing.T) {
	t.Parallel()
	b := inBackground(t)
	var given []activation.Socket
	var asked, want []string
	for i := range 40 {
		s, at := unit(t, fmt.Sprintf("%d.socket", i), "tcp", "127.0.0.1:0")
		given, asked, want = append(given, s), append(asked, at), append(want, inode(t, s.File))
	}
	cmd := activated(t, given, serving, b.args(append(at(asked...), "start=children", "start")...)...)
	pid := b.readied(proctest.CallCommand(t, cmd))
	for _, at := range asked[:3] {
		require.Equal(t, pid, whoServes(t, "tcp", address(at)))
	}
	slices.Sort(want)
	proctest.Eventually(t, func() bool { return slices.Equal(want, socketsOf(t, pid)) }, "the daemon to have each socket once")
	require.NotContains(t, b.said(), "LISTEN_")
	require.Contains(t, b.said(), "descriptors: 0 1 2 3\n", "descriptor 3 is the directory that ls reads")
	b.stop()

	// Without a PID file, the launcher passes no lock before the sockets.
	cmd = activated(t, given[:1], serving, "log="+b.log, "at="+asked[0], "start")
	pid = b.readied(proctest.CallCommand(t, cmd))
	require.Equal(t, pid, whoServes(t, "tcp", address(asked[0])))
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	proctest.Eventually(t, func() bool {
		open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)) // empty for a zombie
		return len(open) == 0
	}, "pid %d to end", pid)
}

// A launcher that has claimed a passed socket before Run gets the same error.
func TestASocketThatTheLauncherRequestedIsAnError(t *testing.T) {
	t.Parallel()
	s, asked := unit(t, "a.socket", "tcp", "127.0.0.1:0")
	got := proctest.CallCommand(t, activated(t, []activation.Socket{s}, serving, "pidfile="+proctest.PIDPath(t), "log=", "early=", "at="+asked, "start"))
	require.Regexp(t, `^\w+: start failed: Listen\(tcp, `+address(asked)+`\) at sockets_test\.go:\d+ was called before Run`, got.Stderr)
	require.Equal(t, 1, got.Code)
}
